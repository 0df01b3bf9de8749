"""Reading of tables of any format, in plain types, with positions in degrees.

The same rules for all: names as text, rows counted from 0, types as in columns.py, angles
converted from their units (positions.py), missing only where a cell is empty (columns.typed).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from VAE_model.pipeline.problem import Problem
from VAE_model.tables.columns import check_columns, find_column, is_text, name_key, typed
from VAE_model.tables.formats import read_raw
from VAE_model.tables.positions import position_pairs, with_positions

# Columns that may name an image's file, the likeliest first. They stay text even where all cells
# look like numbers: 000123 is not 123.
FILE_NAMES = (
    "file", "filename", "path", "filepath", "name", "iauname", "image", "imagename", "imagefile",
    "imagepath", "id", "objid", "objectid", "galaxyid", "imageid", "dr7objid",
)  # fmt: skip
_OUR_NAMES = ("iauname", "split")  # other spellings of these are renamed
_POSITION = ("ra", "dec")
_MISTAKABLE = {"none", "na", "n/a", "nan", "null"}


def read_table(
    path: Path, columns: Sequence[str] | None = None, optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a table from text (CSV and similar), FITS, VOTable, ECSV, IPAC, parquet or Arrow.

    The content determines the format. Rows count from 0, columns are numbers, booleans or text.
    columns: only these; optional: read these where present; neither: all. Spellings that differ in
    case, hyphens, underscores, dots and spaces are one name, and become the requested one.
    The position, whatever its columns are called, becomes ra (0 to 360) and dec in degrees.
    Prints what was renamed and what was left out. Raises Problem where the table is missing, a
    column is missing or ambiguous, or a position is invalid.
    """
    path = Path(path)
    if not path.is_file():
        raise Problem(f"{path} is {'a folder' if path.is_dir() else 'missing'}: a table is needed")
    asked = (*(columns or ()), *optional) or None

    def choose(names: list[str]) -> list[str]:
        if asked is None:
            return names
        found = [find_column(name, names, path) for name in asked]
        if set(_POSITION) & set(asked):
            found += [name for pair in position_pairs(names, path) for name in pair[:2]]
        found += [name for name in (f"{name}.mask" for name in found) if name in names]  # astropy's
        return list(dict.fromkeys(name for name in found if name is not None))

    try:
        raw = read_raw(path, choose)
    except Problem:
        raise
    except Exception as error:  # many formats, each with errors of its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(f"{path} is not a readable table ({lines[0]}): save it again") from None
    if not len(raw.table):
        raise Problem(f"{path} has no rows: nothing to take from it")
    table = raw.table
    for name in table:
        if is_text(table[name]):
            words = name_key(name) in FILE_NAMES or name in raw.texts
            text = table[name].str.strip()
            table[name] = text.where(text != "") if words else typed(table[name])
    for note in raw.notes:
        print(f"  {path.name}: {note}")
    if asked is None and raw.left_out:
        shown = ", ".join(raw.left_out)
        print(f"  {path.name}: left out (lists, bytes, or columns without a name): {shown}")
    if asked is None or set(_POSITION) & set(asked):
        table = with_positions(table, raw.units, path)
    table = _renamed(table, asked or _OUR_NAMES, path)
    if asked is None:
        _say_words(table, path)
        return table
    check_columns(columns or (), table, path)
    return table[[name for name in dict.fromkeys(asked) if name in table]]


def _renamed(table: pd.DataFrame, names: Iterable[str], path: Path) -> pd.DataFrame:
    """Return the table with these names for the columns that have another spelling of them."""
    found = {find_column(name, table, path): name for name in names}
    return table.rename(columns={old: new for old, new in found.items() if old is not None})


def _say_words(table: pd.DataFrame, path: Path) -> None:
    """Print which words are kept as answers although they may elsewhere mean a missing value."""
    for name in table:
        if is_text(table[name]) and name_key(name) not in FILE_NAMES:
            words = table[name][table[name].str.casefold().isin(_MISTAKABLE)]
            if len(words):
                shown = ", ".join(f"{word!r} ({n:,})" for word, n in words.value_counts().items())
                print(f"  {path.name}: {name} holds {shown}: kept as text; only an empty cell is "
                      "missing")  # fmt: skip
