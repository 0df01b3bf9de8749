"""Tables with one file per band: the columns g, r and z name one-band images of a galaxy."""

from collections.abc import Sequence

import pandas as pd

from VAE_model.data.fits_frames import BANDS
from VAE_model.imports.importing import ENDINGS
from VAE_model.imports.matching import rows_of_files
from VAE_model.pipeline.problem import Problem
from VAE_model.tables.columns import name_key
from VAE_model.tables.reading import FILE_NAMES


def band_columns(table: pd.DataFrame | None) -> dict[str, str]:
    """Return band -> column if a table names one file per band, else {}.

    Such a table has the columns g and z (and perhaps r), in any case, whose cells are names of
    images; columns of magnitudes have the same names but hold numbers. Raises Problem if only some
    of the columns name images.
    """
    if table is None:
        return {}
    columns = {str(c).lower(): c for c in table if str(c).lower() in BANDS}
    for column in columns.values():
        values = table[column].dropna().astype(str)
        if not values.str.lower().str.endswith(ENDINGS).any():
            return {}
    if columns and not {"g", "z"} <= set(columns):
        there = ", ".join(columns)
        raise Problem(
            f"the table names image files in the column {there}: a file per band needs at least "
            "the columns g and z (the bluest and the reddest); rename them"
        )
    return {band: columns[band] for band in BANDS if band in columns}


def match(
    files: Sequence[str], table: pd.DataFrame, columns: dict[str, str]
) -> tuple[list[dict[str, str] | str], list[str]]:
    """Return the file of each band for each row of a table, and the files that no row names.

    If a file of a row is missing or ambiguous, the row's entry is the reason, a string.
    """
    found: list[dict[str, str]] = [{} for _ in range(len(table))]
    named: set[str] = set()
    reasons: dict[int, str] = {}
    for band, column in columns.items():
        names = table[[column]].rename(columns={column: "file"}).fillna("")
        try:
            rows = rows_of_files(files, names)
        except Problem:  # no row names any of the files
            continue
        for file, row in zip(files, rows, strict=True):
            if isinstance(row, int):
                found[row][band] = file
            if row is not None:
                named.add(file)
    for row, planes in enumerate(found):
        for band, column in columns.items():
            if band not in planes:
                value = table[column].iloc[row]
                what = "names no file" if pd.isna(value) else f"names {value}, no single file"
                reasons[row] = f"missing band: row {row + 1} of the table {what} for {band}"
    outcome = [reasons.get(row, planes) for row, planes in enumerate(found)]
    return outcome, [file for file in files if file not in named]


def names_of_rows(table: pd.DataFrame, columns: dict[str, str]) -> list[str]:
    """Return the name of each row: from a column such as name or iauname, else its g file."""
    keys = {name_key(name): name for name in reversed(list(table))}
    column = next((keys[name] for name in FILE_NAMES if name in keys), columns["g"])
    return table[column].fillna("image").map(str).tolist()
