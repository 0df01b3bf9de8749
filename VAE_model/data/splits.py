"""Splits by sky position: train, validation and test.

A hash assigns each cell of the sky, a quarter of a degree wide, to one split. So all images of a
galaxy, and galaxies whose cutouts overlap, are in the same split, in every run and on every
machine. A split in a table that came with the images takes precedence.

Images of a small field lie in few such cells. Where a split would have less than a third of its
share, the next of RULES applies: smaller cells (225 arcsec, more than a cutout), then each galaxy
by itself, then the galaxies ranked by their hash. From FEWEST images on, no split is empty. The
order of the list does not matter, but more images may change the rule.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from VAE_model.data.sky import close_pairs

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
CELL = 0.25  # degrees
FEWEST = 10  # images from which no split is empty; below, a hash alone decides
SAME = 1.0  # arcsec: images nearer to each other show the same galaxy

_ENOUGH = 1 / 3  # of its share, that a split must have
RULES = (
    "cells of 0.25 degrees",
    "cells of 225 arcsec, as larger ones would leave a side without its share",
    "the position of each galaxy, as cells would leave a side without its share",
    "the rank of each galaxy's hash, as there are few",
)
BY_NAME = "the name of each image, as none has a position"


def assign(
    ra: ArrayLike, dec: ArrayLike, names: list[str], given: Sequence[str] = ()
) -> NDArray[np.str_]:
    """Return the split of each galaxy: `train`, `validation` or `test`.

    ra, dec: degrees, (N,); where they are NaN (images without a position) the name decides.
    given: the split by a table, (N,), empty where it has none for an image; it is kept, except that
    an eighth of train becomes validation where the table gives no validation. An image without one
    gets the split given to other images of its cell, test before validation before train.
    """
    return assign_by_rule(ra, dec, names, given)[0]


def assign_by_rule(
    ra: ArrayLike, dec: ArrayLike, names: list[str], given: Sequence[str] = ()
) -> tuple[NDArray[np.str_], str]:
    """Return the splits (N,) as `assign` does, and the rule that decides those not given.

    The rule is one of RULES, or BY_NAME.
    """
    key_of, rule = _keys(ra, dec, names), ""
    sides = np.array(list(given) or [""] * len(names), dtype="<U10")
    by_table = sides.astype(bool).any()  # a table may make a split as small as it likes
    enough = None if len(names) < FEWEST else 0.0 if by_table else _ENOUGH
    train = sides == "train"
    if train.any() and "validation" not in sides:
        part = {name: SHARES[name] for name in ("train", "validation")}
        sides[train], rule = _divide(
            np.full(train.sum(), "", "<U10"), lambda level: key_of(level)[train], part, enough
        )
    if (sides == "").any():
        sides, rule = _divide(sides, key_of, SHARES, enough)
    nowhere = not np.isfinite(np.asarray(ra, float)).any()
    return sides, BY_NAME if nowhere and rule in RULES[:-1] else rule


def _divide(
    sides: NDArray[np.str_],
    key_of: Callable[[int], NDArray[np.object_]],
    shares: dict[str, float],
    enough: float | None,
) -> tuple[NDArray[np.str_], str]:
    """Return the splits of galaxies, and the first rule that leaves none empty or too small.

    sides: given splits (N,), or empty; key_of: by _keys; enough: minimum fraction of its share that
    a split must have; None: the first rule decides.
    """
    least = {side: (enough or 0) * share / sum(shares.values()) for side, share in shares.items()}
    for level, rule in enumerate(RULES[:-1]):
        key = key_of(level)
        found = _joined(sides, key)
        open_ = found == ""
        found[open_] = [_side(_draw(name), shares) for name in key[open_]]
        part = {side: float(np.mean(found == side)) for side in shares}
        if enough is None or all(part[side] > 0 and part[side] >= least[side] for side in shares):
            return found, rule
    found = _joined(sides, key)
    open_ = found == ""
    found[open_] = _ranked(key[open_], shares)
    return found, RULES[-1]


def _joined(sides: NDArray[np.str_], key: NDArray[np.object_]) -> NDArray[np.str_]:
    """Return the splits; a galaxy without one gets that of the others with the same key."""
    if not sides.astype(bool).any():
        return sides.copy()
    order = list(SHARES)
    of_key: dict[str, str] = {}
    for name, side in zip(key, sides, strict=True):
        if side:
            of_key[name] = max(side, of_key.get(name, side), key=order.index)
    pairs = zip(key, sides, strict=True)
    return np.array([side or of_key.get(name, "") for name, side in pairs], dtype="<U10")


def _ranked(key: NDArray[np.object_], shares: dict[str, float]) -> NDArray[np.str_]:
    """Return the splits of galaxies by the rank of their hash, so that each split has its share."""
    galaxy, place_of, images = np.unique(key.astype(str), return_inverse=True, return_counts=True)
    draw = np.array([_draw(name) for name in galaxy])
    ranked, place = np.lexsort((draw, images)), 0
    *smaller, largest = sorted(shares, key=lambda side: shares[side])
    of_galaxy = np.full(len(galaxy), largest, dtype="<U10")  # incl. galaxies of several images
    for side in smaller:
        number = max(1, round(len(galaxy) * shares[side] / sum(shares.values())))
        number = min(number, max(0, len(galaxy) - place - 1))
        of_galaxy[ranked[place : place + number]] = side
        place += number
    return of_galaxy[place_of]


def _keys(ra: ArrayLike, dec: ArrayLike, names: list[str]) -> Callable[[int], NDArray[np.object_]]:
    """Return the keys that decide the split of each galaxy, (N,), by rule.

    Rule 0: the number of its cell; 1: of its small cell; 2: its position; without a position, its
    name. Images of the same galaxy have the position of one.
    """
    east: NDArray[np.float64] = np.array(ra, float, ndmin=1)
    north: NDArray[np.float64] = np.array(dec, float, ndmin=1)
    pairs = close_pairs(east, north, SAME)
    if len(pairs):
        graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(east), len(east)))
        galaxy = connected_components(graph, directed=False)[1]
        order = np.lexsort((east, north, galaxy))  # the southernmost represents all
        first = order[np.unique(galaxy[order], return_index=True)[1]][galaxy]
        east, north = east[first], north[first]
    known = np.isfinite(east) & np.isfinite(north)

    def key_of(level: int) -> NDArray[np.object_]:
        keys = np.array(names, dtype=object)
        for row in np.flatnonzero(known):
            if level == 2:
                keys[row] = f"{east[row] % 360.0:.5f} {north[row]:.5f}"
            else:
                keys[row] = _cell(east[row], north[row], CELL / 4**level)
        return keys

    return key_of


def _cell(ra: float, dec: float, size: float) -> str:
    """Return the number of the cell of `size` degrees that contains a position."""
    band = int(np.floor(dec / size))
    width = np.cos(np.radians((band + 0.5) * size)) / size
    return f"{band},{int(np.floor((ra % 360.0) * width))}"


def _draw(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def _side(draw: float, shares: dict[str, float]) -> str:
    draw *= sum(shares.values())
    for side, share in shares.items():
        if draw < share:
            return side
        draw -= share
    return list(shares)[-1]
