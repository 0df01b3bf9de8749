"""Simple flags for broken images: what a person sees at a glance and a latent space may not.

Each flag is a plain test on one cutout, in units of the sky's noise, with its limits below. The
flags do not look for odd galaxies: they look for what no sky has, such as pixels without noise,
edges sharper than the point-spread function, a line across one band, a light that is cut flat.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

# name of the column: what it means
FLAGS = {
    "flag_empty": "part of a band has no data (zero or constant pixels)",
    "flag_dead_columns": "columns or rows with a constant or outlying value",
    "flag_trail": "a straight narrow line across the frame in one band (satellite, aircraft)",
    "flag_saturated": "a light that is cut flat: a saturated star, with or without bleed",
    "flag_off_band": "a band shows nothing where the others show a galaxy",
}

_EMPTY_SHARE = 0.05  # of a band's pixels that equal their neighbours exactly
_FIFTH = 5  # pixels
_RUN = 24  # pixels of one and the same value in a column, which no noise gives
_MOST = 64  # columns with such runs from which they are no dead columns but an empty part
_STEP = 1.0  # noise sigmas by which the median of a bad column stands out from its neighbours
_SPREAD = 1.9  # noise sigmas between the quartiles of the steps from column to column, of sky
_BIN = 4  # pixels to a side of the bins in which trails are sought
_ANGLES = 90  # directions in which they are sought
_LENGTH = 40  # bins of a line that are free of sources, for the line to count
_TRAIL = 9.0  # significance of a trail
_CANDIDATES = 20  # lines of each band that are looked at closer
_LIT = 1.0  # mean significance of the bins in each fifth of a trail
_SOURCE = 4.0  # significance from which a bin belongs to a source, if it has it in two bands
_FLAT = 0.02  # range of 3x3 pixels, in shares of their value, that is too small for a star
_FLAT_PIXELS = 6  # such pixels side by side that make a saturated core
_BRIGHT = 150.0  # noise sigmas from which a pixel may be saturated
_APERTURE = 5  # pixels, radius of the aperture on the centre
_FAINTEST = 0.05  # flux of the centre, as a share of the next fainter band's, that a galaxy has
_GALAXY = 15.0  # significance of the centre in the other bands from which there is a galaxy


def defect_flags(flux: NDArray[np.float32], display: bool = False) -> dict[str, bool]:
    """The flags of one cutout, by the names in FLAGS.

    flux: float32 (3, 256, 256), nanomaggies, bands g, r, z, finite;
    display: it is an imported 8-bit image, in which black skies and white cores are cut by
    design: only the flags that do not rest on constant values can be set.
    """
    flux = np.asarray(flux, np.float32)
    sky, noise = _sky(flux)
    level = (flux - sky) / noise
    constant = _constant(flux)
    flags = dict.fromkeys(FLAGS, False)
    flags["flag_trail"] = _has_trail(level, constant)
    flags["flag_off_band"] = _has_band_without_galaxy(level, noise)
    if display:
        return flags
    dead = _has_constant_columns(flux, level)
    flags["flag_empty"] = not dead and bool((constant.mean(axis=(1, 2)) > _EMPTY_SHARE).any())
    flags["flag_saturated"] = _has_saturated_star(level)
    # the edge of an empty part and a star's bleed are no further defects
    explained = flags["flag_empty"] or flags["flag_saturated"]
    flags["flag_dead_columns"] = dead or (not explained and _has_column_edge(level))
    return flags


def _sky(flux: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Level and sigma of the sky in each band, (3, 1, 1), by the faint half of the pixels.

    Sources only brighten the sky. Pixels that are exactly zero hold no sky.
    """
    levels = np.zeros((len(flux), 1, 1), np.float32)
    sigmas = np.ones((len(flux), 1, 1), np.float32)
    for band, plane in enumerate(flux[:, ::2, ::2]):
        pixels = plane[plane != 0]
        if pixels.size < 100:
            continue
        levels[band] = np.median(pixels)
        below = levels[band, 0, 0] - pixels[pixels < levels[band, 0, 0]]
        sigmas[band] = max(1.4826 * np.median(below), 1e-7) if below.size else 1e-7
    return levels, sigmas


def _constant(flux: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels that equal others to the right and above exactly, the nearest and the fifth:
    (3, 251, 251). The fifth, because small images blown up consist of squares of one value."""
    here = flux[:, :-_FIFTH, :-_FIFTH]
    equal = np.ones(here.shape, bool)
    for apart in (1, _FIFTH):
        equal &= here == flux[:, :-_FIFTH, apart : flux.shape[2] - _FIFTH + apart]
        equal &= here == flux[:, apart : flux.shape[1] - _FIFTH + apart, :-_FIFTH]
    return equal


def _has_constant_columns(flux: NDArray[np.float32], level: NDArray[np.float32]) -> bool:
    """Columns or rows that hold one value over a stretch, too few to be an empty part.

    A star's bleed has one value too, but a bright one.
    """
    same = (flux[:, 1:] == flux[:, :-1]) & (level[:, 1:] < _BRIGHT)
    across = (flux[:, :, 1:] == flux[:, :, :-1]) & (level[:, :, 1:] < _BRIGHT)
    for equal in (same, across.swapaxes(1, 2)):
        counts = np.zeros(len(equal), int)
        for band, column in np.argwhere(equal.sum(axis=1) >= _RUN):
            edges = np.flatnonzero(np.diff(equal[band, :, column], prepend=False, append=False))
            counts[band] += (edges[1::2] - edges[::2]).max() >= _RUN
        if ((counts > 0) & (counts < _MOST)).any():
            return True
    return False


def _has_column_edge(level: NDArray[np.float32]) -> bool:
    """Columns or rows that leap from their neighbours over at least half the frame.

    The median step from a column to the next over half the frame does not see stars, and that of
    a galaxy varies slowly, for the point-spread function is several pixels wide. So an edge is a
    step that exceeds the steps on either side of it, a single bad column a step there and back.
    """
    half = level.shape[1] // 2
    for plane in (level, np.ascontiguousarray(level.swapaxes(1, 2))):
        steps = np.diff(plane).reshape(len(level), 2, half, -1)
        step = np.partition(steps, half // 2, axis=2)[:, :, half // 2]  # the upper median
        size = np.abs(step)
        leaps = np.zeros_like(size)
        leaps[..., 1:-1] = size[..., 1:-1] - np.maximum(size[..., :-2], size[..., 2:])
        back = np.where(step[..., :-1] * step[..., 1:] < 0, size[..., 1:], 0)
        leaps[..., :-1] = np.maximum(leaps[..., :-1], np.minimum(size[..., :-1], back))
        band, part, column = np.nonzero(leaps > _STEP)
        # light has a noise of its own, which widens the steps of the columns that it covers
        quartiles = np.percentile(steps[band, part, :, column], [25, 75], axis=1)
        wider = np.maximum(np.ptp(quartiles, axis=0) / _SPREAD, 1)
        if (leaps[band, part, column] > _STEP * wider).any():
            return True
    return False


def _has_trail(level: NDArray[np.float32], constant: NDArray[np.bool_]) -> bool:
    """A line across the frame in one band where the others show nothing (Radon transform).

    Works on bins of 4 x 4 pixels, free of slow gradients, clipped so that no star makes a line.
    Bins that two bands see belong to sources and do not count.
    """
    bins = (
        level.reshape(len(level), level.shape[1] // _BIN, _BIN, -1, _BIN).mean(axis=4).mean(axis=2)
    )
    empty: NDArray[np.bool_] = np.pad(constant, ((0, 0), (0, _FIFTH), (0, _FIFTH)), mode="edge")
    empty = np.any(empty.reshape(len(level), bins.shape[1], _BIN, -1, _BIN), axis=(2, 4))
    spread = 1.4826 * np.median(np.abs(bins), axis=(1, 2), keepdims=True)
    bins /= np.maximum(spread, 1e-6)
    bins -= ndimage.uniform_filter(np.clip(bins, -3, 3), (1, 15, 15))
    seen = bins > _SOURCE
    lines = _lines(bins.shape[1])
    for band in range(len(bins)):
        free = ~(np.delete(seen, band, axis=0).any(axis=0) | empty[band]).ravel()
        light = np.where(free, np.clip(bins[band].ravel(), -3, 3), 0)
        lengths = lines @ free.astype(np.float32)
        significance = np.where(
            lengths >= _LENGTH, lines @ light / np.sqrt(np.maximum(lengths, 1)), 0
        )
        lines_found = np.flatnonzero(significance > _TRAIL)
        brightest = lines_found[np.argsort(-significance[lines_found])][:_CANDIDATES]
        if any(_is_lit_throughout(lines, line, light, free) for line in brightest):
            return True
    return False


def _is_lit_throughout(
    lines: sparse.csr_array, line: int, light: NDArray[np.float32], free: NDArray[np.bool_]
) -> bool:
    """Whether each fifth of a line is bright: a galaxy's halo, which one band may see farther out
    than the others, fades towards the ends."""
    size = int(np.sqrt(lines.shape[1]))
    places = lines.indices[lines.indptr[line] : lines.indptr[line + 1]]
    y, x = np.divmod(places, size)
    places = places[np.lexsort((x, y)) if np.ptp(y) > np.ptp(x) else np.lexsort((y, x))]
    return min(part.mean() for part in np.array_split(light[places[free[places]]], 5)) > _LIT


@lru_cache(maxsize=2)
def _lines(size: int) -> sparse.csr_array:
    """Which bins lie on which line: (lines, size * size), a line for each angle and offset."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2).reshape(2, -1)
    offsets = int(np.ceil(size * np.sqrt(2))) + 1
    rows = []
    for number, angle in enumerate(np.arange(_ANGLES) * np.pi / _ANGLES):
        offset = np.round(x * np.cos(angle) + y * np.sin(angle)).astype(int) + offsets // 2
        rows.append(number * offsets + offset)
    row = np.concatenate(rows)
    column = np.tile(np.arange(size * size), _ANGLES)
    ones = np.ones(len(row), np.float32)
    return sparse.csr_array((ones, (row, column)), shape=(_ANGLES * offsets, size * size))


def _has_saturated_star(level: NDArray[np.float32]) -> bool:
    """A light that is cut flat in any band."""
    for plane in level:
        bright = plane > _BRIGHT
        if not bright.any():
            continue
        rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        brightest = ndimage.maximum_filter(plane[part], 3)
        range_ = brightest - ndimage.minimum_filter(plane[part], 3)
        groups, _ = ndimage.label(bright[part] & (range_ < _FLAT * brightest))
        if np.bincount(groups.ravel())[1:].max(initial=0) >= _FLAT_PIXELS:
            return True
    return False


def _has_band_without_galaxy(level: NDArray[np.float32], noise: NDArray[np.float32]) -> bool:
    """The centre has no light in one band, and as much as a galaxy in the two others."""
    middle = (level.shape[1] - 1) / 2
    y, x = np.mgrid[: level.shape[1], : level.shape[2]] - middle
    disc = x**2 + y**2 <= _APERTURE**2
    sums = level[:, disc].sum(axis=1)
    significance = sums / np.sqrt(np.count_nonzero(disc))
    flux = sums * noise.ravel()
    for band in range(len(level)):
        others = np.delete(np.arange(len(level)), band)
        if (significance[others] > _GALAXY).all() and (flux[band] < _FAINTEST * flux[others].min()):
            return True
    return False
