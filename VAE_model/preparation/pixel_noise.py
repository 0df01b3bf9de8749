"""Pixel noise of the sky in an image: the one estimate that every stage uses.

Sources only brighten the sky, so the faint half of the pixels holds its noise. Some images have no
faint half: a sky cut off at zero (8-bit images stretched with a black point above the sky, flux
clipped at zero), saturated to white, or beside a border of one value. There the noise is that of
the pixels which are not at such a value, by their second differences, in which smooth light
cancels; of a sky of which half is cut off this finds 0.6 to 1 times the noise.

No estimate is below the noise that the data can hold: the rounding to 256 levels of an 8-bit
image, the rounding to integers of others, and a thousandth of DECaLS' noise.
"""

import numpy as np
from numpy.typing import NDArray

from VAE_model.data.fits_frames import BANDS, BadCutout
from VAE_model.preparation.stretch import NOISE

LEAST = tuple(sigma / 1000 for sigma in NOISE)  # nanomaggies: less is a simulation without noise
LEAST_DISPLAY = (1 / 255 / 12**0.5,) * len(BANDS)  # brightness from 0 to 1: rounding to 8 bits

_CUT = 0.25  # share of pixels at the lowest or highest value, from which the image is cut off there
_FLAT = 0.5  # share of pixels at the median, from which the sky has one value
_FEWEST = 0.01  # share of pixels at other values, below which nothing can be measured
_GAUSSIAN = 1.4826  # sigma over the median absolute deviation


def sky_noise(flux: NDArray[np.float32], display: bool = False) -> NDArray[np.float32]:
    """Sky sigma of each band of an image (3, y, x), nanomaggies (8-bit images: brightness), (3,).

    display: it is an 8-bit image. Raises BadCutout where nearly all pixels of a band are equal.
    """
    least = LEAST_DISPLAY if display else LEAST
    found = []
    for band, plane, low in zip(BANDS, flux[:, ::2, ::2], least, strict=True):
        if _varying(plane).mean() < _FEWEST:
            raise BadCutout(f"band without signal: {band}, all but a few pixels are the same")
        found.append(max(spread(plane), low))
    return np.array(found, np.float32)


def is_cut(flux: NDArray[np.float32]) -> bool:
    """Return True where the sky of an image (3, y, x) is cut off or of one value in some band."""
    return not all(_varying(plane).all() for plane in flux[:, ::2, ::2])


def spread(plane: NDArray[np.float32]) -> float:
    """Noise sigma of the sky in one band (y, x), or its rounding where that is larger."""
    varying = _varying(plane)
    if varying.all():
        median = np.median(plane)
        below = median - plane[plane < median]
        return float(_GAUSSIAN * np.median(below)) if below.size else 0.0
    steps = []
    for pixels, use in ((plane, varying), (plane.T, varying.T)):
        inside = use[:-2] & use[1:-1] & use[2:]
        steps.append(np.abs(np.diff(pixels.astype(float), 2, axis=0))[inside])
    step = np.concatenate(steps)
    levels = np.diff(np.unique(plane))
    rounding = float(levels.min()) / 12**0.5 if levels.size else 0.0
    return max(float(_GAUSSIAN * np.median(step)) / 6**0.5 if step.size else 0.0, rounding)


def _varying(plane: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The pixels that are at no value which a cut or a constant sky gives to many of them."""
    use = np.ones(plane.shape, bool)
    for value, most in ((plane.min(), _CUT), (plane.max(), _CUT), (np.median(plane), _FLAT)):
        same = plane == value
        if same.mean() > most:
            use &= ~same
    return use
