"""Flags for broken images: what a person sees at a glance and a latent space may not.

Each flag is a plain test on one cutout, in units of the sky's noise, with its limits below. The
flags do not look for odd galaxies: they look for what no sky has, such as pixels without noise,
straight edges, a line from end to end, a sky of one colour, a light that is cut flat.
"""

from collections.abc import Iterator

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

_LEAST_NOISE = {False: 0.05, True: 0.2 / 255}  # of a bin: sigmas of a pixel; brightness
_GAP_SIDE = 10  # pixels, the least side of a gap: what is narrower are dead columns
_GAP_SHARE = 0.01  # of the frame, the least area of a gap
_SILENT = 0.06  # change from bin to bin, over that of the sky, without data (8-bit images)
_SILENT_SIDE = 4  # bins that are silent, the least side of a gap in all bands
_QUIET = 0.55  # the same in one band, to which JPEG lends some of the others' noise
_QUIET_SIDE = 4  # bins that are quiet, the least side of a gap in one band
_QUIET_BINS = 80  # bins, its least area
_LOUD = 0.65  # change from bin to bin, over that of the sky, of a band with data
_SOFT = 2  # bins within which the edge of a gap falls
_STRAIGHT = 0.7  # of an edge
_FILLED = 0.9  # of a rectangle, which a gap in an 8-bit image fills
_WHITE = 0.9  # brightness from which a part without noise is a saturated core
_RUN = 24  # pixels of one and the same value in a column, which no noise gives
_MOST = 64  # columns with such runs from which they are no dead columns but a gap
_STEP = 1.0  # noise sigmas by which the median of a bad column stands out from its neighbours
_WIDEST = 9  # columns side by side
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
    gap, missing = _gaps_of_display(bins) if display else _gaps_of_flux(flux)
    flags["flag_gap"], flags["flag_band_missing"] = gap, missing
    flags["flag_off_band"] = not missing and _has_band_without_galaxy(level, noise)
    dead = False
    if not display and not gap:
        flags["flag_saturated"] = _has_saturated_star(level)
        # a star's bleed is no dead column
        dead = _has_constant_columns(flux, level) or (
            not flags["flag_saturated"] and _has_bad_columns(level)
        )
    flags["flag_dead_columns"] = dead
    if gap and not display:  # zeros that are no sky, with edges that are no steps
        return flags
    sky_bins = bins if display else bins / noise
    if not dead:
        flags["flag_streak"], flags["flag_background_step"] = find_lines(
            sky_bins, _LEAST_NOISE[display]
        )
    blocks = backgrounds(sky_bins)
    flags["flag_coloured_sky"] = not flags["flag_off_band"] and is_coloured(blocks, display)
    flags["flag_glare"] = not flags["flag_background_step"] and has_glare(blocks, display)
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
    constant[:, 1:, 1:] = (flux[:, 1:, 1:] == flux[:, :-1, 1:]) & (
        flux[:, 1:, 1:] == flux[:, 1:, :-1]
    )
    masks = np.zeros(flux.shape, bool)
    for band, mask in enumerate(constant):
        if same[band].any():
            inner = ndimage.uniform_filter(mask.astype(np.float32), _GAP_SIDE - 1) > 0.999
            masks[band] = ndimage.binary_dilation(
                inner, iterations=_GAP_SIDE // 2, structure=np.ones((3, 3))
            )
    areas = masks.mean(axis=(1, 2))
    gap = areas > _GAP_SHARE
    missing = masks.any(axis=0) & ~constant.all(axis=0) & ~masks.all(axis=0)
    return bool(gap.any()), bool(gap.any() and missing.mean() > _GAP_SHARE)


def _gaps_of_display(bins: NDArray[np.float32]) -> tuple[bool, bool]:
    """Return the same of an 8-bit image: rectangles in which a band has no noise."""
    change = np.abs(np.diff(bins, axis=2, append=bins[:, :, -1:]))
    change += np.abs(np.diff(bins, axis=1, append=bins[:, -1:]))
    typical = np.maximum(np.median(change, axis=(1, 2), keepdims=True), 0.1 / 255)
    change = np.minimum(change / typical, 4)
    silent = (ndimage.uniform_filter(change, (0, 3, 3)) < _SILENT).all(axis=0)
    gap = any(_is_dark(bins, place) for place in _rectangles(silent, _SILENT_SIDE))
    if gap:
        return True, False
    quiet = ndimage.uniform_filter(change, (0, 5, 5)) < _QUIET
    hidden = ndimage.uniform_filter((quiet | _dark(bins)).astype(np.float32), (0, 5, 5)) > 0.5
    for band in range(len(bins)):
        for place in _rectangles(hidden[band], _QUIET_SIDE):
            others = np.delete(change, band, axis=0)[:, *place].mean(axis=(1, 2))
            if (
                quiet[band][place].sum() > _QUIET_BINS
                and others.max() > _LOUD
                and _is_dark(bins, place)
            ):
                return True, True
    return False, False


def _is_dark(bins: NDArray[np.float32], place: tuple[slice, slice]) -> bool:
    """Whether a part of an 8-bit image is no saturated core."""
    return bool(np.median(bins[:, *place], axis=(1, 2)).max() < _WHITE)


def _rectangles(mask: NDArray[np.bool_], side: int) -> Iterator[tuple[slice, slice]]:
    """Yield the groups of bins in a mask that are rectangles with straight edges."""
    groups, _ = ndimage.label(mask)
    for rows, columns in ndimage.find_objects(groups):
        if min(rows.stop - rows.start, columns.stop - columns.start) < side:
            continue
        rows = _trimmed(mask[:, columns].mean(axis=1), rows)
        columns = _trimmed(mask[rows].sum(axis=0) / max(rows.stop - rows.start, 1), columns)
        if min(rows.stop - rows.start, columns.stop - columns.start) < side:
            continue
        if mask[rows, columns].mean() > _FILLED and (
            _ends_straight(mask[:, columns].mean(axis=1), rows)
            and _ends_straight(mask[rows].mean(axis=0), columns)
            and (rows.stop - rows.start, columns.stop - columns.start) != mask.shape
        ):
            yield rows, columns


def _trimmed(share: NDArray[np.floating], part: slice) -> slice:
    """The part of a row of shares between the first and the last that are more than a half."""
    inside = np.flatnonzero(share[part] > 0.5)
    if not len(inside):
        return slice(part.start, part.start)
    return slice(part.start + int(inside[0]), part.start + int(inside[-1]) + 1)


def _ends_straight(share: NDArray[np.floating], part: slice) -> bool:
    """Whether shares fall within two bins of both ends of a part, where these are in the frame."""
    before, after = part.start - _SOFT, part.stop - 1 + _SOFT
    return bool(
        (before < 0 or share[before] < 1 - _STRAIGHT)
        and (after >= len(share) or share[after] < 1 - _STRAIGHT)
    )


def _dark(bins: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Bins in which a band is no brighter than its sky where both others are bright."""
    above = bins - np.median(bins, axis=(1, 2), keepdims=True)
    spread = 1.4826 * np.median(np.abs(above), axis=(1, 2), keepdims=True) + 0.5 / 255
    significance = above / spread
    others = np.stack(
        [np.delete(significance, band, axis=0).max(axis=0) for band in range(len(bins))]
    )
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


def _has_bad_columns(level: NDArray[np.float32]) -> bool:
    """Columns or rows that leap from their neighbours, and back, over at least half the frame.

    The median step from a column to the next over half the frame does not see stars, and that of
    a galaxy varies slowly, for the point-spread function is several pixels wide. So an edge is a
    step that exceeds those beside it that go the same way; a bad column has two, one there and
    one back.
    """
    half = level.shape[1] // 2
    for plane in (level, np.ascontiguousarray(level.swapaxes(1, 2))):
        steps = np.diff(plane).reshape(len(level), 2, half, -1)
        step = np.partition(steps, half // 2, axis=2)[:, :, half // 2]  # the upper median
        edges = np.zeros((2, *step.shape), np.float32)
        for way, size in zip(edges, (np.maximum(step, 0), np.maximum(-step, 0)), strict=True):
            way[..., 1:-1] = size[..., 1:-1] - np.maximum(size[..., :-2], size[..., 2:])
        rises, falls = edges
        for width in range(1, _WIDEST + 1):
            both = np.maximum(
                np.minimum(rises[..., :-width], falls[..., width:]),
                np.minimum(falls[..., :-width], rises[..., width:]),
            )
            band, part, column = np.nonzero(both > _STEP)
            # light has a noise of its own, which widens the steps of the columns that it covers
            quartiles = np.percentile(steps[band, part, :, column], [25, 75], axis=1)
            wider = np.maximum(np.ptp(quartiles, axis=0) / _SPREAD, 1)
            if (both[band, part, column] > _STEP * wider).any():
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
