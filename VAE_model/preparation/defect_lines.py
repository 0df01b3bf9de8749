"""Straight lines and edges across a frame: streaks, and steps where exposures end.

A Radon transform of the binned frame gives candidate lines; each is then followed along its length,
where a streak is brighter than both sides and a step has a plateau on each side. An edge-on galaxy
does neither: it fades towards its ends.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

_SOFT = 10.0  # sigmas of a bin above which the arcsinh compresses light
_ANGLES = 90  # number of directions
_FLATTEN = 15  # bins per side of the box whose mean is subtracted, so that gradients are no lines
_CLIP = 3.0  # sigmas of a bin to which light is clipped, so that stars make no lines
_UNEVEN = 1.8  # maximum standard deviation of lines that is assumed, over that of white noise
_LENGTH = 32  # minimum length of a line in the frame, bins
_CANDIDATES = 8  # lines per band that are followed
_ALIKE = 5  # lines per band that are followed even if they are adjacent
_STREAK = 5.0  # minimum significance of a streak
_STEP = 4.0  # minimum significance of a step
_REACH = 7  # bins on each side of a line that are examined
_SEGMENTS = 8  # parts of a line, each of which is examined
_OUTER = [0, 1, -2, -1]  # parts near the ends
_HIDDEN = 2  # parts that a galaxy or a star may hide
_LIT = 2.0  # minimum brightness of a streak above its sides, sigmas of a bin
_EVEN = 0.5  # minimum brightness of parts of a streak, over the median
_FADES = 0.7  # minimum brightness of the ends of a streak, over the middle
_CENTRAL = 6.0  # bins from the middle within which a line may be the galaxy itself
_FADING = 1.15  # maximum brightness of such a streak next to its ends, over that at its ends
_LIKE_GALAXY = 1.55  # maximum of its brightness in the middle over that near its ends, plus the
# difference of its sides and the excess two bins away over its brightness: more is a galaxy
_RAISED = 1.4  # minimum height of a step, sigmas of a bin
_SHARP = 0.1  # minimum excess of a step over adjacent ones, over its height
_FADES_STEP = (1.25, 1.7)  # maximum height of a step in the middle, over that near and at its ends
_VERY_SHARP = 0.25  # the same where a galaxy changes the height some bins away
_PLATEAU = (0.7, 1.7)  # height of a step some bins from the edge, over that at the edge
_UNLIKE = 0.6  # maximum logarithm of the height of a part over that of the step
_UNEVEN_STEP = 0.1  # maximum difference of the parts of a step, over its height
_UNSURE = 0.9  # uncertainty of the height of a part, sigmas of a bin
_COVERED = 4  # parts of a step that may differ from the others


def find_lines(level: NDArray[np.float32], least: float) -> tuple[bool, bool]:
    """Return whether a frame has a streak, and whether its background has a step.

    level: float32 (band, y, x), square, binned light; least: its minimum noise.
    """
    level = level - np.median(level, axis=(1, 2), keepdims=True)
    flat = level - ndimage.uniform_filter(level, (0, _FLATTEN, _FLATTEN))
    noise = np.maximum(1.4826 * np.median(np.abs(flat), axis=(1, 2), keepdims=True), least)
    level = _SOFT * np.arcsinh(level / noise / _SOFT)
    flat = level - ndimage.uniform_filter(level, (0, _FLATTEN, _FLATTEN))
    flat = np.clip(flat, -_CLIP, _CLIP)
    lines, lengths = _lines(level.shape[1])
    sums = (lines @ flat.reshape(len(flat), -1).T).reshape(*lengths.shape, len(flat))
    mean = sums / np.maximum(lengths, 1)[..., None]
    long = lengths >= _LENGTH
    weight = np.where(long, np.sqrt(lengths), 0)[..., None]
    streak = any(
        _is_streak(level[band], angle, offset)
        for band, angle, offset in _best(_standard(mean * weight, long), _STREAK)
    )
    step = not streak and any(
        _is_step(level[band], angle, offset)
        for band, angle, offset in _best(_standard(_leaps(mean) * weight, long), _STEP)
    )
    return streak, step


def _leaps(mean: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the excess of each step between adjacent lines over the steps beside it.

    mean: of each line, (angle, offset, band).
    """
    step = np.zeros_like(mean)
    step[:, 1:-2] = (mean[:, 2:-1] + mean[:, 3:] - mean[:, 1:-2] - mean[:, :-3]) / 2
    size = np.abs(step)
    leap = np.zeros_like(size)
    leap[:, 2:-2] = size[:, 2:-2] - np.maximum(size[:, :-4], size[:, 4:])
    return leap


def _standard(values: NDArray[np.floating], long: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return values in robust sigmas of all lines, from 1 (white noise) to _UNEVEN."""
    typical = 1.4826 * np.median(np.abs(values[long]), axis=0)
    return values / np.clip(typical, 1, _UNEVEN)


def _best(significance: NDArray[np.floating], least: float) -> list[tuple[int, int, int]]:
    """Return band, angle and offset of the most significant lines of each band.

    These are some of all lines, which may be adjacent, and some of the local maxima.
    """
    found = []
    for band in range(significance.shape[2]):
        plane = significance[..., band]
        peak = plane == ndimage.maximum_filter(plane, 3)
        for lines, number in ((plane > least, _ALIKE), ((plane > least) & peak, _CANDIDATES)):
            angle, offset = np.nonzero(lines)
            order = np.argsort(-plane[angle, offset])[:number]
            found += [(band, int(angle[i]), int(offset[i])) for i in order]
    return list(dict.fromkeys(found))


def _is_streak(plane: NDArray[np.float32], angle: int, offset: int) -> bool:
    """Return True if a line is brighter than both sides, evenly from end to end."""
    parts = _parts(_strip(plane, angle, offset))
    above, tilt, _ = _above(parts)
    typical = np.median(above)
    good = above > max(_LIT, _EVEN * typical)
    if not good[[0, -1]].all() or good.sum() < _SEGMENTS - _HIDDEN or np.median(tilt) > typical:
        return False
    if abs(offset - _offsets(len(plane)) // 2 + 0.5) > _CENTRAL:
        return bool(np.median(above[_OUTER]) > _FADES * np.median(above[2:-2]))
    above, tilt, shoulder = _above(_SOFT * np.sinh(parts / _SOFT))
    first, second, third, last = above[_OUTER]
    ends = np.median(above[_OUTER])
    galaxy = np.median(above[2:-2]) / ends + np.median(tilt + shoulder) / np.median(above)
    return bool(
        galaxy < _LIKE_GALAXY
        and second + third < _FADING * (first + last)
        and above[_OUTER].min() > _EVEN * ends
    )


def _above(
    parts: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Return the excess of parts of a line over its sides, their difference, and the shoulder.

    The shoulder is the excess two bins away from the line.
    """
    left = parts[:, _REACH - 5 : _REACH - 2].mean(axis=1)
    right = parts[:, _REACH + 3 : _REACH + 6].mean(axis=1)
    sides = (left + right) / 2
    above = parts[:, _REACH - 1 : _REACH + 2].max(axis=1) - sides
    shoulder = np.minimum(parts[:, _REACH - 2], parts[:, _REACH + 2]) - sides
    return above, np.abs(left - right), shoulder


def _is_step(plane: NDArray[np.float32], angle: int, offset: int) -> bool:
    """Return True if the light on one side of a line is higher than on the other, near and far.

    The difference is equal in most parts of the line up to both ends, unlike a galaxy's edge.
    """
    parts = _parts(_strip(plane, angle, offset))
    before, near, after = (
        parts[:, at : at + 2].mean(axis=1) - parts[:, at - 2 : at].mean(axis=1)
        for at in (_REACH - 1, _REACH + 1, _REACH + 3)
    )
    far = parts[:, _REACH + 4 :].mean(axis=1) - parts[:, : _REACH - 3].mean(axis=1)
    typical = np.median(near[_OUTER])
    plateau = np.sign(typical) * np.sort(np.abs(far[_OUTER]))[1]
    if abs(typical) < _RAISED or not _PLATEAU[0] < plateau / typical < _PLATEAU[1]:
        return False
    sharp = (np.abs(near) - np.maximum(np.abs(before), np.abs(after))) / abs(typical)
    good = abs(np.log(np.maximum(near / typical, 0.01))) < _UNLIKE
    even = good & (sharp > _SHARP) & (abs(far - plateau) < _UNEVEN_STEP * abs(plateau) + _UNSURE)
    good &= (sharp > _VERY_SHARP) & (far / plateau > _EVEN)
    inner = np.median(near[2:-2])
    faded = inner / typical > _FADES_STEP[0]
    if even.sum() >= _SEGMENTS - _COVERED + faded and even[:2].any() and even[-2:].any():
        return True
    faded |= inner / typical > _FADES_STEP[1] * near[[0, -1]].mean() / typical
    return bool(not faded and good.sum() >= _SEGMENTS - _HIDDEN)


def _strip(plane: NDArray[np.float32], angle: int, offset: int) -> NDArray[np.float32]:
    """Return the light along and beside a line, (positions, 2 * _REACH + 1), NaN outside."""
    size = len(plane)
    direction = angle * np.pi / _ANGLES
    away = offset - _offsets(size) // 2 + 0.5 + np.arange(-_REACH, _REACH + 1)
    half = int(np.ceil(size / np.sqrt(2)))
    along = np.arange(-half, half + 1)[:, None]
    middle = (size - 1) / 2
    x = np.rint(middle + away * np.cos(direction) - along * np.sin(direction)).astype(int)
    y = np.rint(middle + away * np.sin(direction) + along * np.cos(direction)).astype(int)
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    strip = np.where(inside, plane[np.clip(y, 0, size - 1), np.clip(x, 0, size - 1)], np.nan)
    return strip[inside[:, _REACH]]


def _parts(strip: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return medians of the parts of a strip along its length, (_SEGMENTS, 2 * _REACH + 1).

    Beyond the frame they are those of the adjacent pixels inside.
    """
    ends = np.linspace(0, len(strip), _SEGMENTS + 1).astype(int)
    parts = np.empty((_SEGMENTS, strip.shape[1]), strip.dtype)
    at = np.arange(strip.shape[1])
    for number, (first, last) in enumerate(pairwise(ends)):
        part = np.sort(strip[first:last], axis=0)  # NaN come last
        known = np.isfinite(part).sum(axis=0)
        low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, len(part) - 1)
        parts[number] = (part[low, at] + part[high, at]) / 2
    for half in (parts[:, _REACH:].T, parts[:, _REACH::-1].T):  # from the line to each side
        for inner, outer in pairwise(half):
            np.copyto(outer, inner, where=np.isnan(outer))
    return parts


def _offsets(size: int) -> int:
    """Return the number of parallel lines of one direction."""
    return int(np.ceil(size * np.sqrt(2))) + 1


@lru_cache(maxsize=2)
def _lines(size: int) -> tuple[sparse.csr_array, NDArray[np.float32]]:
    """Return the bins on each line, (angles * offsets, size * size), and their number.

    The number is (angles, offsets).
    """
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2).reshape(2, -1)
    offsets, number = _offsets(size), np.arange(_ANGLES)[:, None]
    angle = number * np.pi / _ANGLES
    offset = np.floor(x * np.cos(angle) + y * np.sin(angle) + 1e-9).astype(int) + offsets // 2
    row = (number * offsets + offset).ravel()
    column = np.tile(np.arange(size * size), _ANGLES)
    ones = np.ones(len(row), np.float32)
    lines = sparse.csr_array((ones, (row, column)), shape=(_ANGLES * offsets, size * size))
    lengths = np.bincount(row, minlength=_ANGLES * offsets).astype(np.float32)
    return lines, lengths.reshape(_ANGLES, offsets)
