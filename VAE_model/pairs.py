"""The same galaxies in two surveys: the table of pairs, and the images of either side.

The first survey is the one that the model was trained on: its side of each pair is an image of
train.txt and keeps its split. The second survey's side is packed apart, moved by whole pixels
onto the first's centre where the two frames were cut about different positions.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.packed import Packed
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run

COLUMNS = [
    "pair", "iauname", "ra", "dec", "split", "usable", "defect", "survey", "path",
    "other_survey", "other_path", "shift_x", "shift_y",
]  # fmt: skip


@dataclass(frozen=True)
class View:
    """One survey's side of the pairs: survey; its packed images; paths and rows of each pair in
    them, (N,)."""

    survey: str
    packed: Packed
    paths: NDArray[np.str_]
    rows: NDArray[np.int64]


def read_pairs(run: Run) -> pd.DataFrame:
    """The table that make_pairs.py wrote. Raises Problem where it is none or has no rows."""
    pairs = read_parquet(run.pairs)
    lacking = [name for name in COLUMNS if name not in pairs]
    if lacking or not len(pairs):
        what = f"has no column {', '.join(lacking)}" if lacking else "has no rows"
        raise Problem(f"{run.show(run.pairs)} {what}: run {run.made_by(run.pairs)}")
    return pairs


def views(run: Run, pairs: pd.DataFrame, workers: int = 0) -> tuple[View, View]:
    """The first and the second survey's side of the pairs.

    Raises Problem where train.txt no longer lists an image that was paired.
    """
    listed = Packed.of(run, workers)
    place = pd.Series(np.arange(len(listed.index)), index=listed.index["path"])
    rows = place.reindex(pairs["path"])
    if rows.isna().any():
        raise Problem(
            f"{run.show(run.pairs)} names {rows.index[rows.isna()][0]}, which is not in "
            f"{run.show(run.train_txt)}: run {run.made_by(run.pairs)}"
        )
    others = pairs[["other_path", "shift_x", "shift_y"]].rename(columns={"other_path": "path"})
    packed = Packed.of_list(run, others, run.pairs, run.pairs_packed, workers)
    first = View(pairs["survey"].iloc[0], listed, pairs["path"].to_numpy(), rows.to_numpy(np.int64))
    second = View(
        pairs["other_survey"].iloc[0],
        packed,
        pairs["other_path"].to_numpy(),
        np.arange(len(pairs)),
    )
    return first, second
