"""The defects that the simulation has put into the images of a run."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.pipeline.files import parquet_columns, read_parquet
from VAE_model.pipeline.run import Run
from VAE_model.surveys import DECALS, SURVEYS
from VAE_model.tables.joins import join_rows


def injected_defects(run: Run, table: pd.DataFrame) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Return the defect of each image, "" for none, and if the truth has its galaxy, (N,) both.

    table: iauname and survey of the images.
    """
    known = parquet_columns(run.truth)
    surveys = [s for s in SURVEYS if f"defect_{s}" in known or s == DECALS.name]
    truth = read_parquet(run.truth, ["iauname", *(f"defect_{name}" for name in surveys)])
    rows = join_rows(table["iauname"], truth["iauname"], ("images", run.show(run.truth)), "iauname")
    survey = np.maximum(pd.Index(surveys).get_indexer(table["survey"]), 0)
    defects = truth.drop(columns="iauname").fillna("").to_numpy(str)
    return np.where(rows >= 0, defects[rows, survey], ""), rows >= 0
