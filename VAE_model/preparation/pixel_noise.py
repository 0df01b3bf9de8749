"""Pixel noise of the sky in an image, the estimate that every stage uses.

Sources only brighten the sky, so the noise is measured on the pixels below the median. Some images
have no such pixels: the sky is clipped at zero (8-bit images with a black point above the sky),
saturated to white, or has a border of one value. There the noise is measured on the pixels at other
values, from their second differences, in which smooth light cancels; where half of the sky is
clipped, this gives 0.6 to 1 times the noise.

No estimate is below the rounding of the data (to 256 levels in 8-bit images, to integers in
others), or below a thousandth of the noise of DECaLS.
"""

import numpy as np
from numpy.typing import NDArray

from VAE_model.data.fits_frames import BANDS, BadCutout
from VAE_model.preparation.stretch import NOISE

LEAST = tuple(sigma / 1000 for sigma in NOISE)  # nanomaggies: less is a simulation without noise
LEAST_DISPLAY = (1 / 255 / 12**0.5,) * len(BANDS)  # brightness from 0 to 1: rounding to 8 bits

_CUT = 0.25  # fraction of pixels at the lowest or highest value above which the image is clipped
_FLAT = 0.5  # fraction of pixels at the median above which the sky has one value
_FEWEST = 0.01  # fraction of pixels at other values below which the noise cannot be measured
_GAUSSIAN = 1.4826  # sigma over the median absolute deviation


def sky_noise(flux: NDArray[np.float32], display: bool = False) -> NDArray[np.float32]:
    """Return the sky sigma of each band, (3,), of an image (3, y, x), in the image's unit.

    display: 8-bit image. Raises BadCutout if nearly all pixels of a band are equal.
    """
    least = LEAST_DISPLAY if display else LEAST
    found = []
    for band, plane, low in zip(BANDS, flux[:, ::2, ::2], least, strict=True):
        if _varying(plane).mean() < _FEWEST:
            raise BadCutout(f"band without signal: {band}, all but a few pixels are the same")
        found.append(max(spread(plane), low))
    return np.array(found, np.float32)


def is_cut(flux: NDArray[np.float32]) -> bool:
    """Return True if the sky of an image (3, y, x) is clipped or has one value in some band."""
    return not all(_varying(plane).all() for plane in flux[:, ::2, ::2])


def spread(plane: NDArray[np.float32]) -> float:
    """Return the noise sigma of the sky in one band (y, x), or its rounding if that is larger."""
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
    """Return the pixels that do not have the one value of a clipped or constant sky."""
    use = np.ones(plane.shape, bool)
    for value, most in ((plane.min(), _CUT), (plane.max(), _CUT), (np.median(plane), _FLAT)):
        same = plane == value
        if same.mean() > most:
            use &= ~same
    return use
