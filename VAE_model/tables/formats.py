"""Readers of table files to columns in plain types: text, FITS, VOTable, parquet, Arrow, IPAC.

The first bytes of the file determine the format; only text needs a known file name ending.
"""

import io
import re
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from astropy.coordinates import SkyCoord
from astropy.io import fits, votable
from astropy.table import Column, Table
from astropy.table.meta import get_header_from_yaml
from astropy.time import Time

from VAE_model.pipeline.files import read_parquet, utf8
from VAE_model.pipeline.problem import Problem
from VAE_model.tables.columns import (
    Choose,
    Raw,
    is_text,
    masked,
    plain_name,
    plain_names,
    plain_table,
)
from VAE_model.tables.text import is_gzip, open_unpacked, read_text

ENDINGS = (
    ".csv", ".tsv", ".txt", ".dat", ".ecsv", ".tbl", ".fits", ".fit", ".vot", ".xml", ".votable",
    ".parquet", ".pq", ".feather", ".arrow",
)  # fmt: skip
_TEXT_ENDINGS = ENDINGS[:6]
_KINDS = {".fits": "FITS", ".fit": "FITS", ".parquet": "parquet", ".pq": "parquet"} | dict.fromkeys(
    (".vot", ".xml", ".votable"), "VOTable"
)

_SMALL = 2**29  # bytes that any gzip file may unpack to
_MOST_PACKED = 50  # largest compression ratio of larger files

# First bytes of files that hold tables but are not supported.
_REFUSED = {
    b"PK\x03\x04": "a spreadsheet, or another archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "a data base",
    b"\x93NUMPY": "an array of numpy",
    b"<!DOCTYPE html": "a web page",
    b"<html": "a web page",
}


def read_raw(path: Path, choose: Choose) -> Raw:
    """Return the columns of a file that `choose` selects, in plain types.

    Raises Problem where the format is not supported, and the errors of the readers.
    """
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if is_gzip(path):
        _check_unpacked(path)
    with open_unpacked(path) as stream:
        head = stream.read(4096)
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise Problem(f"{path} is {what}: save the table as CSV, and use that file")
    if head.startswith(b"PAR1"):
        return _parquet(path, choose)
    if head.startswith(b"SIMPLE  ="):
        return _fits(path, choose)
    if head.startswith((b"ARROW1", b"FEA1")):
        with open_unpacked(path) as stream:
            return _arrow(pyarrow.feather.read_table(pa.BufferReader(stream.read())), path, choose)
    if b"<VOTABLE" in head or b":VOTABLE" in head:
        return _votable(path, choose)
    if ending not in _TEXT_ENDINGS:
        if ending not in ENDINGS:
            shown = ending or "nothing"
            raise Problem(f"{path} ends in {shown}: a table ends in {' '.join(ENDINGS)}")
        begins = head[:20].decode("utf-8", "replace")
        raise Problem(
            f"{path} is not a table in {_KINDS.get(ending, 'Arrow')} format: it begins with "
            f"{begins!r}"
        )
    if re.match(rb"(\xef\xbb\xbf)?# ?%ECSV", head):
        raw = _astropy(Table.read(path, format="ascii.ecsv"), path, choose)
        raw.texts = {name for name in raw.table if is_text(raw.table[name])}
        return raw
    if head.lstrip().startswith((b"\\", b"|")):
        return _astropy(_bars(path), path, choose)
    return read_text(path, choose, spaces=ending not in (".csv", ".tsv"))


def _check_unpacked(path: Path) -> None:
    """Raise Problem if a small gzip file holds gigabytes, before memory is allocated for them."""
    size, most = 0, max(_SMALL, _MOST_PACKED * path.stat().st_size)
    with open_unpacked(path) as stream:
        while block := stream.read(2**20):
            size += len(block)
            if size > most:
                raise Problem(f"{path} unpacks to more than {most:,} bytes: unpack it first")


# Arrow


def _arrow(table: pa.Table, path: Path, choose: Choose) -> Raw:
    pairs = plain_names(table.schema)
    wanted = set(choose(list(dict.fromkeys(name for name, _ in pairs))))
    stored = {stored for name, stored in pairs if name in wanted}
    chosen = [place for place, name in enumerate(table.schema.names) if name in stored]
    made, left_out = plain_table(table.select(chosen), path)
    return Raw(made, _units(table.schema), left_out=left_out)


def _parquet(path: Path, choose: Choose) -> Raw:
    schema = pq.read_schema(utf8(path))
    pairs = plain_names(schema)
    wanted = choose(list(dict.fromkeys(name for name, _ in pairs)))
    every = len(wanted) == len({name for name, _ in pairs})
    made = read_parquet(path, None if every else wanted)
    left_out = [name for name in wanted if name not in made]
    if b"table_meta_yaml" in (schema.metadata or {}):
        made = masked(made)
    return Raw(made, _units(schema), left_out=left_out)


def _units(schema: pa.Schema) -> dict[str, str]:
    """Return the units of columns.

    They come from each field's metadata, else from astropy's, else from a VOTable in the file's
    metadata (VOParquet).
    """
    found: dict[str, str] = {}
    metadata = schema.metadata or {}
    try:
        if xml := metadata.get(b"IVOA.VOTable-Parquet.content"):
            with warnings.catch_warnings(action="ignore"):
                table = votable.parse(io.BytesIO(xml), verify="ignore").get_first_table()
            found |= {f.name: str(f.unit) for f in table.fields if f.unit}
        if yaml := metadata.get(b"table_meta_yaml"):
            said = get_header_from_yaml(yaml.decode("utf-8").splitlines())
            found |= {c["name"]: str(c["unit"]) for c in said["datatype"] if c.get("unit")}
    except Exception as error:  # metadata of any form
        print(f"  the file's notes on units cannot be read ({type(error).__name__})")
    for part in schema:
        for key in (b"unit", b"units"):
            if unit := (part.metadata or {}).get(key):
                found[part.name] = unit.decode("utf-8", "replace")
    return {plain_name(name): unit.strip() for name, unit in found.items()}


# FITS, VOTable, IPAC


def _fits(path: Path, choose: Choose) -> Raw:
    with warnings.catch_warnings(action="ignore"), fits.open(path) as hdus:
        kinds = (fits.BinTableHDU, fits.TableHDU)
        found = [
            (number, hdu.name)
            for number, hdu in enumerate(hdus)
            if isinstance(hdu, kinds) and not isinstance(hdu, fits.CompImageHDU)
        ]
        if not found:
            raise Problem(f"{path} holds no table: FITS with a table extension is needed")
        table = Table.read(hdus[found[0][0]], format="fits")
        shapes = {column.shape for column in table.itercols()}
        if len(shapes) == 1 and len(shape := shapes.pop()) == 2 and shape[0] == 1:
            table = Table([column[0] for column in table.itercols()], names=table.colnames)
            # (TOPCAT's colfits: a table in one row)
        raw = _astropy(table, path, choose)
    if len(found) > 1:
        number, name = found[0]
        raw.notes.append(f"of {len(found)} tables the first is read (HDU {number} {name})".strip())
    return raw


def _votable(path: Path, choose: Choose) -> Raw:
    with warnings.catch_warnings(action="ignore"):
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
    columns: dict[str, Column] = {}
    for name, column in zip(map(plain_name, table.colnames), table.itercols(), strict=True):
        parts = {name: column}
        if isinstance(column, SkyCoord):
            parts = {f"{name}.ra": column.icrs.ra, f"{name}.dec": column.icrs.dec}
        for part, values in parts.items():
            if part in columns:
                raise Problem(f"{path} has two columns {part}: rename one")
            columns[part] = values.isot if isinstance(values, Time) else values
    raw, plain = Raw(pd.DataFrame(index=pd.RangeIndex(len(table)))), Table()
    for name in choose(list(columns)):
        column = columns[name]
        if getattr(column, "ndim", 0) != 1 or column.dtype.kind not in "biufSUO":
            raw.left_out.append(name)
            continue
        plain[name] = column
        if unit := getattr(column, "unit", None):
            raw.units[name] = str(unit)
    if plain.columns:
        arrow = pa.Table.from_pandas(plain.to_pandas(), preserve_index=False)
        raw.table, left_out = plain_table(arrow, path)
        raw.left_out += left_out
    return raw


def _bars(path: Path) -> Table:
    """Return a table of text between bars, in IPAC or fixed-width format."""
    try:
        return Table.read(path, format="ascii.ipac")
    except ValueError:
        return Table.read(path, format="ascii.fixed_width")
