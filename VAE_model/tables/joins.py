"""Joins of tables by the values of a column, never by the order of rows.

The numbers of kept and dropped rows are printed, and duplicate values are refused.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from VAE_model.data.packed import Packed
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run


def join_rows(
    left: ArrayLike,
    right: ArrayLike,
    names: tuple[str, str],
    key: str = "path",
    required: str = "",
    mend: str = "",
) -> NDArray[np.int64]:
    """Return the row of the right table that matches each row of the left one, -1 for none.

    left, right: the values of the column `key` in both, (N,) and (M,); names: of the two tables,
    for messages; required: the remedy where a left row has no right one, if every row must have
    one; mend: the remedy where the right table has a value twice. Prints how many rows were kept
    and how many were dropped. Raises Problem where a value occurs twice in the right table, or a
    required one is missing.
    """
    index, wanted = pd.Index(np.asarray(right, object)), np.asarray(left, object)
    check_unique(index, names[1], key, mend or f"make {names[1]} again")
    rows = index.get_indexer(wanted).astype(np.int64)
    if required and (rows < 0).any():
        raise Problem(
            f"{names[0]} names {wanted[rows < 0][0]}, which is not in {names[1]}: {required}"
        )
    kept, unused = int((rows >= 0).sum()), len(index) - len(np.unique(rows[rows >= 0]))
    dropped = f"; dropped {len(rows) - kept:,}: not in {names[1]}" if kept < len(rows) else ""
    print(
        f"  join on {key}: kept {kept:,} of {len(rows):,} rows of {names[0]}{dropped}; "
        f"{unused:,} rows of {names[1]} not used"
    )
    return rows


def image_rows(
    run: Run, packed: Packed, paths: ArrayLike, source: Path, mend: str
) -> NDArray[np.int64]:
    """Return the rows of images, by their paths (N,), among the packed images of train.txt.

    source: the table that names them; mend: the remedy in the Problem raised where train.txt lacks
    one.
    """
    names = run.show(source), run.show(run.train_txt)
    return join_rows(paths, packed.index["path"], names, required=mend)


def check_unique(values: Sequence | pd.Index, name: str, key: str, mend: str) -> None:
    """Raise Problem where a value of the column `key` occurs in two rows of the table `name`."""
    index = pd.Index(values)
    twice = index[index.duplicated()]
    if len(twice):
        raise Problem(
            f"{name} has {len(twice):,} rows with a duplicate {key} (first: {twice[0]}): {mend}"
        )
