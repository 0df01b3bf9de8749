"""Columns in plain types: one rule for every table that is read, whatever program wrote it.

| in the file | in the table |
|---|---|
| name: a number, a tuple, in spaces, quotes, after a byte order mark | text, stripped |
| index of pandas, dask or R without a name | dropped; one with a name is a column |
| dictionary, category, run-end encoded, extension type | the values |
| bytes | text (UTF-8, else Latin-1), without trailing spaces and zeros |
| nullable integers | float64, or text where float64 would lose digits |
| nullable booleans | text: True, False |
| decimal | float64 |
| dates and times | text (ISO 8601) |
| list, struct, map, bytes that are not text | left out, and named |
"""

import re
from ast import literal_eval
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from VAE_model.pipeline.problem import Problem

# Words for a missing number; in a column of text they are ordinary words.
MISSING = {
    "", "na", "n/a", "nan", "null", "nil", "none", "<na>", "-", "--", "---", "...", "…",
    "masked", "missing", "\\n",
    "#n/a", "#na", "#num!", "#div/0!", "#value!", "#name?", "#ref!", "#null!",
}  # fmt: skip

_EXACT = 2**53  # up to which float64 represents every integer
_INDEX = re.compile(r"__(index_level_\d+|null_dask_index)__")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")  # a hyphen is _x002d_ to Excel's XML


Choose = Callable[[list[str]], list[str]]  # from the columns of a file to those to read


@dataclass
class Raw:
    """Columns in plain types, as in the file: numbers in text are not converted yet.

    units: of the columns that have one; texts: columns whose type is text; left_out: columns with
    more than one value per cell; notes: remarks on the file to print.
    """

    table: pd.DataFrame
    units: dict[str, str] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plain_name(name: object) -> str:
    """Return a column's name as text; the parts of a tuple (MultiIndex) joined by _."""
    if isinstance(name, tuple):
        return "_".join(part for part in map(plain_name, name) if part)
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return re.sub(r"\s+", " ", text.replace("\ufeff", "").replace("\u200b", "")).strip(" \0'\"`")


def name_key(name: str) -> str:
    """Return the common part of spellings of a column's name: iauname, IAU_NAME; a-b, a_b, A.b."""
    return re.sub(r"[\W_]+", "", name).casefold()


def find_column(name: str, present: Iterable[str], path: Path) -> str | None:
    """Return the column of that name, else the one with another spelling of it; None without one.

    Raises Problem where several match.
    """
    present = list(present)
    if name in present:
        return name
    found = [other for other in present if name_key(other) == name_key(name)]
    if len(found) > 1:
        raise Problem(f"{path}: {' and '.join(found)} may both be the column {name}: rename one")
    return found[0] if found else None


def check_columns(names: Iterable[str], present: Iterable[str], path: Path) -> None:
    """Raise Problem where a file lacks one of the columns."""
    present = set(present)
    if lacking := [name for name in names if name not in present]:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise Problem(f"{path} has no column {', '.join(lacking[:5])}{more}")


def is_nested(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds more than one value per cell."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    if isinstance(kind, pa.BaseExtensionType):
        return is_nested(kind.storage_type)
    return bool(pa.types.is_nested(kind))


def plain_names(schema: pa.Schema) -> list[tuple[str, str]]:
    """Return, for each column of a file, its name in the table and its name in the file.

    A named index is a column, an index without a name is not; a named index that is a range appears
    only in the metadata of pandas, and its name in the file is "".
    """
    ranges, several, _ = _pandas_notes(schema)
    found = [
        (_level_name(name) if several else plain_name(name), name)
        for name in schema.names
        if not _INDEX.fullmatch(name)
    ]
    return found + [(name, "") for name in ranges]


def plain_table(table: pa.Table, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns of an Arrow table in plain types, and the names of those left out.

    Rows count from 0. Left out are columns with more than one value, or binary data, in a cell.
    path: of the file, for the error. attrs: as pandas wrote them.
    Raises Problem where two columns share a name and differ.
    """
    ranges, _, attributes = _pandas_notes(table.schema)
    arrays: dict[str, pa.ChunkedArray] = {}
    left_out = []
    places = [place for place, name in enumerate(table.schema.names) if not _INDEX.fullmatch(name)]
    for place, (named, _) in zip(places, plain_names(table.schema), strict=False):
        made = _plain_array(table.column(place))
        if made is None:
            left_out.append(named)
        elif named not in arrays:
            arrays[named] = made
        elif not arrays[named].equals(made):
            raise Problem(f"{path} has two columns {named}, which differ: rename one")
    made = pa.table(arrays).to_pandas(ignore_metadata=True)
    if not arrays:
        made = pd.DataFrame(index=pd.RangeIndex(table.num_rows))
    for name, values in ranges.items():
        if name not in made and len(values) == len(made):
            made[name] = np.array(values)
    made.attrs = attributes
    return made, left_out


def masked(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of astropy with cells missing where its columns `name.mask` are True."""
    for name in [name for name in table if f"{name}.mask" in table]:
        hidden = table.pop(f"{name}.mask").astype(str) == "True"
        column = table[name].astype(str) if table[name].dtype == bool else table[name]
        table[name] = column.mask(hidden)
    return table


def _pandas_notes(schema: pa.Schema) -> tuple[dict[str, range], bool, dict]:
    """Return what pandas notes in a file: named ranges, levels of column names, and attributes.

    A range in the index is written as its ends only. levels: True where a column name has several.
    """
    try:
        said = schema.pandas_metadata
    except (ValueError, RecursionError):
        said = None
    notes: dict = {"index_columns": [], "column_indexes": [], "attributes": {}}
    for name, empty in notes.items():
        if isinstance(said, dict) and isinstance(said.get(name), type(empty)):
            notes[name] = said[name]
    ranges = {}
    for index in notes["index_columns"]:
        if isinstance(index, dict) and index.get("name") is not None:
            ends: list = [index.get(end) for end in ("start", "stop", "step")]
            if all(isinstance(end, int) for end in ends) and ends[2]:
                ranges[plain_name(index["name"])] = range(*ends)
    return ranges, len(notes["column_indexes"]) > 1, notes["attributes"]


def _level_name(name: str) -> str:
    try:
        parts = literal_eval(name)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        parts = name
    return plain_name(parts)


def _plain_array(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return a column in a type with a plain equivalent in pandas; None where there is none."""
    types, kind = pa.types, column.type
    if is_nested(kind):
        return None
    if isinstance(kind, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in column.chunks]
        return _plain_array(pa.chunked_array(chunks, kind.storage_type))
    if types.is_dictionary(kind):
        return _plain_array(column.cast(kind.value_type))
    if types.is_run_end_encoded(kind):
        chunks = [pc.run_end_decode(chunk) for chunk in column.chunks]
        return _plain_array(pa.chunked_array(chunks, kind.value_type))
    if types.is_null(kind) or types.is_decimal(kind):
        return column.cast(pa.float64())
    if types.is_float16(kind):
        return column.cast(pa.float32())
    if types.is_boolean(kind):
        return pc.if_else(column, "True", "False") if column.null_count else column
    if types.is_integer(kind):
        ends = pc.min_max(column).as_py() if column.null_count else {}
        lossy = max((abs(end) for end in ends.values() if end is not None), default=0) > _EXACT
        return column.cast(pa.string()) if lossy else column
    if types.is_temporal(kind):
        return column.cast(pa.int64() if types.is_duration(kind) else pa.string())
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return _text_of(column)
    if types.is_fixed_size_binary(kind):
        return _text_of(column.cast(pa.binary()))
    return column


def _text_of(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    try:
        text = column.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:  # not UTF-8
        cells = [None if cell is None else cell.decode("latin-1") for cell in column.to_pylist()]
        text = pa.chunked_array([pa.array(cells, pa.large_string())])
    text = pc.utf8_rtrim(text, characters=" \0")
    return None if pc.any(pc.match_substring_regex(text, "[\\x00-\\x08]")).as_py() else text


def is_text(column: pd.Series) -> bool:
    """Return whether a plain column holds text."""
    return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def typed(column: pd.Series) -> pd.Series:
    """Return a text column as numbers or booleans if every cell is one, else as stripped text.

    Only an empty cell is missing. In a column in which all other cells are numbers (or booleans),
    the usual words for missing (MISSING: NA, null, nan, -- and so on) are missing too; beside other
    words they are words: None is a class of bulge. Integers that begin with 0 (000123), or have
    more digits than float64 keeps where cells are missing, are names, and stay text.
    """
    text = column.fillna("").astype(str).str.strip()
    if text.str.contains("−", regex=False).any():
        text = text.str.replace("−", "-", regex=False)
    numbers = pd.to_numeric(text, errors="coerce")
    others = text[numbers.isna()].str.casefold()
    words = others[~others.isin(MISSING)]
    if not len(words) and len(others) < len(text):
        given = text[numbers.notna()]
        names = given.str.fullmatch(r"[+-]?0\d+")
        if numbers.dtype.kind == "f":
            names |= given.str.fullmatch(r"[+-]?\d+") & (numbers[given.index].abs() > _EXACT)
        if not names.any():
            return numbers
    elif len(words) and len(others) == len(text) and words.isin(["true", "false"]).all():
        true = text.str.casefold() == "true"
        if len(words) == len(text):
            return true
        said = pd.Series(np.where(true, "True", "False"), text.index)
        return said.where(text.index.isin(words.index))
    return text.where(text != "")


def as_text(value: object) -> str | None:
    """Return a cell as text: 1 and 1.0 are the same; None where it is missing."""
    if pd.isna(value):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip() or None


def as_numbers(column: pd.Series) -> pd.Series:
    """Return a plain column as numbers, booleans as 1 and 0.

    float32 stays float32 (as float64 a fraction of 0.6 would exceed the threshold 0.6).
    Raises ValueError, naming the first cell that is not a number.
    """
    made = typed(column) if is_text(column) else column
    if is_text(made):
        numbers = pd.to_numeric(made, errors="coerce")
        numbers = numbers.fillna(made.map({"True": 1.0, "False": 0.0}).astype(float))
        wrong = (made.notna() & numbers.isna()).to_numpy()
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"row {row + 1} is {made.iloc[row]!r}")
        made = numbers
    return made if made.dtype == np.float32 else made.astype(float)
