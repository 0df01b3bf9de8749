"""The same galaxies in two surveys: the table of pairs, and the images of either survey.

The first survey is the one that the model was trained on: its images are in train.txt and keep
their split. The second survey's images are packed separately, moved by whole pixels onto the
first's centre where the two have different centres.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.packed import Packed
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.tables.joins import image_rows

COLUMNS = [
    "pair", "iauname", "ra", "dec", "split", "usable", "defect", "survey", "path",
    "other_survey", "other_path", "shift_x", "shift_y",
]  # fmt: skip


@dataclass(frozen=True)
class SurveyImages:
    """One survey's images of the pairs.

    paths, rows: of each pair, (N,), in the packed images.
    """

    survey: str
    packed: Packed
    paths: NDArray[np.str_]
    rows: NDArray[np.int64]


def read_pairs(run: Run) -> pd.DataFrame:
    """Read the table of make_pairs.py. Raises Problem if a column or every row is missing."""
    pairs = read_parquet(run.pairs)
    lacking = [name for name in COLUMNS if name not in pairs]
    if lacking or not len(pairs):
        what = f"has no column {', '.join(lacking)}" if lacking else "has no rows"
        raise Problem(f"{run.show(run.pairs)} {what}: run {run.made_by(run.pairs)}")
    return pairs


def images_in_both(
    run: Run, pairs: pd.DataFrame, workers: int = 0
) -> tuple[SurveyImages, SurveyImages]:
    """Return the first and the second survey's images of the pairs.

    Raises Problem if train.txt no longer lists an image of a pair.
    """
    listed = Packed.of(run, workers)
    again = f"run {run.made_by(run.pairs)}"
    rows = image_rows(run, listed, pairs["path"], run.pairs, again)
    others = pairs[["other_path", "shift_x", "shift_y"]].rename(columns={"other_path": "path"})
    packed = Packed.of_list(run, others, run.pairs, run.pairs_packed, workers)
    first = SurveyImages(pairs["survey"].iloc[0], listed, pairs["path"].to_numpy(), rows)
    paths, all_rows = pairs["other_path"].to_numpy(), np.arange(len(pairs))
    return first, SurveyImages(pairs["other_survey"].iloc[0], packed, paths, all_rows)
