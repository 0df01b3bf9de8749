"""Latents of the two views of each pair: a table with two rows a pair, and its two sides."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.extraction.extract import encode
from VAE_model.extraction.latent_table import read_means
from VAE_model.pairs import View
from VAE_model.paths import Run
from VAE_model.problem import Problem
from VAE_model.training.model_file import TrainedVAE

_IDENTITY = ["pair", "survey", "iauname", "ra", "dec", "path", "split", "usable"]


class Sides(NamedTuple):
    """pairs: a row a pair: pair, iauname, split, usable, and ssim and mse of either side (ssim,
    ssim_other, ...); first, second: means of the latents, float32 (N, num_var) each;
    surveys: the names of the two."""

    pairs: pd.DataFrame
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    surveys: tuple[str, str]


def encode_pairs(
    pairs: pd.DataFrame, both: tuple[View, View], model: TrainedVAE, batch: int
) -> pd.DataFrame:
    """The table of latents: the first survey's, then the second's, each in the pairs' order."""
    parts = []
    for view in both:
        identity = pairs.assign(survey=view.survey, path=view.paths)[_IDENTITY]
        latents = encode(view.packed, model, batch, view.rows, view.survey)
        parts.append(pd.concat([identity.reset_index(drop=True), latents], axis=1))
    return pd.concat(parts, ignore_index=True)


def read_sides(run: Run, path: Path, num_var: int) -> Sides:
    """The two sides of a table of latents, a row a pair in both, joined on the pair.

    Raises Problem where a pair lacks a side.
    """
    others = ("pair", "survey", "usable", "ssim", "mse")
    table, means = read_means(run, path, num_var, others)
    table = table.reset_index(drop=True)
    lacking = [name for name in others if name not in table]
    if lacking:
        raise Problem(
            f"{run.show(path)} has no column {', '.join(lacking)}: run {run.made_by(path)}"
        )
    surveys = tuple(table["survey"].drop_duplicates())
    if len(surveys) != 2:
        raise Problem(
            f"{run.show(path)} holds the surveys {', '.join(surveys)}, and a pair needs two: "
            f"run {run.made_by(path)}"
        )
    rows = [
        table.index[table["survey"] == survey].to_series(
            index=table["pair"][table["survey"] == survey]
        )
        for survey in surveys
    ]
    if not rows[0].index.is_unique or set(rows[0].index) != set(rows[1].index):
        raise Problem(
            f"{run.show(path)}: not every pair has a row in each survey: run {run.made_by(path)}"
        )
    first, second = rows[0].to_numpy(), rows[1].reindex(rows[0].index).to_numpy()
    shared = table.loc[first].reset_index(drop=True)
    for name in ("ssim", "mse", "path"):
        shared[f"other_{name}"] = table.loc[second, name].to_numpy()
    return Sides(shared, means[first], means[second], surveys)
