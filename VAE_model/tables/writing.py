"""Tables for other programs, with unit, UCD and description of every column."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits, votable
from astropy.io.votable.tree import CooSys, VOTableFile
from astropy.table import Table
from astropy.units import Unit, UnitsWarning

from VAE_model.tables.columns import is_text
from VAE_model.tables.descriptions import describe


def described(table: pd.DataFrame, name: str) -> Table:
    """Return a table in plain types as astropy's, with what is known of its columns.

    name: of its file, without ending, by which columns are described. Each column has `unit`,
    `description` and `meta["ucd"]` where it has one. Missing text is an empty cell.
    """
    made = Table()
    for column in table:
        values = table[column]
        plain = values.fillna("").to_numpy(str) if is_text(values) else values.to_numpy()
        made[column] = plain
        if known := describe(column, name):
            made[column].description = known.description
            made[column].unit = known.unit or None
            made[column].meta = {"ucd": known.ucd} if known.ucd else {}
    return made


def write_fits(table: Table, path: Path) -> None:
    """Write a binary table with the cards TUNIT, TUCD and TCOMM; text in UTF-8."""
    plain = Table(table, copy=False)
    for name in plain.colnames:
        values = np.asarray(plain[name])
        plain[name] = np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values
    hdu = fits.table_to_hdu(plain)
    for number, column in enumerate(table.itercols(), 1):
        cards = {
            "TUNIT": _spelled(column.unit), "TUCD": column.meta.get("ucd"),
            "TCOMM": column.description,
        }  # fmt: skip
        for card, text in cards.items():
            if text:
                hdu.header[f"{card}{number}"] = text
    hdu.writeto(path, overwrite=True)


def write_votable(table: Table, path: Path) -> None:
    """Write a VOTable (binary2) with units, UCDs, descriptions and, of positions, the system."""
    whole = VOTableFile.from_table(table)
    resource = whole.resources[0]
    resource.coordinate_systems.append(CooSys(ID="ICRS", system="ICRS"))
    for field in resource.tables[0].fields:
        column = table[field.name]
        field.ucd, field.unit = column.meta.get("ucd"), _spelled(column.unit) or None
        if (field.ucd or "").startswith("pos.eq"):
            field.ref = "ICRS"
    with warnings.catch_warnings(action="ignore", category=UnitsWarning):
        votable.writeto(whole, str(path), tabledata_format="binary2")


def write_ecsv(table: Table, path: Path) -> None:
    """Write text in columns, with units, descriptions and UCDs in its head."""
    table.write(path, format="ascii.ecsv", overwrite=True)


def _spelled(unit: Unit | None) -> str:
    """Return a unit in words of FITS and VOTable; nanomaggy as the Legacy Surveys' own tables."""
    if unit is None:
        return ""
    return "nanomaggy" if unit == Unit("nanomaggy") else unit.to_string("fits")


WRITERS = {".fits": write_fits, ".vot": write_votable, ".ecsv": write_ecsv}
