"""The search for a galaxy's other image among the DECaLS images of all skies.

The weights that travel with the project encode every sky in the same space. Their latents are kept
beside the results as each sky is measured (`keep`), and searched when all are (`search`).
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem
from VAE_model.surveys import DECALS
from VAE_model.transfer.adaptation import BEFORE

sys.path.insert(0, str(ROOT))
from benchmarks.protocol.sky import AFFINE
from benchmarks.protocol.survey_uses import Latents, recall

MOVED = (BEFORE, AFFINE)  # before adaptation, and after
ALONE, TOGETHER = "own sky", "all skies"
Content = dict[str, Any]
Arrays = dict[str, NDArray]


def path_of(folder: Path, seed: int, survey: str) -> Path:
    """Return the file of the latents of a survey's test images of a sky."""
    return folder / f"{seed}_{survey}.npz"


def keep(
    path: Path, latents: Mapping[str, Latents], test: NDArray[np.bool_], own: NDArray[np.int64],
    **more: NDArray,
) -> None:  # fmt: skip
    """Write the latents of the test images of a survey, in half precision.

    latents: by MOVED, of N pairs; test: those that are searched, (N,); own: the rows of their
    DECaLS images, (N,), among all of the sky; more: further arrays.
    """
    seconds = {name: latents[name].second[test].astype(np.float16) for name in MOVED}
    with atomic(path) as temporary:
        np.savez(temporary, own=own[test], **seconds, **more)


def read(folder: Path, seed: int, survey: str) -> Arrays:
    """Return the arrays that `keep` wrote. Raises Problem if the file is missing."""
    path = path_of(folder, seed, survey)
    if not path.exists():
        raise Problem(f"{path} is missing: delete {seed}.json beside it to measure that sky again")
    with np.load(path) as kept:
        return {name: kept[name].astype(np.int64 if name == "own" else float) for name in kept}


def search(folder: Path, seeds: Sequence[int], surveys: Sequence[str]) -> dict[int, Content]:
    """Return by sky and survey the recall of test images among the DECaLS images of all skies.

    folder: of the files of `keep`, where that of DECaLS has also `every`, the latents (N, d) of all
    its images of the sky, and `unit`, their standard deviations among training galaxies, (d,). Its
    test images are of another night: the null.
    """
    home = {seed: read(folder, seed, DECALS.name) for seed in seeds}
    together = np.concatenate([of["every"] for of in home.values()])
    starts = accumulate((len(of["every"]) for of in home.values()), initial=0)
    found: dict[int, Content] = {}
    for (seed, of), start in zip(home.items(), starts, strict=False):
        places = {ALONE: (of["every"], 0), TOGETHER: (together, start)}
        by: Content = {}
        for survey in (DECALS.name, *surveys):
            kept = read(folder, seed, survey)
            by[survey] = {
                method: {name: recall(kept[method] / of["unit"], first + kept["own"],
                                      among / of["unit"])
                         for name, (among, first) in places.items()}
                for method in MOVED
            }  # fmt: skip
        among = {name: len(place) for name, (place, _) in places.items()}
        found[seed] = {"seeds": list(seeds), "among": among, "surveys": by}
    return found
