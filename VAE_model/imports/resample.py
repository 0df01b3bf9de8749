"""Resampling of a frame of any size to 256 x 256 pixels that conserves flux and updates the WCS.

Reducing: each output pixel sums the parts of the input pixels that it covers, which is separable,
W_y @ image @ W_x^T (Fruchter & Hook 2002, PASP 114, 144: drizzle with pixfrac 1, no rotation).
Enlarging: the brightness is linear between the centres of adjacent input pixels and constant beyond
the outermost; each output pixel integrates it, without blocks or overshooting.

In both cases the columns of W sum to one for input pixels inside the output, so flux is conserved.
A pixel that covers only exact zeros, the survey's mark of missing data, stays zero, because no
slope leads to a pixel without data.
"""

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.sparse import csr_array

from VAE_model.data.astrometry import local_tangent_plane, pixel_scale
from VAE_model.data.cutouts import PIXEL_SCALE, SIZE
from VAE_model.data.fits_frames import BadCutout


@dataclass(frozen=True)
class Window:
    """The square of an input frame that becomes the output, in input pixels.

    x, y: its lower left corner; step: width of an output pixel.
    """

    x: float
    y: float
    step: float


def window(mode: str, shape: tuple[int, int], header: fits.Header, size: int = SIZE) -> Window:
    """Return the square of a frame of `shape` (y, x) that a mode uses.

    resample: the largest centred square; crop: `size` input pixels, unchanged; scale: `size` pixels
    of 0.262 arcsec. Nothing is padded. Raises BadCutout if the frame is too small for the mode, or
    if scale finds no WCS.
    """
    height, width = shape
    step = 1.0 if mode == "crop" else min(shape) / size
    if mode == "scale":
        scale = pixel_scale(header, (width + 1) / 2, (height + 1) / 2)
        if not np.isfinite(scale):
            raise BadCutout("no scale: the file has no WCS, which mode scale needs")
        step = PIXEL_SCALE / scale
    needed = size * step
    # The scale has limited precision: a frame short by a hundredth of a pixel counts as whole.
    if needed > min(shape) + 0.01:
        raise BadCutout(
            f"too small: {height} x {width} pixels, mode {mode} needs {int(np.ceil(needed))}, "
            "and nothing is padded; mode resample takes the whole frame"
        )
    x, y = (width - needed) / 2, (height - needed) / 2
    return Window(x // 1, y // 1, step) if mode == "crop" else Window(x, y, step)


def overlap(pixels: int, start: float, step: float, size: int = SIZE) -> NDArray[np.float64]:
    """Return W (size, pixels): the fraction of each input pixel that each output pixel covers.

    Output pixel j reaches from start + j * step to start + (j + 1) * step.
    """
    # Rounded, so that coincident edges leave no gap of 1e-14 pixel.
    edges = np.round(start + step * np.arange(size + 1), 9)[:, None]
    left = np.arange(pixels)
    shared = np.minimum(edges[1:], left + 1) - np.maximum(edges[:-1], left)
    return np.maximum(shared, 0.0)


def bends(pixels: int, start: float, step: float, size: int = SIZE) -> NDArray[np.float64]:
    """Return (size, pixels - 1): the correction of each output pixel for linear interpolation.

    Column k multiplies the difference between input pixels k + 1 and k. It integrates s(x) = u for
    u < 1/2, u - 1 above, with u = x - (k + 1/2) from 0 to 1: its sum is zero, so flux is conserved.
    """
    edges = np.round(start + step * np.arange(size + 1), 9)[:, None]
    u = np.clip(np.round(edges - (np.arange(pixels - 1) + 0.5), 9), 0, 1)
    return np.diff(np.minimum(u, 1 - u) ** 2 / 2, axis=0)


def regrid(
    flux: NDArray[np.floating], where: Window, size: int = SIZE, mean: bool = False
) -> NDArray[np.float32]:
    """Return (band, size, size) from (band, y, x): sums of flux, or means of brightness for `mean`.

    In means, zeros are black and not missing data. Raises BadCutout if pixels in the window are not
    finite.
    """
    # The scale has limited precision: a frame that drifts by half a pixel is not enlarged.
    enlarge = where.step * size < size - 0.5
    rows = _covered(flux.shape[1], where.y, where.step, size, enlarge)
    columns = _covered(flux.shape[2], where.x, where.step, size, enlarge)
    part = flux[:, rows, columns]
    bad = part.size - np.count_nonzero(np.isfinite(part))
    if bad:
        raise BadCutout(f"non-finite: {bad:,} pixels are NaN or infinite")

    def weights(pixels: int, start: float) -> tuple[csr_array, csr_array | None]:
        """Return W and, when enlarging, the corrections of `bends`, as sparse matrices."""
        # A row of W has few entries that are not zero: as sparse matrices ten times faster.
        shared = csr_array(overlap(pixels, start, where.step, size))
        return shared, csr_array(bends(pixels, start, where.step, size)) if enlarge else None

    w_y = weights(part.shape[1], where.y - rows.start)
    w_x = weights(part.shape[2], where.x - columns.start)
    area = where.step**2 if mean else 1.0
    bands = []
    for band in part.astype(np.float64):
        half = _gathered(band, *w_y, zeros_are_missing=not mean)
        bands.append(_gathered(half.T, *w_x, zeros_are_missing=not mean).T)
    return np.stack(bands).astype(np.float32) / np.float32(area)


def _gathered(
    image: NDArray[np.float64],
    shared: csr_array,
    bent: csr_array | None,
    zeros_are_missing: bool,
) -> NDArray[np.float64]:
    """Return the output rows of an image (y, x) from its input rows."""
    result = shared @ image
    if bent is None:
        return result
    rise = np.diff(image, axis=0)
    if zeros_are_missing:
        rise[(image[1:] == 0) | (image[:-1] == 0)] = 0
    return result + bent @ rise


def wcs_of(header: fits.Header, where: Window, size: int = SIZE) -> dict[str, str | float]:
    """Return the WCS cards of the output, with the input's orientation; {} without a WCS."""
    half = where.step * size / 2
    return local_tangent_plane(header, where.x + half + 0.5, where.y + half + 0.5, where.step, size)


def _covered(pixels: int, start: float, step: float, size: int, enlarge: bool) -> slice:
    """Return the input pixels that the output touches, and their neighbours when enlarging."""
    first = max(0, int(np.floor(round(start, 9))) - enlarge)
    last = min(pixels, int(np.ceil(round(start + step * size, 9))) + enlarge)
    return slice(first, last)
