"""A frame of any size onto 256 x 256 pixels, without losing flux, the WCS following.

Each output pixel gathers the parts of the input pixels that it covers: the exact overlap of two
grids of squares, which is separable, W_y @ image @ W_x^T. The columns of W sum to one wherever
the input pixel lies inside the output, so flux (per pixel, as nanomaggies are) is conserved to
rounding; a pixel that covers only exact zeros, the survey's mark of missing data, stays exactly
zero. Source: Fruchter & Hook 2002, PASP 114, 144 (drizzle with pixfrac 1 and no rotation).
"""

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.sparse import csr_array

from VAE_model.astrometry import local_tangent_plane, pixel_scale
from VAE_model.cutouts import PIXEL_SCALE, SIZE
from VAE_model.frames import BadCutout

MODES = ("resample", "crop", "scale")


@dataclass(frozen=True)
class Window:
    """The square of an input frame that becomes the output: its lower left corner and the width
    of an output pixel, in input pixels counted from the frame's lower left corner."""

    x: float
    y: float
    step: float


def window(mode: str, shape: tuple[int, int], header: fits.Header, size: int = SIZE) -> Window:
    """The square of a frame of `shape` (y, x) that a mode takes.

    resample: the largest centred one, whole frame where it is square; crop: `size` input pixels,
    as they are; scale: `size` pixels of 0.262 arcsec. Nothing is padded.
    Raises BadCutout where the frame is too small for the mode, or scale finds no WCS.
    """
    height, width = shape
    if mode == "resample":
        step = min(shape) / size
        return Window((width - size * step) / 2, (height - size * step) / 2, step)
    if mode == "crop":
        x: float
        y: float
        needed: float
        needed, x, y, step = size, (width - size) // 2, (height - size) // 2, 1.0
    else:
        scale = pixel_scale(header, (width + 1) / 2, (height + 1) / 2)
        if not np.isfinite(scale):
            raise BadCutout("no scale: the file has no WCS, which mode scale needs")
        step = PIXEL_SCALE / scale
        needed = size * step
        x, y = (width - needed) / 2, (height - needed) / 2
    # A scale is known to some digits only: a frame short by a hundredth of a pixel is whole.
    if needed > min(shape) + 0.01:
        raise BadCutout(
            f"too small: {height} x {width} pixels, mode {mode} needs {int(np.ceil(needed))}, "
            "and nothing is padded; mode resample takes the whole frame"
        )
    return Window(x, y, step)


def overlap(pixels: int, start: float, step: float, size: int = SIZE) -> NDArray[np.float64]:
    """W (size, pixels): the part of each input pixel's width that each output pixel covers.

    Output pixel j reaches from start + j * step to start + (j + 1) * step.
    """
    # Rounded, so that edges that meet on paper leave no sliver of 1e-14 pixel between them.
    edges = np.round(start + step * np.arange(size + 1), 9)[:, None]
    left = np.arange(pixels)
    shared = np.minimum(edges[1:], left + 1) - np.maximum(edges[:-1], left)
    return np.maximum(shared, 0.0)


def regrid(
    flux: NDArray[np.floating], where: Window, size: int = SIZE, mean: bool = False
) -> NDArray[np.float32]:
    """(band, size, size) from (band, y, x): sums of flux, or means of brightness for `mean`.

    Raises BadCutout where pixels in the window are not finite.
    """
    rows = _covered(flux.shape[1], where.y, where.step, size)
    columns = _covered(flux.shape[2], where.x, where.step, size)
    part = flux[:, rows, columns]
    bad = part.size - np.count_nonzero(np.isfinite(part))
    if bad:
        raise BadCutout(f"non-finite: {bad:,} pixels are NaN or infinite")
    # A row of W has few entries that are not zero: as sparse matrices ten times faster.
    w_y = csr_array(overlap(part.shape[1], where.y - rows.start, where.step, size))
    w_x = csr_array(overlap(part.shape[2], where.x - columns.start, where.step, size))
    area = where.step**2 if mean else 1.0
    bands = [(w_x @ (w_y @ band.astype(np.float64)).T).T for band in part]
    return np.stack(bands).astype(np.float32) / np.float32(area)


def wcs_of(header: fits.Header, where: Window, size: int = SIZE) -> dict[str, str | float]:
    """WCS cards of the output: north, east and handedness as they were; {} without a WCS."""
    half = where.step * size / 2
    return local_tangent_plane(header, where.x + half + 0.5, where.y + half + 0.5, where.step, size)


def _covered(pixels: int, start: float, step: float, size: int) -> slice:
    """The input pixels that the output touches."""
    first = max(0, int(np.floor(round(start, 9))))
    last = min(pixels, int(np.ceil(round(start + step * size, 9))))
    return slice(first, last)
