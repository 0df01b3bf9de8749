"""Flags for image defects, which a latent space may not reveal.

Each flag is a simple test of one cutout, in units of the sky noise, with its thresholds below. The
flags do not indicate unusual galaxies but features that no sky has: pixels without noise, straight
edges, a line across the whole frame, a coloured sky, a flat-topped source.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from VAE_model.preparation.defect_lines import find_lines
from VAE_model.preparation.defect_sky import backgrounds, has_glare, is_coloured
from VAE_model.preparation.pixel_noise import LEAST, LEAST_DISPLAY, spread
from VAE_model.preparation.stretch import NOISE

# name of the column: what it means
FLAGS = {
    "flag_gap": "a rectangle without data: zero or constant pixels in one band or all",
    "flag_band_missing": "a part of the frame has data in some bands but not in all",
    "flag_background_step": "a step of the background at a straight edge, where exposures end",
    "flag_coloured_sky": "the sky level of one band differs greatly from that of the others",
    "flag_glare": "light of a star away from the galaxy fills the frame",
    "flag_streak": "a straight narrow line across the frame (satellite, aircraft, bleed)",
    "flag_dead_columns": "columns or rows with a constant or outlying value",
    "flag_saturated": "a flat-topped source: a saturated star, with or without bleed",
    "flag_off_band": "no galaxy in one band where the others show one",
}

_TILES = 4  # per side, in which the sky noise is measured
BIN = 4  # pixels per side of the bins in which gaps, lines and the sky are sought

_LEAST_NOISE = {False: 0.05, True: 0.2 / 255}  # of a bin: sigmas of a pixel; brightness
_GAP_SIDE = 10  # pixels, minimum side of a gap; narrower ones are dead columns
_GAP_SHARE = 0.01  # minimum area of a gap, as a fraction of the frame
_PARTS = 8  # per side, in which the typical difference of adjacent bins is measured
_WITH_NOISE = 75  # percentile of the parts that has noise even if much of the frame is missing
_ROUNDED = 0.3 / 255  # difference of adjacent bins due to rounding to 8 bits
_QUIET = 0.55  # difference of adjacent bins, over the typical one, below which a gap is possible
_QUIET_IN_BAND = 0.7  # the same in one band, which in JPEG has some of the others' noise
_QUIET_RANGE = 0.35  # decrease of this ratio that raises the score by one
_QUIET_CORE = 0.5  # minimum score of 3x3 bins in a gap
_NARROWEST = 3  # bins, minimum side of a gap
_GAP = 16.0  # minimum sum of the scores in a gap in all bands
_FILLED = 0.75  # minimum mean score in a gap in all bands
_GAP_IN_BAND = 75.0  # the same two for a gap in one band
_FILLED_IN_BAND = 0.3
_NOISY = 0.8  # minimum difference of the mean score from that of a band with data
_ALL_SILENT = 0.69  # minimum mean score of the noisiest band in a gap in all bands
_FALL = 0.6  # minimum fall of the mean score across the edge of a gap
_SOFT = 4  # bins within which the score falls at the edge of a gap
_WHITE = 0.9  # brightness above which a part without noise is a saturated core
_RUN = 24  # pixels of equal value in a column, more than noise gives
_MOST = 64  # number of columns with such runs above which they are a gap
_CUT = 0.25  # fraction of pixels at the lowest value above which the sky is clipped
_STEP = 1.0  # noise sigmas between the median of a bad column and those of its neighbours
_WIDEST = 9  # maximum number of adjacent bad columns
_SPREAD = 1.9  # interquartile range of the differences between columns of sky, noise sigmas
_FLAT = 0.02  # range of 3x3 pixels, over their value, below which a source is flat
_FLAT_PIXELS = 6  # minimum number of adjacent flat pixels in a saturated core
_BRIGHT = 150.0  # noise sigmas above which a pixel may be saturated
_APERTURE = 5  # pixels, radius of the central aperture
_FAINTEST = 0.05  # minimum flux of a galaxy in a band, over that of the next fainter band
_GALAXY = 15.0  # minimum significance of a galaxy in the other bands


def defect_flags(flux: NDArray[np.float32], display: bool = False) -> dict[str, bool]:
    """Return the flags of one cutout, by the names in FLAGS.

    flux: float32 (3, 256, 256), nanomaggies, bands g, r, z, finite; display: imported 8-bit image,
    in which sky and cores are clipped by design, and JPEG has blurred constant areas.
    """
    flux = np.asarray(flux, np.float32)
    sky, noise = _sky(flux, display)
    level = (flux - sky) / noise
    bins = _bins(flux)
    flags = dict.fromkeys(FLAGS, False)
    gap, missing = _gaps_of_display(bins) if display else _gaps_of_flux(flux)
    flags["flag_gap"], flags["flag_band_missing"] = gap, missing
    flags["flag_off_band"] = not missing and _has_band_without_galaxy(level, noise)
    dead = False
    if not display and not gap:
        flags["flag_saturated"] = _has_saturated_star(level)
        # The bleed of a star is not a dead column.
        dead = _has_constant_columns(flux, level) or (
            not flags["flag_saturated"] and _has_bad_columns(level)
        )
    flags["flag_dead_columns"] = dead
    if gap and not display:  # its zeros are not sky, and its edges are not steps
        return flags
    sky_bins = bins if display else bins / noise
    if not dead:
        flags["flag_streak"], flags["flag_background_step"] = find_lines(
            sky_bins, _LEAST_NOISE[display]
        )
    blocks = backgrounds(sky_bins)
    depth = None if display else (noise.ravel() / np.array(NOISE)).astype(np.float32)
    flags["flag_coloured_sky"] = not flags["flag_off_band"] and is_coloured(blocks, display, depth)
    flags["flag_glare"] = not flags["flag_background_step"] and has_glare(blocks, display)
    return flags


def _sky(
    flux: NDArray[np.float32], display: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return level and sigma of the sky in each band, (3, 1, 1), without pixels that are zero.

    The sigma is the median over tiles, which excludes gradients and steps.
    """
    levels = np.zeros((len(flux), 1, 1), np.float32)
    sigmas = np.ones((len(flux), 1, 1), np.float32)
    least = LEAST_DISPLAY if display else LEAST
    for band, plane in enumerate(flux[:, ::2, ::2]):
        side = len(plane) // _TILES
        tiles = plane.reshape(_TILES, side, _TILES, side).swapaxes(1, 2).reshape(-1, side, side)
        found = [sigma for tile in tiles if (sigma := spread(tile)) > 0]
        if found:
            levels[band] = np.median(plane[plane != 0])
            sigmas[band] = max(np.median(found), least[band])
    return levels, sigmas


def _bins(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return means of squares of pixels, (band, y / BIN, x / BIN)."""
    rows = pixels.reshape(len(pixels), -1, BIN, pixels.shape[2]).mean(axis=2)
    return rows.reshape(*rows.shape[:2], -1, BIN).mean(axis=3)


def _gaps_of_flux(flux: NDArray[np.float32]) -> tuple[bool, bool]:
    """Return whether a band has a gap, and whether another band has data there."""
    same = _constant(flux[:, ::BIN, ::BIN])
    if not same.any():
        return False, False
    constant = _constant(flux)
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


def _constant(flux: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels that are equal to those on their left and below them."""
    equal = np.zeros(flux.shape, bool)
    pixels = flux[:, 1:, 1:]
    equal[:, 1:, 1:] = (pixels == flux[:, :-1, 1:]) & (pixels == flux[:, 1:, :-1])
    return equal


def _gaps_of_display(bins: NDArray[np.float32]) -> tuple[bool, bool]:
    """Return the same for an 8-bit image, where gaps are rectangles without noise in a band.

    JPEG adds some noise of the other bands to a missing one, but little of it to bins.
    """
    change = np.abs(np.diff(bins, axis=2, append=bins[:, :, -1:]))
    change += np.abs(np.diff(bins, axis=1, append=bins[:, -1:]))
    parts = change.reshape(len(bins), _PARTS, -1, _PARTS, change.shape[2] // _PARTS)
    typical = np.median(parts, axis=(2, 4)).reshape(len(bins), -1)
    typical = np.percentile(typical, _WITH_NOISE, axis=1)[:, None, None]
    change /= np.maximum(typical, _ROUNDED)
    silence = np.clip((_QUIET_IN_BAND - change) / _QUIET_RANGE, -1.5, 1)
    silence = np.where(_dark(bins), 0.5, silence)
    silent = np.clip((_QUIET - change.max(axis=0)) / _QUIET_RANGE, -1.5, 1)
    place = _rectangle(silent, _GAP, _FILLED)
    if place is not None and np.median(bins[:, *place], axis=(1, 2)).max() < _WHITE:
        return True, False
    for plane, layer in zip(bins, silence, strict=True):
        place = _rectangle(layer, _GAP_IN_BAND, _FILLED_IN_BAND)
        if place is None or np.median(plane[place]) > _upper_sky(plane):
            continue
        noisiest = silence[:, *place].mean(axis=(1, 2)).min()
        missing = layer[place].mean() - noisiest > _NOISY
        if missing or noisiest > _ALL_SILENT:
            return True, bool(missing)
    return False, False


def _upper_sky(plane: NDArray[np.float32]) -> float:
    """Return the brightness of bins that the noise of the sky does not exceed."""
    median = np.median(plane)
    return float(median + 1.4826 * np.median(np.abs(plane - median)) + 0.5 / 255)


def _rectangle(
    score: NDArray[np.float32], least: float, filled: float
) -> tuple[slice, slice] | None:
    """Return the rectangle with the largest sum of scores if its sides are straight.

    On each straight side within the frame the score falls from above zero to below it.
    """
    if ndimage.uniform_filter(score, 3).max() < _QUIET_CORE:
        return None
    sums = np.pad(
        np.cumsum(np.pad(score, ((1, 0), (0, 0))), axis=0).cumsum(axis=1), ((0, 0), (1, 0))
    )
    top, bottom = np.triu_indices(len(sums), _NARROWEST)
    strips = sums[bottom] - sums[top]
    lowest = np.minimum.accumulate(strips, axis=1)
    gain = strips[:, _NARROWEST:] - lowest[:, :-_NARROWEST]
    strip, right = np.unravel_index(gain.argmax(), gain.shape)
    right += _NARROWEST
    left = int(strips[strip, : right - _NARROWEST + 1].argmin())
    rows, columns = slice(int(top[strip]), int(bottom[strip])), slice(left, int(right))
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    if gain.max() < max(least, filled * area):
        return None
    sides = (
        *_sides(score[:, columns].mean(axis=1), rows),
        *_sides(score[rows].mean(axis=0), columns),
    )
    return (rows, columns) if sides and all(sides) else None


def _sides(score: NDArray[np.floating], part: slice) -> list[bool]:
    """Return, for each end of a part that lies within the frame, whether the score falls there."""
    before = score[max(part.start - _SOFT, 0) : max(part.start - 1, 0)]
    after = score[part.stop + 1 : part.stop + _SOFT]
    ends = (before, score[part.start : part.start + 2]), (after, score[part.stop - 2 : part.stop])
    return [
        bool(beside.min() < min(0, end.mean() - _FALL)) and end.mean() > 0
        for beside, end in ends
        if len(beside)
    ]


def _dark(bins: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the bins in which a band is no brighter than its sky but another band is bright."""
    above = bins - np.median(bins, axis=(1, 2), keepdims=True)
    spread = 1.4826 * np.median(np.abs(above), axis=(1, 2), keepdims=True) + 0.5 / 255
    significance = above / spread
    others = np.stack(
        [np.delete(significance, band, axis=0).max(axis=0) for band in range(len(bins))]
    )
    return (significance < 1) & (others > 8)


def _has_constant_columns(flux: NDArray[np.float32], level: NDArray[np.float32]) -> bool:
    """Return True if columns or rows have long runs of one value, but too few to be a gap.

    The bleed of a star has one value too, but is bright.
    """
    lowest = flux.min(axis=(1, 2), keepdims=True)
    cut = (flux == lowest).mean(axis=(1, 2), keepdims=True) > _CUT  # a clipped sky
    may = (level < _BRIGHT) & ~(cut & (flux == lowest))
    same = (flux[:, 1:] == flux[:, :-1]) & may[:, 1:]
    across = (flux[:, :, 1:] == flux[:, :, :-1]) & may[:, :, 1:]
    for equal in (same, across.swapaxes(1, 2)):
        counts = np.zeros(len(equal), int)
        for band, column in np.argwhere(equal.sum(axis=1) >= _RUN):
            edges = np.flatnonzero(np.diff(equal[band, :, column], prepend=False, append=False))
            counts[band] += (edges[1::2] - edges[::2]).max() >= _RUN
        if ((counts > 0) & (counts < _MOST)).any():
            return True
    return False


def _has_bad_columns(level: NDArray[np.float32]) -> bool:
    """Return True if columns or rows differ from their neighbours over at least half the frame.

    The median difference of adjacent columns over half the frame excludes stars, and that of a
    galaxy varies slowly because the PSF is several pixels wide. So an edge is a difference that
    exceeds adjacent ones of the same sign; bad columns have two edges of opposite sign.
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
            # Photon noise widens the distribution of differences in bright columns.
            quartiles = np.percentile(steps[band, part, :, column], [25, 75], axis=1)
            wider = np.maximum(np.ptp(quartiles, axis=0) / _SPREAD, 1)
            if (both[band, part, column] > _STEP * wider).any():
                return True
    return False


def _has_saturated_star(level: NDArray[np.float32]) -> bool:
    """Return True if a source is flat-topped in any band."""
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
    """Return True if the centre has a galaxy's light in two bands and none in the third."""
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
