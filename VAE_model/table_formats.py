"""Files of tables as their columns in plain types: text, FITS, VOTable, parquet, Arrow, IPAC.

The format is told by what a file begins with; only text needs the ending of a table of text.
"""

import codecs
import csv
import gzip
import io
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord
from astropy.io import fits, votable
from astropy.table import Column, Table
from astropy.table.meta import get_header_from_yaml
from astropy.time import Time

from VAE_model.columns import plain_name, plain_names, plain_table
from VAE_model.files import read_parquet
from VAE_model.problem import Problem

ENDINGS = (
    ".csv", ".tsv", ".txt", ".dat", ".ecsv", ".tbl", ".fits", ".fit", ".vot", ".xml", ".votable",
    ".parquet", ".pq", ".feather", ".arrow",
)  # fmt: skip
_TEXT_ENDINGS = ENDINGS[:6]
_KINDS = {".fits": "FITS", ".fit": "FITS", ".parquet": "parquet", ".pq": "parquet"} | dict.fromkeys(
    (".vot", ".xml", ".votable"), "VOTable"
)

# What files begin with that hold tables, and are not read.
_REFUSED = {
    b"PK\x03\x04": "a spreadsheet, or another archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "a data base",
    b"\x93NUMPY": "an array of numpy",
    b"<!DOCTYPE html": "a web page",
    b"<html": "a web page",
}
_BLOCK = 100_000  # rows that are read at a time
_SAMPLE = 50  # lines of a text that its separator is told by
_UNNAMED = re.compile(r"(Unnamed: ?\d+)?")

Choose = Callable[[list[str]], list[str]]  # of the columns of a file, those to read


@dataclass
class Raw:
    """Columns in plain types, as the file has them: numbers in text are text still.

    units: of the columns that have one; texts: columns whose type is text; left_out: columns with
    more than one value in a cell; notes: what is to be said of the file.
    """

    table: pd.DataFrame
    units: dict[str, str] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_raw(path: Path, choose: Choose) -> Raw:
    """Return the columns of a file that `choose` takes, in plain types.

    Raises Problem where the file is of no kind that is read, and the errors of the readers.
    """
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    with _open(path) as stream:
        head = stream.read(4096)
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise Problem(f"{path} is {what}: save the table as CSV, and give that")
    if head.startswith(b"PAR1"):
        return _parquet(path, choose)
    if head.startswith(b"SIMPLE  ="):
        return _fits(path, choose)
    if head.startswith((b"ARROW1", b"FEA1")):
        with _open(path) as stream:
            return _arrow(pyarrow.feather.read_table(pa.BufferReader(stream.read())), path, choose)
    if b"<VOTABLE" in head or b":VOTABLE" in head:
        return _votable(path, choose)
    if ending not in _TEXT_ENDINGS:
        if ending not in ENDINGS:
            shown = ending or "nothing"
            raise Problem(f"{path} ends in {shown}: a table ends in {' '.join(ENDINGS)}")
        begins = head[:20].decode("utf-8", "replace")
        raise Problem(
            f"{path} is no {_KINDS.get(ending, 'Arrow')} table: it begins with {begins!r}"
        )
    if head.lstrip().startswith((b"\\", b"|")):
        return _astropy(_bars(path), path, choose)
    return _text(path, choose, spaces=ending not in (".csv", ".tsv"))


def _open(path: Path) -> IO[bytes]:
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else open(path, "rb")  # type: ignore[return-value]


# Arrow


def _arrow(table: pa.Table, path: Path, choose: Choose) -> Raw:
    pairs = plain_names(table.schema)
    wanted = set(choose(list(dict.fromkeys(name for name, _ in pairs))))
    stored = {stored for name, stored in pairs if name in wanted}
    chosen = [place for place, name in enumerate(table.schema.names) if name in stored]
    made, left_out = plain_table(table.select(chosen), path)
    return Raw(made, _units(table.schema), left_out=left_out)


def _parquet(path: Path, choose: Choose) -> Raw:
    schema = pq.read_schema(path)
    pairs = plain_names(schema)
    wanted = choose(list(dict.fromkeys(name for name, _ in pairs)))
    every = len(wanted) == len({name for name, _ in pairs})
    made = read_parquet(path, None if every else wanted)
    left_out = [name for name in wanted if name not in made]
    if b"table_meta_yaml" in (schema.metadata or {}):
        made = _masked(made)
    return Raw(made, _units(schema), left_out=left_out)


def _masked(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of astropy with missing cells where its columns `name.mask` say so."""
    for name in [name for name in table if f"{name}.mask" in table]:
        hidden = table.pop(f"{name}.mask").astype(str) == "True"
        table[name] = table[name].mask(hidden)
    return table


def _units(schema: pa.Schema) -> dict[str, str]:
    """Return the units of columns: of each field's notes, else of astropy's, else of a VOTable in
    the file's notes (VOParquet)."""
    found: dict[str, str] = {}
    metadata = schema.metadata or {}
    try:
        if xml := metadata.get(b"IVOA.VOTable-Parquet.content"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                table = votable.parse(io.BytesIO(xml), verify="ignore").get_first_table()
            found |= {f.name: str(f.unit) for f in table.fields if f.unit}
        if yaml := metadata.get(b"table_meta_yaml"):
            said = get_header_from_yaml(yaml.decode("utf-8").splitlines())
            found |= {c["name"]: str(c["unit"]) for c in said["datatype"] if c.get("unit")}
    except Exception as error:  # notes of others, of any form
        print(f"  the file's notes on units cannot be read ({type(error).__name__})")
    for part in schema:
        for key in (b"unit", b"units"):
            if unit := (part.metadata or {}).get(key):
                found[part.name] = unit.decode("utf-8", "replace")
    return {plain_name(name): unit.strip() for name, unit in found.items()}


# FITS, VOTable, IPAC


def _fits(path: Path, choose: Choose) -> Raw:
    with warnings.catch_warnings(), fits.open(path) as hdus:
        warnings.simplefilter("ignore")
        kinds = (fits.BinTableHDU, fits.TableHDU)
        found = [
            (number, hdu.name)
            for number, hdu in enumerate(hdus)
            if isinstance(hdu, kinds) and not isinstance(hdu, fits.CompImageHDU)
        ]
        if not found:
            raise Problem(f"{path} holds no table: FITS with a table extension is needed")
        raw = _astropy(Table.read(hdus[found[0][0]], format="fits"), path, choose)
    if len(found) > 1:
        number, name = found[0]
        raw.notes.append(f"of {len(found)} tables the first is read (HDU {number} {name})".strip())
    return raw


def _votable(path: Path, choose: Choose) -> Raw:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = votable.parse(path, verify="ignore")
        tables = list(parsed.iter_tables())
        if not tables:
            raise Problem(f"{path} holds no table")
        table = tables[0].to_table(use_names_over_ids=True)
        raw = _astropy(table, path, choose)
    if len(tables) > 1:
        raw.notes.append(f"of {len(tables)} tables the first is read")
    return raw


def _astropy(table: Table, path: Path, choose: Choose) -> Raw:
    columns = dict(zip(map(plain_name, table.colnames), table.itercols(), strict=False))
    if len(columns) < len(table.colnames):
        names = [plain_name(name) for name in table.colnames]
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem(f"{path} has two columns {twice}: rename one")
    raw = Raw(pd.DataFrame(index=pd.RangeIndex(len(table))))
    arrays: dict[str, pa.Array] = {}
    for name in choose(list(columns)):
        column = columns[name]
        parts = {name: column}
        if isinstance(column, SkyCoord):
            sky = column.icrs
            parts = {f"{name}.ra": sky.ra, f"{name}.dec": sky.dec}
        for part, values in parts.items():
            made = _array(values)
            if made is None:
                raw.left_out.append(part)
                continue
            arrays[part] = made
            if unit := getattr(values, "unit", None):
                raw.units[part] = str(unit)
    if arrays:
        raw.table, left_out = plain_table(pa.table(arrays), path)
        raw.left_out += left_out
    return raw


def _bars(path: Path) -> Table:
    """Return a table of text between bars, as IPAC writes it, or as people read it."""
    try:
        return Table.read(path, format="ascii.ipac")
    except ValueError:
        return Table.read(path, format="ascii.fixed_width")


def _array(column: Column) -> pa.Array | None:
    """Return a column of astropy as an array of Arrow; None where a cell has several values."""
    if isinstance(column, Time):
        column = column.isot
    if getattr(column, "ndim", 0) != 1:
        return None
    mask = np.asarray(getattr(column, "mask", np.zeros(len(column), bool)))
    values = np.ma.getdata(np.asarray(getattr(column, "value", column)))
    if values.dtype.kind in "SUO":
        cells = [None if hidden else cell for cell, hidden in zip(values, mask, strict=True)]
        if any(isinstance(cell, list | tuple | dict | np.ndarray) for cell in cells):
            return None
        cells = [cell.item() if isinstance(cell, np.generic) else cell for cell in cells]
        if values.dtype.kind == "S" or any(isinstance(cell, bytes) for cell in cells):
            return pa.array([c.encode() if isinstance(c, str) else c for c in cells], pa.binary())
        return pa.array([None if c is None else str(c) for c in cells], pa.string())
    if values.dtype.kind not in "biuf":
        return None
    return pa.array(values.astype(values.dtype.newbyteorder("=")), mask=mask)


# Text


@dataclass(frozen=True)
class _Layout:
    """How a table of text is laid out: lines before the first row of data, separator, names of the
    columns, cells of the first row, and whether other rows have fewer."""

    skip: int
    separator: str
    names: list[str]
    width: int
    ragged: bool
    units: dict[str, str]
    texts: set[str]
    nested: set[str]


def _text(path: Path, choose: Choose, spaces: bool) -> Raw:
    encoding = _encoding(path)
    with _open(path) as stream, io.TextIOWrapper(stream, encoding, newline="") as lines:
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
            raise Problem(
                f"{path} has {layout.width} cells in its first row under {len(layout.names)} "
                "names: quote the cells that hold a separator"
            )
    filled = (cells != "").any(axis=1)
    if not filled.all():  # as Excel leaves them at the end
        cells = cells[filled].reset_index(drop=True)
    columns: dict[str, pd.Series] = {}
    left_out = []
    for place in places:
        name, column = layout.names[place], cells[place + shifted]
        if _UNNAMED.fullmatch(name):
            if not column.str.fullmatch(r"\d*").all():  # neither empty nor an index
                left_out.append(f"number {place + 1}, which has no name")
        elif name in layout.nested:
            left_out.append(name)
        elif name not in columns:
            columns[name] = column
        elif not columns[name].equals(column):
            raise Problem(f"{path} has two columns {name}, which differ: rename one")
    table = pd.DataFrame({name: columns[name] for name in choose(list(columns))}, cells.index)
    if layout.separator != ",":
        table = _with_points(table)
    if layout.texts:  # ECSV of astropy
        table = _masked(table)
    return Raw(table, layout.units, layout.texts, left_out)


def _cells(path: Path, encoding: str, layout: _Layout, places: list[int] | None) -> pd.DataFrame:
    """Return the cells at these places of each row, or all, as text; "" at the end of short rows.

    Raises Problem where a row is too long.
    """
    with _open(path) as stream, io.TextIOWrapper(stream, encoding, newline="") as lines:
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
                f"{path} is no readable table (line {int(found[2]) + layout.skip} has {found[3]} "
                f"cells, the first row {found[1]}): quote the cells that hold a separator"
            ) from None
    return pd.concat(kept, ignore_index=True).fillna("")


def _encoding(path: Path) -> str:
    """Return the encoding of a text: by its byte order mark, UTF-8, or what Windows writes."""
    with _open(path) as stream:
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
                raise Problem(f"{path} is no readable table (it holds bytes that are no text)")
            return "utf-16-le" if odd > even else "utf-16-be"
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(head)
            while block := stream.read(2**20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            try:
                head.decode("cp1252")
            except UnicodeDecodeError:
                return "latin-1"
            return "cp1252"
    return "utf-8"


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
    said = _ecsv_header(comments)
    separator = str(said.get("delimiter", " ")) if said else separator
    separator = separator or _separator(sample, spaces)
    rows = _records(sample, separator)
    header, consumed = next(rows, ([], 0))
    row, _ = next(rows, (header, 0))
    last = (
        next(_records([comments[-1].lstrip("# ")], separator), ([], 0))[0]
        if comments and not said
        else []
    )
    if len(last) == len(header) and any(map(_is_number, header)):
        header, consumed, row = last, 0, header  # the names stand in the last comment
    names = [plain_name(name) for name in header]
    width = len(row)
    if width > len(names) + 1:
        raise Problem(
            f"{path} has {width} cells in its first row under {len(names)} names: quote the cells "
            "that hold a separator"
        )
    columns = said.get("datatype", [])
    return _Layout(
        skip + consumed,
        separator,
        names,
        width,
        any(len(cells) != width for cells, _ in islice(rows, _SAMPLE // 2)),
        {plain_name(c["name"]): str(c["unit"]) for c in columns if c.get("unit")},
        {plain_name(c["name"]) for c in columns if c.get("datatype") == "string"},
        {plain_name(c["name"]) for c in columns if re.search(r"[\[{]", str(c.get("subtype", "")))},
    )


def _ecsv_header(comments: list[str]) -> dict:
    if not (comments and comments[0].startswith("%ECSV")):
        return {}
    return get_header_from_yaml([line for line in comments if not line.startswith("%ECSV")])


def _records(lines: list[str], separator: str) -> Iterator[tuple[list[str], int]]:
    """Yield the cells of each row that is not empty, and the number of lines up to its end."""
    reader = csv.reader(iter(lines), delimiter=separator, skipinitialspace=True)
    for cells in reader:
        if separator == " ":
            cells = [part for cell in cells for part in cell.split("\t") if part]
        if any(cell.strip() for cell in cells):
            yield cells, reader.line_num


def _separator(sample: list[str], spaces: bool) -> str:
    """Return the separator that cuts the lines into as many cells as their first, and most."""
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
