"""Positions on the sky: names from positions, positions from names, cross-matching."""

import re
from pathlib import Path

import numpy as np
from astropy import units
from astropy.coordinates import Angle
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from VAE_model.surveys import DECALS, SURVEYS

_BAND = 2**20  # positions that are matched at a time
_POSITION_IN_NAME = re.compile(r"(\d{1,3}\.\d+)_([+-]?\d{1,2}\.\d+)")


def iauname(ra: float, dec: float) -> str:
    """Return the IAU name of a position in degrees, truncated: J112953.88-000427.4."""
    hours = int(np.floor(round((ra % 360.0) / 15.0 * 3600e2, 4)))  # units of 0.01 s
    tenths = int(np.floor(round(abs(dec) * 36000.0, 4)))  # units of 0.1 arcsec
    h, m, s = hours // 360000, hours // 6000 % 60, hours % 6000
    d, dm, ds = tenths // 36000, tenths // 600 % 60, tenths % 600
    sign = "-" if dec < 0 else "+"
    return (
        f"J{h:02d}{m:02d}{s // 100:02d}.{s % 100:02d}{sign}{d:02d}{dm:02d}{ds // 10:02d}.{ds % 10}"
    )


def position_of_name(path: Path | str) -> tuple[float, float]:
    """Return RA and Dec in degrees from a file name like 154.7709_46.4537.fits; NaN without one."""
    found = _POSITION_IN_NAME.search(Path(path).name)
    return (float(found[1]), float(found[2])) if found else (float("nan"), float("nan"))


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Return positions in degrees as unit vectors (N, 3), in which nearest neighbours are exact."""
    ra, dec = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def chord(arcsec: float) -> float:
    """Return the length of the chord between unit vectors that are `arcsec` apart."""
    return float(2 * np.sin(np.radians(arcsec / 3600) / 2))


def separation(chords: ArrayLike) -> NDArray[np.float64]:
    """Return the angle in arcsec from the chord between unit vectors."""
    half = np.clip(np.asarray(chords, float) / 2, 0, 1)
    return np.degrees(2 * np.arcsin(half)) * 3600


def cross_match(
    ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike, radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the one-to-one match of two lists of positions in degrees, within `radius` arcsec.

    A pair matches where each is the other's nearest, on the sphere, so cos(dec) and the wrap at RA
    0 need no care. Returns the indices into the first and the second list and the separations in
    arcsec, ordered by the first index. Positions that are NaN match nothing. The sky is processed
    in bands of declination of a million positions, so memory beyond the lists themselves is
    constant.
    """
    first, second = (np.atleast_1d(np.asarray(part, float)) for part in ((ra1, dec1), (ra2, dec2)))
    order1, order2 = _by_declination(*first), _by_declination(*second)
    heights1, heights2 = first[1][order1], second[1][order2]
    reach = radius / 3600 * (1 + 1e-9) + 1e-9  # degrees
    found = [(np.empty(0, int), np.empty(0, int), np.empty(0))]
    for start in range(0, len(order1), _BAND):
        own = heights1[start : start + _BAND]
        # Candidates for the nearest, and positions that may be nearer to those candidates.
        partners = slice(*np.searchsorted(heights2, [own[0] - reach, own[-1] + reach]))
        rivals = slice(*np.searchsorted(heights1, [own[0] - 2 * reach, own[-1] + 2 * reach]))
        rows1, rows2 = order1[rivals], order2[partners]
        if not len(rows2):
            continue
        one, two = unit_vectors(*first[:, rows1]), unit_vectors(*second[:, rows2])
        distance, nearest2 = _nearest(two, one, radius)
        _, nearest1 = _nearest(one, two, radius)
        here = np.arange(start - rivals.start, start - rivals.start + len(own))
        partner = nearest2[here]
        mutual = np.append(nearest1, -1)[partner] == here
        here, partner = here[mutual], partner[mutual]
        found.append((rows1[here], rows2[partner], separation(distance[here])))
    rows1, rows2, separations = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(rows1)
    return rows1[order], rows2[order], separations[order]


def _by_declination(ra: NDArray, dec: NDArray) -> NDArray[np.int64]:
    """Return the indices of the finite positions of a list, from south to north."""
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    return known[np.argsort(dec[known], kind="stable")]


def _nearest(
    among: NDArray[np.float64], of: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return chord and index of the nearest within `radius` arcsec; index len(among) for none."""
    # Slightly wider than the radius: the tree's bound is exclusive.
    bound = chord(radius) * (1 + 1e-12)
    distance, index = cKDTree(among).query(of, distance_upper_bound=bound, workers=-1)
    return distance, np.where(distance <= chord(radius), index, len(among))


def nearest_position(
    ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return separation and index of the nearest position of the second list to each of the first.

    Positions are in degrees, separations in arcsec, infinite where there is none. Several positions
    may have the same nearest.
    """
    first, second = unit_vectors(ra1, dec1), unit_vectors(ra2, dec2)
    known1, known2 = np.isfinite(first).all(axis=1), np.isfinite(second).all(axis=1)
    distance, index = np.full(len(first), np.inf), np.full(len(first), -1)
    if known1.any() and known2.any():
        chords, rows = cKDTree(second[known2]).query(first[known1], workers=-1)
        distance[known1], index[known1] = separation(chords), np.flatnonzero(known2)[rows]
    return distance, index


def close_pairs(ra: ArrayLike, dec: ArrayLike, radius: float) -> NDArray[np.int64]:
    """Return all pairs (i < j) of positions in one list within `radius` arcsec: (P, 2), sorted."""
    vectors = unit_vectors(ra, dec).reshape(-1, 3)
    rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    if not len(rows):
        return np.empty((0, 2), int)
    pairs = cKDTree(vectors[rows]).query_pairs(chord(radius), output_type="ndarray")
    pairs = rows[pairs].reshape(-1, 2)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def sexagesimal(ra: float, dec: float) -> str:
    """Return a position in degrees in sexagesimal form: 11:29:53.88 -00:04:27.4."""
    hours = Angle(ra, units.deg).to_string(unit=units.hour, sep=":", precision=2, pad=True)
    degrees = Angle(dec, units.deg).to_string(sep=":", precision=1, pad=True, alwayssign=True)
    return f"{hours} {degrees}"


def viewer_url(ra: float, dec: float, survey: str) -> str:
    """Return the address of the Legacy Surveys' sky viewer at a position, in the survey's layer.

    Unknown surveys get the layer of DECaLS.
    """
    return viewer_of(survey).format(ra=f"{ra:.5f}", dec=f"{dec:.5f}")


def viewer_of(survey: str) -> str:
    """Return the viewer's address, with the placeholders {ra} and {dec}."""
    layer = SURVEYS.get(survey, DECALS).layer
    return "https://www.legacysurvey.org/viewer?ra={ra}&dec={dec}&layer=" + layer + "&zoom=16"
