"""Matching of table rows to images by file name."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import pandas as pd

from VAE_model.imports.importing import stem_of
from VAE_model.pipeline.problem import Problem
from VAE_model.tables.columns import as_text, name_key
from VAE_model.tables.reading import FILE_NAMES

Rows = list[int | str | None]


def rows_of_files(files: Sequence[str], table: pd.DataFrame, shown: str = "the table") -> Rows:
    """Return for each file (its path in the imported folder) the index of its table row, from 0.

    A row names its file in the first column of FILE_NAMES that matches any file: by a path or its
    last parts, with or without the image suffix; by a Windows path, a URL, or a number. Names that
    differ only in case match if no row matches exactly. None: the file has no row. A string: the
    reason why the match is ambiguous. Raises Problem if the table has none of the columns, or no
    row matches a file.
    """
    keys = {name_key(name): name for name in reversed(list(table))}
    columns = [keys[name] for name in FILE_NAMES if name in keys]
    if not columns:
        raise Problem(
            f"{shown} has no column {' or '.join(FILE_NAMES[:6])}: one must name the files"
        )
    for column in columns:
        found = _match(list(files), [_plain_path(value) for value in table[column]])
        if any(row is not None for row in found):
            return found
    said = next(iter(table[columns[0]].dropna()), "nothing")
    raise Problem(
        f"no row of {shown} matches an image: the table says {as_text(said)!r} ({columns[0]}), the "
        f"folder has {files[0]!r}: name the files as they are called"
    )


def _plain_path(value: object) -> str:
    """Return a cell as a path with /; a URL gives its path, 1234.0 gives 1234."""
    text = unicodedata.normalize("NFC", as_text(value) or "").replace("\\", "/")
    if "://" in text:
        text = unquote(urlsplit(text).path)
    return re.sub(r"^(\d+)\.0+$", r"\1", text)


def _match(files: list[str], values: list[str]) -> Rows:
    plain = [unicodedata.normalize("NFC", file) for file in files]
    found = _rows(plain, values)
    taken = {row for row in found if isinstance(row, int)}
    left = [place for place, row in enumerate(found) if row is None]
    folded = ["" if row in taken else value.casefold() for row, value in enumerate(values)]
    again = _rows([plain[place].casefold() for place in left], folded)
    for place, row in zip(left, again, strict=True):
        found[place] = row
    claims = Counter(row for row in found if isinstance(row, int))
    return [
        f"ambiguous: row {row + 1} of the table, {values[row]}, names {claims[row]} files"
        if isinstance(row, int) and claims[row] > 1
        else row
        for row in found
    ]


def _rows(files: list[str], values: list[str]) -> Rows:
    """Return the row whose last part is the file's name, with or without the image suffix."""
    rows_by_last: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value:
            rows_by_last.setdefault(value.rsplit("/")[-1], []).append(row)
    found: Rows = []
    for file in files:
        last, stem = file.rsplit("/")[-1], stem_of(file)
        rows = [*rows_by_last.get(last, []), *(rows_by_last.get(stem, []) if stem != last else [])]
        rows = [row for row in rows if _same_end(file, values[row])]
        if len(rows) > 1:
            found.append(f"ambiguous: rows {rows[0] + 1} and {rows[1] + 1} of the table name it")
        else:
            found.append(rows[0] if rows else None)
    return found


def _same_end(file: str, value: str) -> bool:
    """Return True if one of two paths ends with the other, counted in whole folders."""
    folders, other = file.split("/")[:-1], value.strip("/").split("/")[:-1]
    common = min(len(folders), len(other))
    return common == 0 or folders[-common:] == other[-common:]
