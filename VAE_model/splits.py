"""Train, validation or test: decided by where on the sky a galaxy is.

The sky is divided into cells of a quarter of a degree and each cell goes to one side as a whole,
by a hash of its number. So the same galaxy in two surveys, or twice in one, is on one side (but
for the 0.3 per cent within an arcsec of a cell's edge, which the pairing of the surveys settles
by the DECaLS image), and neighbours whose cutouts overlap are too. Nothing is random: the same
galaxy is on the same side in every run and on every machine.
"""

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
CELL = 0.25  # degrees


def assign(ra: ArrayLike, dec: ArrayLike, names: list[str]) -> NDArray[np.str_]:
    """The split of each galaxy: `train`, `validation` or `test`.

    ra, dec: degrees, (N,); where they are NaN (images without a position) the name decides.
    """
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    sides = []
    for alpha, delta, name in zip(ra, dec, names, strict=True):
        if np.isfinite(alpha) and np.isfinite(delta):
            band = int(np.floor(delta / CELL))
            width = np.cos(np.radians((band + 0.5) * CELL)) / CELL
            key = f"{band},{int(np.floor((alpha % 360.0) * width))}"
        else:
            key = name
        sides.append(_side(key))
    return np.array(sides, dtype="<U10")


def _side(key: str) -> str:
    draw = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    for side, share in SHARES.items():
        if draw < share:
            return side
        draw -= share
    return "test"
