"""A table that somebody brings along, CSV, FITS, parquet or VOTable, and the images it names."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from astropy.table import Table

from VAE_model.imports.importing import stem_of
from VAE_model.pipeline.problem import Problem

ENDINGS = (".csv", ".parquet", ".fits", ".fit", ".vot", ".xml", ".votable")

# Columns that may name an image's file, words even where all look like numbers: 000123 is not 123.
WORDS = ("file", "filename", "path", "name", "iauname")


def read_table(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """The table in a file, its format by the ending; columns of more than one value are left out.

    columns: only these, whatever their case, and as far as there are such; none: all.
    `ra` and `dec` get these names whatever their case, and are degrees.
    Raises Problem where there is no such table, or a position in it is no position.
    """
    path = Path(path)
    if not path.is_file():
        raise Problem(f"{path} is missing: give the table's place with --table, or none")
    try:
        table = _read(path, columns)
    except Problem:
        raise
    except Exception as error:  # four formats, each with errors of its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(f"{path} is no readable table ({lines[0]}): save it anew") from None
    if not len(table):
        raise Problem(f"{path} has no rows: nothing to take from it")
    table = table.rename(columns={c: c.lower() for c in table if c.lower() in ("ra", "dec")})
    if table.columns.duplicated().any():
        twice = table.columns[table.columns.duplicated()][0]
        raise Problem(f"{path} has two columns {twice}: rename one")
    return _with_positions(table, path)


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    ending = path.suffix.lower()

    def wanted(names: Iterable[str]) -> list[str]:
        return [name for name in names if not columns or str(name).lower() in columns]

    if ending == ".csv":
        names = pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns
        words = {name: str for name in names if name.lower() in WORDS}
        return pd.read_csv(
            path,
            dtype=words,
            encoding="utf-8-sig",
            low_memory=False,
            usecols=wanted(names) if columns else None,
        )
    if ending == ".parquet":
        return pd.read_parquet(path, columns=wanted(pq.read_schema(path).names))
    if ending not in ENDINGS:
        raise Problem(f"{path} ends in {ending or 'nothing'}: a table ends in {' '.join(ENDINGS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = Table.read(path, format="fits" if ending.startswith(".fit") else "votable")
    table.convert_bytestring_to_unicode()
    return table[[name for name in wanted(table.colnames) if table[name].ndim == 1]].to_pandas()


def _with_positions(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if ("ra" in table) != ("dec" in table):
        raise Problem(f"{path} has only one of the columns ra and dec: it needs both or neither")
    for name, lowest, highest in (("ra", -360, 360), ("dec", -90, 90)):
        if name not in table:
            continue
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(float, na_value=np.nan)
        given = table[name].notna().to_numpy()
        wrong = given & ~((values >= lowest) & (values <= highest))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise Problem(
                f"{path}: {name} in row {row + 1} is {table[name].iloc[row]}: "
                f"degrees from {lowest} to {highest} are needed"
            )
        table[name] = values % 360.0 if name == "ra" else values
    return table


def rows_of_files(files: Sequence[str], table: pd.DataFrame) -> list[int | str | None]:
    """For each file (its path in the imported folder) the row of the table that is about it.

    A row names its file in the first of the columns file, filename, path, name, iauname that
    there is: by a path, or some last part of one, with or without the image's ending. None: no
    row does. A text: why no single one does, where rows or files compete.
    Raises Problem where the table has none of the columns.
    """
    column = next((c for word in WORDS for c in table if str(c).lower() == word), None)
    if column is None:
        raise Problem(f"the table has no column {' or '.join(WORDS)}: one must name the files")
    values = [str(value).replace("\\", "/") for value in table[column]]
    rows_by_last: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        rows_by_last.setdefault(value.rsplit("/")[-1], []).append(row)
    found: list[int | str | None] = []
    for file in files:
        last, stem = file.rsplit("/")[-1], stem_of(file)
        rows = [*rows_by_last.get(last, []), *(rows_by_last.get(stem, []) if stem != last else [])]
        rows = [row for row in rows if _same_end(file, values[row])]
        if len(rows) > 1:
            found.append(f"ambiguous: rows {rows[0] + 1} and {rows[1] + 1} of the table name it")
        else:
            found.append(rows[0] if rows else None)
    claims = Counter(row for row in found if isinstance(row, int))
    return [
        f"ambiguous: row {row + 1} of the table, {values[row]}, names {claims[row]} files"
        if isinstance(row, int) and claims[row] > 1
        else row
        for row in found
    ]


def _same_end(file: str, value: str) -> bool:
    """Of two paths, one is the last part of the other, as far as the folders go."""
    folders, other = file.split("/")[:-1], value.strip("/").split("/")[:-1]
    common = min(len(folders), len(other))
    return common == 0 or folders[-common:] == other[-common:]
