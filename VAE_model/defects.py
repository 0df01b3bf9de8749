"""Flags for broken images: what a person sees at a glance and a latent space may not.

Each flag is a plain test on one cutout, in units of the sky's noise, with its limits below. The
flags do not look for odd galaxies: they look for what no sky has, such as pixels without noise,
straight edges, a line from end to end, a sky of one colour, a light that is cut flat.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from VAE_model.defect_lines import find_lines
from VAE_model.defect_sky import backgrounds, has_glare, is_coloured

# name of the column: what it means
FLAGS = {
    "flag_gap": "a rectangle without data: zero or constant pixels in a band or in all",
    "flag_band_missing": "a part of the frame lacks a band that the others have",
    "flag_background_step": "the background steps at a straight edge, where exposures end",
    "flag_coloured_sky": "the sky of one band is far off that of the others",
    "flag_glare": "the light of a star off the galaxy fills the frame",
    "flag_streak": "a straight narrow line across the frame (satellite, aircraft, bleed)",
    "flag_dead_columns": "columns or rows with a constant or outlying value",
    "flag_saturated": "a light that is cut flat: a saturated star, with or without bleed",
    "flag_off_band": "a band shows nothing where the others show a galaxy",
}

BIN = 4  # pixels to a side of the bins in which gaps, lines and the sky are sought

_GAP_SIDE = 10  # pixels, the least side of a gap: what is narrower are dead columns
_GAP_SHARE = 0.01  # of the frame, the least area of a gap
_QUIET = 0.5  # roughness of bins without data, over that of the sky (8-bit images)
_LOUD = 0.65  # roughness of bins with data
_QUIET_BINS = 28  # the least area of a gap in an 8-bit image
_FILLED = 0.8  # of its bounding box, that a gap in an 8-bit image fills
_RUN = 24  # pixels of one and the same value in a column, which no noise gives
_MOST = 64  # columns with such runs from which they are no dead columns but a gap
_STEP = 1.0  # noise sigmas by which the median of a bad column stands out from its neighbours
_SPREAD = 1.9  # noise sigmas between the quartiles of the steps from column to column, of sky
_FLAT = 0.02  # range of 3x3 pixels, in shares of their value, that is too small for a star
_FLAT_PIXELS = 6  # such pixels side by side that make a saturated core
_BRIGHT = 150.0  # noise sigmas from which a pixel may be saturated
_APERTURE = 5  # pixels, radius of the aperture on the centre
_FAINTEST = 0.05  # flux of the centre, as a share of the next fainter band's, that a galaxy has
_GALAXY = 15.0  # significance of the centre in the other bands from which there is a galaxy


def defect_flags(flux: NDArray[np.float32], display: bool = False) -> dict[str, bool]:
    """Return the flags of one cutout, by the names in FLAGS.

    flux: float32 (3, 256, 256), nanomaggies, bands g, r, z, finite;
    display: it is an imported 8-bit image, in which black skies and white cores are cut by
    design, and JPEG has blurred what was constant.
    """
    flux = np.asarray(flux, np.float32)
    sky, noise = _sky(flux)
    level = (flux - sky) / noise
    bins = _bins(flux)
    flags = dict.fromkeys(FLAGS, False)
    if display:
        gap, missing = _gaps_of_display(bins)
        dead = False
    else:
        gap, missing = _gaps_of_flux(flux)
        dead = not gap and _has_constant_columns(flux, level)
        flags["flag_saturated"] = _has_saturated_star(level)
    flags["flag_gap"], flags["flag_band_missing"] = gap, missing
    flags["flag_off_band"] = _has_band_without_galaxy(level, noise)
    light = _bins(level)
    spread = 1.4826 * np.median(np.abs(light - ndimage.uniform_filter(light, (0, 5, 5))), axis=(1, 2), keepdims=True)
    explained = gap or flags["flag_saturated"]
    if not gap and not dead:
        flags["flag_streak"], flags["flag_background_step"] = find_lines(light / np.maximum(spread, 0.05))
    if not gap:
        blocks = backgrounds(bins if display else bins / noise)
        flags["flag_coloured_sky"] = is_coloured(blocks, display)
        if not flags["flag_background_step"]:
            flags["flag_glare"] = has_glare(blocks, display)
    flags["flag_dead_columns"] = dead or (not display and not explained and not flags["flag_background_step"] and not flags["flag_streak"] and _has_column_edge(level))
    return flags


def _bins(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of squares of pixels, (band, y / BIN, x / BIN)."""
    rows = pixels.reshape(len(pixels), -1, BIN, pixels.shape[2]).mean(axis=2)
    return rows.reshape(*rows.shape[:2], -1, BIN).mean(axis=3)


def _gaps_of_flux(flux: NDArray[np.float32]) -> tuple[bool, bool]:
    """Return whether a band has a gap, and whether another band has data there."""
    coarse = flux[:, ::BIN, ::BIN]
    same = (coarse[:, 1:, 1:] == coarse[:, :-1, 1:]) & (coarse[:, 1:, 1:] == coarse[:, 1:, :-1])
    if not same.any():
        return False, False
    constant = np.zeros(flux.shape, bool)
    constant[:, 1:, 1:] = (flux[:, 1:, 1:] == flux[:, :-1, 1:]) & (flux[:, 1:, 1:] == flux[:, 1:, :-1])
    masks = np.zeros(flux.shape, bool)
    for band, mask in enumerate(constant):
        if same[band].any():
            inner = ndimage.uniform_filter(mask.astype(np.float32), _GAP_SIDE - 1) > 0.999
            masks[band] = ndimage.binary_dilation(inner, iterations=_GAP_SIDE // 2, structure=np.ones((3, 3)))
    areas = masks.mean(axis=(1, 2))
    gap = areas > _GAP_SHARE
    missing = masks.any(axis=0) & ~constant.all(axis=0) & ~masks.all(axis=0)
    return bool(gap.any()), bool(gap.any() and missing.mean() > _GAP_SHARE)


def _gaps_of_display(bins: NDArray[np.float32]) -> tuple[bool, bool]:
    """Return the same of an 8-bit image: rectangles in which a band has no noise."""
    change = np.abs(np.diff(bins, axis=2, append=bins[:, :, -1:]))
    change += np.abs(np.diff(bins, axis=1, append=bins[:, -1:]))
    typical = np.maximum(np.median(change, axis=(1, 2), keepdims=True), 0.1 / 255)
    rough = ndimage.uniform_filter(np.minimum(change, 4 * typical), (0, 5, 5)) / typical
    quiet = (rough < _QUIET) | _dark(bins)
    gap = missing = False
    for band in range(len(bins)):
        groups, _ = ndimage.label(quiet[band])
        for number, place in enumerate(ndimage.find_objects(groups), 1):
            inside = ndimage.binary_fill_holes(groups[place] == number)
            area = np.count_nonzero(inside)
            if area < _QUIET_BINS or min(inside.shape) < 4 or area < _FILLED * inside.size:
                continue
            if area > 0.9 * bins[0].size: continue
            gap = True
            others = [np.median(rough[other][place][inside]) for other in range(len(bins)) if other != band]
            missing |= max(others) > _LOUD
    return gap, missing


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


def _dark(bins: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Bins in which a band is no brighter than its sky where both others are bright."""
    above = bins - np.median(bins, axis=(1, 2), keepdims=True)
    spread = 1.4826 * np.median(np.abs(above), axis=(1, 2), keepdims=True) + 0.5 / 255
    significance = above / spread
    others = np.stack([np.delete(significance, band, axis=0).max(axis=0) for band in range(len(bins))])
    return (significance < 1) & (others > 8)


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
