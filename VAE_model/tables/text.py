"""Text tables (CSV and similar), as spreadsheets, R, TOPCAT and VizieR write them."""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.problem import Problem
from VAE_model.tables.columns import Choose, Raw, plain_name

_BLOCK = 100_000  # rows that are read at a time
_SAMPLE = 50  # lines from which the separator is determined
_UNNAMED = re.compile(r"(Unnamed: ?\d+)?")


@dataclass(frozen=True)
class _Layout:
    """The layout of a text table.

    skip: lines before the first row of data; width: cells of the first row; ragged: whether other
    rows have fewer.
    """

    skip: int
    separator: str
    names: list[str]
    width: int
    ragged: bool
    units: dict[str, str]


def is_gzip(path: Path) -> bool:
    """Return whether a file has the gzip signature."""
    with open(path, "rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressed where it is gzip."""
    return gzip.open(path) if is_gzip(path) else open(path, "rb")  # type: ignore[return-value]


def read_text(path: Path, choose: Choose, spaces: bool) -> Raw:
    """Return the columns of a text table that `choose` selects, as text.

    spaces: they may separate cells. Columns without a name that are empty or numbered are dropped,
    and so are empty rows at the end. Raises Problem where a row is longer than the first, or two
    columns of one name differ.
    """
    encoding = _encoding(path)
    with open_unpacked(path) as stream, io.TextIOWrapper(stream, encoding, newline="") as lines:
        layout = _layout(lines, path, spaces)
    shifted = layout.width == len(layout.names) + 1  # by a name of each row, or a last separator
    wanted = set(choose(list(dict.fromkeys(layout.names))))
    places = [
        place
        for place, name in enumerate(layout.names)
        if shifted or name in wanted or _UNNAMED.fullmatch(name)
    ]
    cells = _cells(path, encoding, layout, places if wanted and not shifted else None)
    if shifted:
        first, empty = cells[0], cells.iloc[:, -1] == ""
        shifted = not empty.all()
        numbered = first.str.fullmatch(r"\d+").all() or not empty.any()
        if shifted and (layout.ragged or first.duplicated().any() or not numbered):
            raise _too_wide(path, layout.width, layout.names)
    filled = np.flatnonzero((cells != "").any(axis=1))
    if len(filled):
        cells = cells[: filled[-1] + 1]  # without the empty rows that Excel leaves at the end
    columns: dict[str, pd.Series] = {}
    left_out = []
    for place in places:
        name, column = layout.names[place], cells[place + shifted]
        if _UNNAMED.fullmatch(name):
            if not column.str.fullmatch(r"\d*").all():  # neither empty nor an index
                left_out.append(f"number {place + 1}, which has no name")
        elif name not in columns:
            columns[name] = column
        elif not columns[name].equals(column):
            raise Problem(f"{path} has two columns {name}, which differ: rename one")
    table = pd.DataFrame({name: columns[name] for name in choose(list(columns))}, cells.index)
    if layout.separator != ",":
        table = _with_points(table)
    return Raw(table, layout.units, left_out=left_out)


def _too_wide(path: Path, width: int, names: list[str]) -> Problem:
    return Problem(
        f"{path} has {width} cells in its first row under {len(names)} names: quote the cells that "
        "hold a separator"
    )


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows of text to a CSV file; file names that are not UTF-8 with escapes."""
    with (
        atomic(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        csv.writer(stream).writerows(rows)


def _cells(path: Path, encoding: str, layout: _Layout, places: list[int] | None) -> pd.DataFrame:
    """Return the cells at these places of each row, or all, as text; "" at the end of short rows.

    Raises Problem where a row is too long.
    """
    with open_unpacked(path) as stream, io.TextIOWrapper(stream, encoding, newline="") as lines:
        for _ in islice(lines, layout.skip):
            pass
        try:
            blocks = pd.read_csv(
                lines,
                sep=r"\s+" if layout.separator == " " else layout.separator,
                header=None,
                names=range(max(layout.width, len(layout.names))),
                index_col=False,
                dtype=str,
                keep_default_na=False,
                skipinitialspace=True,
                chunksize=_BLOCK,
            )
            # Of selected columns (usecols) pandas would not notice rows that are too long.
            kept = [block if places is None else block[places] for block in blocks]
        except pd.errors.ParserError as error:
            found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
            if not found:
                raise
            raise Problem(
                f"{path} is not a readable table (line {int(found[2]) + layout.skip} has "
                f"{found[3]} cells, the first row {found[1]}): quote the cells with a separator"
            ) from None
    return pd.concat(kept, ignore_index=True).fillna("")


def _encoding(path: Path) -> str:
    """Return the encoding of a text: from its byte order mark, else UTF-8, else a Windows one."""
    with open_unpacked(path) as stream:
        head = stream.read(4096)
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return name
    if b"\0" in head:
        odd, even = head[1::2].count(0), head[::2].count(0)
        if max(odd, even) < len(head) / 4:
            raise Problem(f"{path} is not a readable table (it holds binary data)")
        return "utf-16-le" if odd > even else "utf-16-be"
    for encoding in ("utf-8", "cp1252"):
        try:
            with open_unpacked(path) as stream, io.TextIOWrapper(stream, encoding) as text:
                while text.read(2**20):
                    pass
            return encoding
        except UnicodeDecodeError:
            continue
    return "latin-1"


def _layout(lines: IO[str], path: Path, spaces: bool) -> _Layout:
    comments: list[str] = []
    skip, separator = 0, ""
    sample: list[str] = []
    for line in islice(lines, 100_000):
        if not sample and line.startswith("#"):
            comments.append(line.removeprefix("#").removeprefix(" ").rstrip())
        elif not sample and (found := re.fullmatch(r'"?sep=(.)"?\s*', line)):
            separator = found[1]  # Excel's own line
        elif sample or line.strip():
            sample.append(line)
            if len(sample) == _SAMPLE:
                break
            continue
        skip += 1
    separator = separator or _separator(sample, spaces)
    rows = list(_records(sample, separator))
    ruled = [len(cells) > 1 and bool(re.fullmatch("-{3,}", "".join(cells))) for cells, _ in rows]
    under = next((place for place in (1, 2) if ruled[place : place + 1] == [True]), 0)
    header = rows[0][0] if rows else []
    consumed = rows[under][1] if rows else 0  # names, and in VizieR's tables units and dashes
    body = [cells for cells, _ in rows[under + 1 :]] or [header]
    said_last = list(_records([comments[-1].lstrip("# ")], separator)) if comments else []
    last = said_last[0][0] if said_last else []
    if len(last) == len(header) and any(map(_is_number, header)):
        header, consumed, body = last, 0, [header, *body]  # the names stand in the last comment
    names, width = [plain_name(name) for name in header], len(body[0])
    if width > len(names) + 1:
        raise _too_wide(path, width, names)
    by_name = dict(zip(names, rows[1][0], strict=False)) if under == 2 else {}
    by_name = {name: unit.strip(" \"'") for name, unit in by_name.items() if unit.strip(" \"'")}
    ragged = any(len(cells) != width for cells in body[:-1])
    return _Layout(skip + consumed, separator, names, width, ragged, by_name)


def _records(lines: list[str], separator: str) -> Iterator[tuple[list[str], int]]:
    """Yield the cells of each row that is not empty, and the number of lines up to its end."""
    reader = csv.reader(iter(lines), delimiter=separator, skipinitialspace=True)
    for cells in reader:
        if separator == " ":
            cells = [part for cell in cells for part in cell.split("\t") if part]
        if any(cell.strip() for cell in cells):
            yield cells, reader.line_num


def _separator(sample: list[str], spaces: bool) -> str:
    """Return the separator that splits all lines into equally many cells, and the most of them."""
    best, most = ",", (False, 1)
    for separator in (",", ";", "\t", "|", *([" "] if spaces else [])):
        counts = [len(cells) for cells, _ in _records(sample, separator)]
        if not counts or counts[0] < 2:
            continue
        alike = set(counts[1:-1]) <= {counts[0]} or set(counts[1:-1]) == {counts[0] + 1}
        if (alike, counts[0]) > most:
            best, most = separator, (alike, counts[0])
    return best


def _is_number(cell: str) -> bool:
    return bool(re.fullmatch(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", cell.strip()))


def _with_points(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text with decimal points for decimal commas, where it has these only."""
    point, comma = r"[+-]?\d+\.\d*([eE][+-]?\d+)?", r"[+-]?\d*,\d+([eE][+-]?\d+)?"
    whole = r"[+-]?\d+|"
    with_commas = []
    for name in table:
        cells = table[name].str.strip()
        if cells.str.fullmatch(comma).any():
            if cells.str.fullmatch(f"{comma}|{whole}").all():
                with_commas.append(name)
        elif cells.str.fullmatch(point).any() and cells.str.fullmatch(f"{point}|{whole}").all():
            return table
    for name in with_commas:
        table[name] = table[name].str.replace(",", ".", regex=False)
    return table
