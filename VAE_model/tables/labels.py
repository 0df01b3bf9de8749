"""Labels of imported images, from the table that came with them: answers, and a split.

labels.parquet identifies an image by its path, so images without a position have labels too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from VAE_model.data.splits import SHARES
from VAE_model.pipeline.files import parquet_columns, read_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.tables.columns import as_text

SPLIT = "split"  # the column with the split of an image
MOST_ANSWERS = 20  # distinct values above which a column is a measurement and not a label
_NO_LABELS = ("path", "iauname", "ra", "dec", "pixel_scale", "enlarged", SPLIT)


def columns_of(run: Run) -> list[str]:
    """Return the columns of labels.parquet that may be labels; none without such a table."""
    if not run.labels.exists():
        return []
    return [name for name in parquet_columns(run.labels) if name not in _NO_LABELS]


def questions_in(run: Run) -> list[str]:
    """Return the columns whose values are answers to a question: from 2 to MOST_ANSWERS of them."""
    table = read_parquet(run.labels, columns_of(run)) if run.labels.exists() else pd.DataFrame()
    return [name for name in table if 2 <= table[name].nunique() <= MOST_ANSWERS]


def split_source(run: Run) -> list[Path]:
    """Return [labels.parquet] where it gives a split, else [].

    It is then an input of the stages that use the split.
    """
    there = run.labels.exists() and run.labels.stat().st_size
    return [run.labels] if there and SPLIT in parquet_columns(run.labels) else []


def given_split(run: Run, paths: Sequence[str]) -> NDArray[np.str_]:
    """Return the split of each image, (N,), in the table; empty where it gives none.

    Raises Problem where the column holds another word than train, validation and test.
    """
    if not split_source(run):
        return np.full(len(paths), "", dtype="<U10")
    sides = _by_path(run, [SPLIT], paths)[SPLIT].map(as_text).fillna("").str.lower()
    unknown = sides[~sides.isin(["", *SHARES])]
    if len(unknown):
        raise Problem(
            f"{run.show(run.labels)}: {SPLIT} of {unknown.index[0]} is {unknown.iloc[0]!r}, not "
            f"{', '.join(SHARES)}: change it in the table, or rename the column, and import again"
        )
    return sides.reindex(paths).fillna("").to_numpy(dtype="<U10")


def read_answers(
    run: Run, columns: Sequence[str], paths: Sequence[str]
) -> tuple[dict[str, list[str]], pd.DataFrame]:
    """Return the sorted answers of each column, and the answer of each image.

    The answers of the images have one row per path and one column per question, text, null where an
    image has no label. Raises Problem where a column is missing, or its values are not answers to a
    question.
    """
    shown, there = run.show(run.labels), columns_of(run)
    for name in columns:
        if name not in there:
            instead = f"it has {', '.join(there)}" if there else "it has no labels"
            raise Problem(f"{shown} has no label {name!r}: {instead}")
    answers = _by_path(run, list(columns), paths).apply(lambda column: column.map(as_text))
    answers = answers.reindex(paths)
    found = {name: _in_order(answers[name].dropna().unique()) for name in columns}
    for name, values in found.items():
        if len(values) < 2:
            what = f"only the value {values[0]!r}" if values else "no value"
            raise Problem(
                f"{shown}: {name} has {what} among the {len(paths):,} images: two or more answers "
                "make a question"
            )
        if len(values) > MOST_ANSWERS:
            raise Problem(
                f"{shown}: {name} has {len(values):,} different values among the images: a label "
                f"has at most {MOST_ANSWERS}; cut it into classes in the table and import again"
            )
    return found, answers


def _in_order(answers: ArrayLike) -> list[str]:
    """Return answers as sorted texts, by their value if all are numbers."""
    texts = sorted(map(str, np.asarray(answers)))
    try:
        return sorted(texts, key=float)
    except ValueError:
        return texts


def _by_path(run: Run, columns: list[str], paths: Sequence[str]) -> pd.DataFrame:
    """Return columns of labels.parquet by path.

    Raises Problem where none of its rows belongs to one of the images.
    """
    table = read_parquet(run.labels, ["path", *columns]).set_index("path")
    if len(table) and not table.index.isin(paths).any():
        raise Problem(
            f"no row of {run.show(run.labels)} matches an image: it names "
            f"{table.index[0]}, and {run.show(run.train_txt)} lists {next(iter(paths), 'none')}: "
            f"run {run.remade_by(run.labels)}"
        )
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise Problem(
            f"{run.show(run.labels)} has two rows for {twice}: run {run.remade_by(run.labels)}"
        )
    return table
