"""Positions in a table: identification of their columns, and conversion to degrees."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from astropy import units
from numpy.typing import NDArray

from VAE_model.pipeline.problem import Problem
from VAE_model.tables.columns import is_text, name_key

# Names of right ascension and declination in surveys and programs, in the spelling of name_key,
# and the unit that the name implies.
PAIRS = (
    ("ra", "dec", ""), ("raj2000", "dej2000", ""), ("raj2000", "decj2000", ""), ("ra", "de", ""),
    ("ra", "decl", ""), ("ra", "declination", ""), ("rightascension", "declination", ""),
    ("raicrs", "deicrs", ""), ("raicrs", "decicrs", ""), ("alphaj2000", "deltaj2000", ""),
    ("alphawinj2000", "deltawinj2000", ""), ("sra", "sdec", ""), ("coordra", "coorddec", ""),
    ("targetra", "targetdec", ""), ("objra", "objdec", ""), ("meanra", "meandec", ""),
    ("ramean", "decmean", ""), ("ra1", "dec1", ""), ("radeg", "decdeg", "deg"),
    ("radeg", "dedeg", "deg"), ("radegrees", "decdegrees", "deg"), ("radd", "decdd", "deg"),
    ("rarad", "decrad", "rad"), ("raradians", "decradians", "rad"),
)  # fmt: skip
_LIMITS = {"ra": (-360, 360), "dec": (-90, 90)}
_MANY = 20  # positions from which their range is compared with that of other units
_SAME = 2 / 3600  # degrees within which two pairs of columns are the same positions

_NAMES = {
    "deg": ("deg", "degs", "degree", "degrees", "°"),
    "hourangle": ("hourangle", "h", "hr", "hrs", "hour", "hours"),
    "rad": ("radian", "radians"),
    "arcmin": ("arcmins", "arcminute", "arcminutes"),
    "arcsec": ("arcsecs", "arcsecond", "arcseconds"),
}
_UNITS = {spelling: name for name, of in _NAMES.items() for spelling in of}

_ANGLE = re.compile(
    r"([+-]?)\s*(\d{1,3})(?:\s*[:hd°]\s*|\s+)(\d{1,2})(?:\s*[:m'′]\s*|\s+)"
    r"(\d{1,2}(?:\.\d*)?)\s*(?:s|''|\"|″)?"
)


def position_pairs(names: Iterable[str], path: Path) -> list[tuple[str, str, str]]:
    """Return the pairs of columns that may be the position, and the unit that their names imply.

    Columns named ra and dec take precedence. Of names with a prefix (t.ra, coord.dec) the last part
    counts where no other name matches. Raises Problem where only one of ra and dec is present.
    """
    names = list(names)
    for key_of in (name_key, lambda name: name_key(name.rsplit(".", 1)[-1])):
        by_key: dict[str, list[str]] = {}
        for name in names:
            by_key.setdefault(key_of(name), []).append(name)
        found = [
            (*pair, unit)
            for ra, dec, unit in PAIRS
            for pair in zip(by_key.get(ra, []), by_key.get(dec, []), strict=False)
        ]
        alone = {n for n in names if n.lower() in _LIMITS} - {n for pair in found for n in pair}
        exact = [pair for pair in found if (pair[0].lower(), pair[1].lower()) == ("ra", "dec")]
        if exact:
            for name in ("ra", "dec"):
                if len([n for n in names if n.lower() == name]) > 1:
                    raise Problem(f"{path} has two columns {name}: rename one")
            return exact
        if alone:
            raise Problem(
                f"{path} has only one of the columns ra and dec: it needs both or neither"
            )
        if found:
            return found
    return []


def with_positions(table: pd.DataFrame, said: Mapping[str, str], path: Path) -> pd.DataFrame:
    """Return the table with its position as ra (0 to 360) and dec, degrees.

    They replace the columns that held the position; a table without one stays the same.
    said: units of columns. Prints what was renamed, converted or is doubtful. Raises Problem where
    a unit is not an angle, or a cell is not a position.
    """
    pairs = position_pairs(table.columns, path)
    if not pairs:
        return table
    read = [_degrees(table, pair, said, path) for pair in pairs]
    ra, dec, notes = read[0]
    for other_ra, other_dec, _ in read[1:]:
        turn = (np.abs(other_ra - ra) + 180) % 360 - 180
        off = np.fmax(np.abs(turn) * np.cos(np.radians(dec)), np.abs(other_dec - dec))
        if np.nanmax(off, initial=0) > _SAME:
            shown = ", ".join(f"{one} and {two}" for one, two, _ in pairs)
            print(f"  {path.name}: {shown} are different positions, and none is taken: name one "
                  "pair ra and dec")  # fmt: skip
            return table
    one, two, _ = pairs[0]
    if (one.lower(), two.lower()) != ("ra", "dec"):
        notes = [f"{one} and {two} are taken as ra and dec", *notes]
    for note in notes:
        print(f"  {path.name}: {note}")
    table = table.rename(columns={one: "ra", two: "dec"})
    table["ra"], table["dec"] = ra, dec
    return table


def _degrees(
    table: pd.DataFrame, pair: tuple[str, str, str], said: Mapping[str, str], path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return ra and dec of each row in degrees, NaN where missing, and remarks."""
    names = dict(zip(("ra", "dec"), pair[:2], strict=True))
    unit = {
        w: _unit_of(said.get(name, "").strip() or pair[2], name, path) for w, name in names.items()
    }
    notes = []
    angles = {which: _sexagesimal(table[name]) for which, name in names.items()}
    if angles["ra"] is not None and angles["dec"] is not None:
        unit = {"ra": unit["ra"] or "hourangle", "dec": unit["dec"] or "deg"}
        words = {"hourangle": "hours", "deg": "degrees"}
        shown = (f"{names[which]} as {words.get(unit[which], unit[which])}" for which in names)
        notes.append(f"{' and '.join(shown)}, minutes and seconds")
    else:
        for which, name in names.items():
            numbers = pd.to_numeric(table[name], errors="coerce")
            angles[which] = numbers.to_numpy(float, na_value=np.nan)
        for which, other in (("ra", "dec"), ("dec", "ra")):
            if not unit[which] and unit[other] not in ("", "deg", "hourangle"):
                raise Problem(
                    f"{path}: {names[other]} is in {unit[other]}, and {names[which]} has no unit: "
                    "give it one"
                )
        if set(unit.values()) - {"", "deg"}:
            shown = (f"{names[which]} in {unit[which] or 'deg'}" for which in names)
            notes.append(f"{' and '.join(shown)}: converted to degrees")
    degrees = {}
    for which, (lowest, highest) in _LIMITS.items():
        column = table[names[which]]
        degrees[which] = angles[which] * units.Unit(unit[which] or "deg").to(units.deg)
        within = (degrees[which] >= lowest) & (degrees[which] <= highest)
        if (wrong := column.notna().to_numpy() & ~within).any():
            row = int(np.flatnonzero(wrong)[0])
            raise Problem(
                f"{path}: {column.name} in row {row + 1} is {column.iloc[row]}: "
                f"degrees from {lowest} to {highest} are needed"
            )
    if not any(unit.values()):
        notes += _doubts(degrees["ra"], degrees["dec"])
    return degrees["ra"] % 360.0, degrees["dec"], notes


def _sexagesimal(column: pd.Series) -> NDArray[np.float64] | None:
    """Return text like 11:29:53.88 as hours or degrees, NaN where empty.

    None where a cell has another form.
    """
    if not is_text(column) or column.isna().all():
        return None
    parts = column.dropna().str.strip().str.extract(f"^{_ANGLE.pattern}$")
    if parts[1].isna().any():
        return None
    whole, minutes, seconds = (parts[place].astype(float) for place in (1, 2, 3))
    if max(minutes.max(), seconds.max()) >= 60.001:  # 60.0 is how programs round 59.99
        return None
    angle = (whole + minutes / 60 + seconds / 3600) * np.where(parts[0] == "-", -1, 1)
    return angle.reindex(column.index).to_numpy(float)


def _unit_of(said: str, name: str, path: Path) -> str:
    """Return astropy's name of a unit of angle; "" where none is given."""
    if not said or said.lower() in ("unitless", "dimensionless", "none", "--", "-"):
        return ""
    low = said.lower().strip("[]() \"'")
    letters = re.sub(r"[^a-z]", "", low)
    if low in _UNITS:
        return _UNITS[low]
    if found := re.fullmatch("(h+|d+)m+s+", letters):  # h:m:s, dd mm ss
        return "hourangle" if found[1][0] == "h" else "deg"
    try:
        unit = units.Unit(said)
        if unit.is_equivalent(units.deg):
            return unit.to_string()
    except (ValueError, TypeError):
        words = [word for word in re.findall(r"[a-z°]+", low) if word in _UNITS]
        if len(words) == 1 and not re.search(r"[/^*]", low):  # deg (J2000)
            return _UNITS[words[0]]
    raise Problem(f"{path}: {name} has the unit {said!r}, which is not an angle: give it in deg")


def _doubts(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> list[str]:
    """Return a remark where positions without a unit look like radians or hours."""
    known = np.isfinite(ra) & np.isfinite(dec)
    ra, dec = ra[known], dec[known]
    if len(ra) < _MANY:
        return []
    lowest, highest, tilt = ra.min(), ra.max(), np.abs(dec).max()
    if highest <= 2 * np.pi and lowest >= -np.pi and highest - lowest > 3 and tilt <= np.pi / 2:
        what, unit = "0 to 2 pi, and all dec from -pi/2 to pi/2", "rad"
    elif 12 < highest <= 24 and lowest >= 0 and highest - lowest > 12 and tilt > np.pi / 2:
        what, unit = "0 to 24", "hourangle"
    else:
        return []
    return [
        f"all ra are from {what}: they are taken as degrees; if they are not, give the columns "
        f"their unit, {unit}"
    ]
