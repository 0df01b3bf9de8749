"""Find one image of a table as a person names it: by a name, a part of it, or a position."""

import re
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from astropy import units
from astropy.coordinates import SkyCoord

from VAE_model.data.sky import nearest_position
from VAE_model.imports.importing import position_in_name
from VAE_model.pipeline.problem import Problem

RADIUS = 30.0  # arcsec around a position in which an image is meant
_LISTED = 4  # candidates that an error names


def find_row(table: pd.DataFrame, query: str) -> int:
    """Return the row of the image that `query` names.

    table: columns iauname, path, ra, dec (degrees). query: the IAU name, the path, the file name
    with or without its ending, a part of these that only one image has, or a position, in degrees
    or sexagesimal, of an image within RADIUS. Raises Problem if no image fits, or several.
    """
    names, paths = table["iauname"].astype(str), table["path"].astype(str)
    wanted = query.strip().casefold()
    files = paths.map(lambda path: PurePosixPath(path).name.casefold())
    exact = (names.str.casefold() == wanted) | (paths.str.casefold() == wanted)
    stems = (files == wanted) | (files.map(lambda name: name.split(".fits")[0]) == wanted)
    parts = (
        names.str.casefold().str.contains(wanted, regex=False)
        | files.str.contains(wanted, regex=False)
    )  # fmt: skip
    for fits in (exact, stems, parts) if wanted else ():
        rows = np.flatnonzero(fits)
        if len(rows) > 1:
            some = ", ".join(f"{names.iloc[r]} ({paths.iloc[r]})" for r in rows[:_LISTED])
            more = f" and {len(rows) - _LISTED:,} more" if len(rows) > _LISTED else ""
            raise Problem(f"{query!r} is in the names of {len(rows):,} images: {some}{more}")
        if len(rows):
            return int(rows[0])
    if (position := position_in(query)) is None:
        raise Problem(
            f"no image is called {query!r}: give a part of its name or file name, its position "
            "(RA Dec in degrees, or 10:19:05.0 +46:27:13), or an image file"
        )
    return _at(table, *position, query)


def position_in(words: str) -> tuple[float, float] | None:
    """Return RA and Dec in degrees from words such as '154.77 46.45' or '10:19:05 +46:27:13'.

    None if they are no position. Two decimal numbers are degrees; anything sexagesimal, and a name
    such as J101905.01+462713.3, has the right ascension in hours.
    """
    ra, dec = position_in_name(words)
    if np.isfinite(ra):
        return ra, dec
    plain = re.sub(r"[,;]\s*|\s+", " ", words.strip())
    numbers = re.fullmatch(r"([+-]?\d+(?:\.\d*)?) ([+-]?\d+(?:\.\d*)?)", plain)
    if numbers and not -180 <= float(numbers[1]) <= 360:
        return None
    try:
        place = SkyCoord(plain, unit=units.deg if numbers else (units.hourangle, units.deg))
    except ValueError:
        return None
    return float(place.ra.deg), float(place.dec.deg)


def _at(table: pd.DataFrame, ra: float, dec: float, query: str) -> int:
    """Return the row of the image nearest to a position. Raises Problem if it is too far away."""
    apart, row = nearest_position([ra], [dec], table["ra"], table["dec"])
    if np.isinf(apart[0]):
        raise Problem(f"no image has a position, so that {query!r} cannot be found: give a name")
    if apart[0] > RADIUS:
        far = f"{apart[0]:.0f} arcsec" if apart[0] < 600 else f"{apart[0] / 3600:.2f} degrees"
        raise Problem(
            f"no image lies within {RADIUS:.0f} arcsec of {query!r}: the nearest, "
            f"{table['iauname'].iloc[row[0]]}, is {far} away"
        )
    return int(row[0])
