"""Train, validation or test: decided by where on the sky a galaxy is.

The sky is divided into cells of a quarter of a degree and each cell goes to one side as a whole,
by a hash of its number. So the same galaxy in two surveys, or twice in one, is on one side (but
for the 0.3 per cent within an arcsec of a cell's edge, which the pairing of the surveys settles
by the DECaLS image), and neighbours whose cutouts overlap are too. Nothing is random: the same
galaxy is on the same side in every run and on every machine. Where a table that came with the
images gives a split, its word goes before the sky's.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
CELL = 0.25  # degrees


def assign(
    ra: ArrayLike, dec: ArrayLike, names: list[str], given: Sequence[str] = ()
) -> NDArray[np.str_]:
    """The split of each galaxy: `train`, `validation` or `test`.

    ra, dec: degrees, (N,); where they are NaN (images without a position) the name decides.
    given: the split by a table, (N,), empty where it has none for an image; what it gives is kept,
    but for an eighth of what is given to train where nothing is given to validation. An image
    without one goes where its cell's images were given to, test before validation before train.
    """
    keys = _keys(ra, dec, names)
    if not any(given):
        return np.array([_side(key) for key in keys], dtype="<U10")
    sides = [str(side) for side in given]
    if "validation" not in sides:
        part = {name: SHARES[name] for name in ("train", "validation")}
        sides = [_side(k, part) if s == "train" else s for k, s in zip(keys, sides, strict=True)]
    order = list(SHARES)
    of_cell: dict[str, str] = {}
    for key, side in zip(keys, sides, strict=True):
        if side:
            of_cell[key] = max(side, of_cell.get(key, side), key=order.index)
    sides = [s or of_cell.get(k) or _side(k) for k, s in zip(keys, sides, strict=True)]
    return np.array(sides, dtype="<U10")


def _keys(ra: ArrayLike, dec: ArrayLike, names: list[str]) -> list[str]:
    """What decides the side of each galaxy: the number of its cell, else its name."""
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    keys = []
    for alpha, delta, name in zip(ra, dec, names, strict=True):
        if np.isfinite(alpha) and np.isfinite(delta):
            band = int(np.floor(delta / CELL))
            width = np.cos(np.radians((band + 0.5) * CELL)) / CELL
            keys.append(f"{band},{int(np.floor((alpha % 360.0) * width))}")
        else:
            keys.append(name)
    return keys


def _side(key: str, shares: dict[str, float] = SHARES) -> str:
    draw = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    draw *= sum(shares.values())
    for side, share in shares.items():
        if draw < share:
            return side
        draw -= share
    return list(shares)[-1]
