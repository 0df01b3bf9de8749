"""Straight lines and edges across a frame: streaks, and steps where exposures end.

A Radon transform of the binned frame proposes lines; each proposal is then followed along its
length, where a streak stands out of both its sides and a step has a plateau on either side. An
edge-on galaxy does neither: it fades towards its ends.
"""

import warnings
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

_ANGLES = 90  # directions in which lines are sought
_FLATTEN = 15  # bins to a side of the box whose mean is taken off, so that gradients make no line
_CLIP = 3.0  # sigmas of a bin, to which light is clipped, so that no star makes a line
_LENGTH = 32  # bins in the frame, from which a line counts
_CANDIDATES = 12  # lines of each band that are followed
_STREAK = 5.0  # significance of a streak's line
_STEP = 4.5  # significance of a step's line
_REACH = 7  # bins to either side that are looked at along a line
_SEGMENTS = 8  # parts of a line, of which each is looked at
_HIDDEN = 2  # parts that a galaxy or a star may hide
_LIT = 1.5  # sigmas of a bin by which a streak stands out in its parts
_EVEN = 0.5  # brightness of a streak's faintest parts over its median
_BRIGHTER = 3.0  # brightness of a streak's brightest parts over its median
_RAISED = 1.0  # sigmas of a bin, the least step in its parts
_SHARP = 0.3  # of a step, by which it exceeds those beside it
_PLATEAU = 0.5  # of a step, that must be left some bins from the edge


def find_lines(level: NDArray[np.float32]) -> tuple[bool, bool]:
    """Return whether a frame has a streak, and whether its background has a step.

    level: float32 (band, y, x), square, binned light in sigmas of a bin.
    """
    flat = level - ndimage.uniform_filter(np.clip(level, -_CLIP, _CLIP), (0, _FLATTEN, _FLATTEN))
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
    """Steps from a line to the next beyond those before and after them, (angle, offset, band)."""
    step = np.zeros_like(mean)
    step[:, 1:-2] = (mean[:, 2:-1] + mean[:, 3:] - mean[:, 1:-2] - mean[:, :-3]) / 2
    size = np.abs(step)
    leap = np.zeros_like(size)
    leap[:, 2:-2] = size[:, 2:-2] - np.maximum(size[:, :-4], size[:, 4:])
    return leap


def _standard(
    values: NDArray[np.floating], long: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Values in robust sigmas of all lines, where these exceed those of white noise."""
    typical = 1.4826 * np.median(np.abs(values[long]), axis=0)
    return values / np.maximum(typical, 1)


def _best(significance: NDArray[np.floating], least: float) -> list[tuple[int, int, int]]:
    """Band, angle and offset of the most significant lines of each band."""
    found = []
    for band in range(significance.shape[2]):
        plane = significance[..., band]
        angle, offset = np.nonzero(plane > least)
        order = np.argsort(-plane[angle, offset])[:_CANDIDATES]
        found += [(band, int(angle[i]), int(offset[i])) for i in order]
    return found


def _is_streak(plane: NDArray[np.float32], angle: int, offset: int) -> bool:
    """Whether a line stands out of both its sides as evenly from end to end as no galaxy does."""
    parts = _parts(_strip(plane, angle, offset))
    sides = np.maximum(parts[:, : _REACH - 3].mean(axis=1), parts[:, _REACH + 4 :].mean(axis=1))
    above = parts[:, _REACH - 1 : _REACH + 2].max(axis=1) - sides
    typical = np.median(above)
    ends = min(above[0], above[-1])
    faintest, brightest = np.sort(above)[[_HIDDEN, -1 - _HIDDEN]]
    return bool(
        min(faintest, ends) > max(_LIT, _EVEN * typical) and brightest < _BRIGHTER * typical
    )


def _is_step(plane: NDArray[np.float32], angle: int, offset: int) -> bool:
    """Whether the light on one side of a line is higher than on the other, near and farther."""
    parts = _parts(_strip(plane, angle, offset))
    before, near, after = (
        parts[:, at : at + 2].mean(axis=1) - parts[:, at - 2 : at].mean(axis=1)
        for at in (_REACH - 1, _REACH + 1, _REACH + 3)
    )
    far = parts[:, _REACH + 4 :].mean(axis=1) - parts[:, : _REACH - 3].mean(axis=1)
    typical = np.median(near)
    sign = np.sign(typical)
    sharp = np.abs(near) - np.maximum(np.abs(before), np.abs(after))
    least = max(_RAISED, _EVEN * abs(typical))
    good = (sign * near > least) & (sign * far > _PLATEAU * abs(typical)) & (sharp > _SHARP * abs(typical))
    return bool(abs(typical) > _RAISED and good.sum() >= _SEGMENTS - _HIDDEN)


def _strip(plane: NDArray[np.float32], angle: int, offset: int) -> NDArray[np.float32]:
    """Light along a line and beside it: (positions, 2 * _REACH + 1), NaN outside the frame."""
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
    """Medians of the parts of a strip along its length: (_SEGMENTS, 2 * _REACH + 1); beyond the
    frame, what is next to it in the frame."""
    ends = np.linspace(0, len(strip), _SEGMENTS + 1).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = np.stack([np.nanmedian(strip[a:b], axis=0) for a, b in pairwise(ends)])
    for at in range(_REACH + 1, parts.shape[1]):
        parts[:, at] = np.where(np.isfinite(parts[:, at]), parts[:, at], parts[:, at - 1])
    for at in range(_REACH - 1, -1, -1):
        parts[:, at] = np.where(np.isfinite(parts[:, at]), parts[:, at], parts[:, at + 1])
    return parts


def _offsets(size: int) -> int:
    """Number of parallel lines of one direction."""
    return int(np.ceil(size * np.sqrt(2))) + 1


@lru_cache(maxsize=2)
def _lines(size: int) -> tuple[sparse.csr_array, NDArray[np.float32]]:
    """Bins on each line, (angles * offsets, size * size), and their number (angles, offsets)."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2).reshape(2, -1)
    offsets = _offsets(size)
    rows = []
    for number, angle in enumerate(np.arange(_ANGLES) * np.pi / _ANGLES):
        offset = np.floor(x * np.cos(angle) + y * np.sin(angle) + 1e-9).astype(int) + offsets // 2
        rows.append(number * offsets + offset)
    row = np.concatenate(rows)
    column = np.tile(np.arange(size * size), _ANGLES)
    ones = np.ones(len(row), np.float32)
    lines = sparse.csr_array((ones, (row, column)), shape=(_ANGLES * offsets, size * size))
    return lines, np.bincount(row, minlength=_ANGLES * offsets).astype(np.float32).reshape(
        _ANGLES, offsets
    )
