"""Gap and closure against seeing and depth, on a sky of "Several surveys" of docs/PROTOCOL.md.

DECaLS observes the galaxies of the sky on another night, in worse seeing and less deep, and the
weights that travel with the project encode them as they are. No files of images are written: as in
data/simulate_exposures.py each exposure is prepared at once. A galaxy has the same random numbers
in each cell of the grid, so that cells differ in seeing and depth alone.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from VAE_model import models, pretrained
from VAE_model.data.packed import Packed
from VAE_model.extraction.extract import extract_means
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.parallel import each
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.preparation.stretch import Stretch
from VAE_model.simulation import random_stream
from VAE_model.simulation.camera import observe
from VAE_model.simulation.conditions import draw_conditions
from VAE_model.simulation.sky import draw_light
from VAE_model.surveys import DECALS, Survey
from VAE_model.surveys.survey import Bands

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import sky, survey_search
from benchmarks.protocol.scoring import Effort
from benchmarks.protocol.survey_uses import (
    Latents,
    Pairs,
    answers_of,
    described,
    mapped,
    questions_of,
    recall,
)

SEEING = (1.0, 1.4, 2.0)  # factors of the FWHM of stars
DEPTH = (0.0, 1.0, 2.0)  # magnitudes by which the noise of a pixel is brighter
TRAINING = 300  # training pairs per cell, which the maps are fitted on
STREAM = 15  # of random numbers; no survey and no Purpose has it
Content = dict[str, Any]


def name_of(seeing: float, depth: float) -> str:
    """Return the name of a cell of the grid."""
    return f"seeing x {seeing:g}, {depth:g} mag"


NULL = name_of(1, 0)  # another night of DECaLS


def worse(seeing: float, depth: float) -> Survey:
    """Return DECaLS with wider seeing and shorter exposures under the same sky.

    seeing: factor of the FWHM; depth: magnitudes by which the noise of a pixel is brighter.
    """
    factor = 10 ** (0.4 * depth)

    def times(bands: Bands, by: float) -> Bands:
        g, r, z = (by * value for value in bands)
        return g, r, z

    return replace(
        DECALS,
        fwhm=times(DECALS.fwhm, seeing),
        noise=times(DECALS.noise, factor),
        gain=times(DECALS.gain, factor**-2),
    )


GRID = {name_of(seeing, depth): worse(seeing, depth) for seeing in SEEING for depth in DEPTH}


def exposures(seed: int, index: int) -> NDArray[np.float32]:
    """Return an exposure of galaxy `index` in each cell, (cells, 3, 256, 256), nanomaggies."""
    *_, light = draw_light(seed, index)
    images = []
    for survey in GRID.values():
        rng = random_stream(seed, index, STREAM)
        images.append(observe(light, survey, draw_conditions(survey, rng), rng))
    return np.stack(images)


def prepared(index: int, seed: int) -> NDArray[np.float32]:
    """Return the network's inputs from the exposures of one galaxy, (cells, D)."""
    with torch.no_grad():
        flux = torch.from_numpy(exposures(seed, index))
        return models.build(pretrained.NETWORK, 1).prepare(Stretch()(flux))[0].numpy()


def measure(run: Run, seed: int, effort: Effort, least: dict[str, int], kept: Path) -> Content:
    """Return what `described` returns in each cell, and the agreement, before and by each map.

    least: min_test and min_answer, as survey_sky.Config has them; kept: the file for the search
    among all skies, into which the sky's DECaLS latents go.
    """
    packed, model = Packed.of(run), pretrained.load(precision="auto")
    every = extract_means(packed, model, 64, np.arange(len(packed.index)))
    truth = read_parquet(run.truth, ["iauname", "index", "defect_decals"]).set_index("iauname")
    known = truth.reindex(packed.index["iauname"])
    split = np.where(known["defect_decals"] == "", packed.index["split"], "left out")
    test, fit = split == "test", np.zeros(len(split), bool)
    fit[np.random.default_rng(seed).permutation(np.flatnonzero(split == "train"))[:TRAINING]] = True
    drawn = np.flatnonzero(fit | test)
    indices = known["index"].iloc[drawn].astype(int).tolist()
    latents = [
        model.encode_inputs(torch.from_numpy(inputs).to(model.device))[0].cpu().numpy()
        for inputs in each(partial(prepared, seed=seed), indices, label="grid")
    ]
    numbers: dict[str, dict[str, Latents]] = {}
    for cell, second in zip(GRID, np.stack(latents, axis=1), strict=True):
        numbers[cell] = {}
        for method, of in mapped(Latents(every[drawn], second), fit[drawn]).items():
            side = np.full_like(every, np.nan)
            side[drawn] = of.second
            numbers[cell][method] = Latents(every, side)
    questions = questions_of(run, packed.index["path"], split, **least)
    pairs = Pairs(numbers[NULL], {}, questions, fit, test, pd.DataFrame(), effort, seed)
    flat = {(cell, method): of for cell, by in numbers.items() for method, of in by.items()}
    found = described(pairs, answers_of(pairs, flat))
    rows = np.arange(len(every))
    half = {"every": every.astype(np.float16), "unit": pairs.deviation}
    survey_search.keep(kept, numbers[NULL], test, rows, **half)
    return {
        "pairs": {"train": int(fit.sum()), "test": int(test.sum())},
        "questions": sky.counts(questions),
        "cells": {
            cell: {method: found[cell, method] | agreement(pairs, of) for method, of in by.items()}
            for cell, by in numbers.items()
        },
    }


def agreement(pairs: Pairs, of: Latents) -> Content:
    """Return distance and recall as `likeness` of sky.py does, which takes seconds for the AUC."""
    one, two = (side[pairs.test] / pairs.deviation for side in of)
    distance = np.median(np.linalg.norm(one - two, axis=1)) / one.shape[1] ** 0.5
    nearest = recall(two, np.arange(len(two)), one)["recall_at_1"]
    return {"distance": round(float(distance), 4), "recall_at_1": nearest}
