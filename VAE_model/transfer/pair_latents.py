"""Latents of the two images of each pair: a table with two rows per pair, and its two sides."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.extraction.extract import extract
from VAE_model.extraction.latent_table import read_means
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.training.model_file import TrainedVAE
from VAE_model.transfer.pairs import SurveyImages

_IDENTITY = ["pair", "survey", "iauname", "ra", "dec", "path", "split", "usable"]


class Sides(NamedTuple):
    """The two sides of a table of latents.

    pairs: one row per pair, with pair, iauname, split, usable, and path, ssim and reduced_chi2 of
    either side (path, other_path, ...); first, second: means of the latents, float32 (N, num_var)
    each; surveys: the names of the two.
    """

    pairs: pd.DataFrame
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    surveys: tuple[str, str]


def encode_pairs(
    pairs: pd.DataFrame, both: tuple[SurveyImages, SurveyImages], model: TrainedVAE, batch_size: int
) -> pd.DataFrame:
    """Return the table of latents: first the first survey's, each in the order of the pairs."""
    parts = []
    for side in both:
        identity = pairs.assign(survey=side.survey, path=side.paths)[_IDENTITY]
        latents = extract(side.packed, model, batch_size, side.rows, side.survey)
        parts.append(pd.concat([identity.reset_index(drop=True), latents], axis=1))
    return pd.concat(parts, ignore_index=True)


def read_sides(run: Run, path: Path, num_var: int) -> Sides:
    """Read a table of latents and join its two sides on the pair.

    Raises Problem unless it has one row per pair in each of two surveys.
    """
    others = ("pair", "survey", "usable", "ssim", "reduced_chi2")
    table, means = read_means(run, path, num_var, others)
    table, again = table.reset_index(drop=True), f"run {run.made_by(path)}"
    if lacking := [name for name in others if name not in table]:
        raise Problem(f"{run.show(path)} has no column {', '.join(lacking)}: {again}")
    surveys = tuple(table["survey"].drop_duplicates())
    if len(surveys) != 2:
        names = ", ".join(surveys)
        raise Problem(f"{run.show(path)} has the surveys {names}, and a pair needs two: {again}")
    one, two = (
        pd.Series(side.index, side["pair"])
        for _, side in table.groupby("survey", sort=False, dropna=False)
    )
    if not one.index.is_unique or set(one.index) != set(two.index) or len(one) != len(two):
        raise Problem(f"{run.show(path)}: not every pair has a row in each survey: {again}")
    first, second = one.to_numpy(), two.reindex(one.index).to_numpy()
    shared = table.loc[first].reset_index(drop=True)
    for name in ("ssim", "reduced_chi2", "path"):
        shared[f"other_{name}"] = table.loc[second, name].to_numpy()
    return Sides(shared, means[first], means[second], surveys)
