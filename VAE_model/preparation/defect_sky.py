"""Defects of the smooth background of a frame: coloured sky, and the glare of a star.

The background of each of 8 x 8 blocks is a low percentile of its bins, which excludes compact
sources but includes the sky, halos, and the galaxy itself. A galaxy is symmetric about the centre
and has the colour of a galaxy.
"""

import numpy as np
from numpy.typing import NDArray

# Thresholds of {flux: sigmas of a pixel, 8-bit images: brightness}.
BLOCKS = 8  # per side
_PERCENTILE = 30  # of the bins in a block, its background
_FAINT = 16  # number of the faintest blocks, which contain the sky
_COLOURED = 14  # minimum number of blocks of unusual colour in a coloured gradient
_GALAXY = 1.3  # maximum relative difference of the bands in a galaxy's light
_COLOUR = {False: 0.7, True: 16 / 255}  # minimum difference of a band from the others
_GLARE = {False: 1.5, True: 32 / 255}  # minimum rise of the background towards a star
_RAISED = {False: 0.5, True: 14 / 255}  # minimum excess over the opposite block in a glare
_WIDE = 12  # minimum number of such blocks
_STEEP = 1.3  # rise in the bright half of a glare over that in the faint half
_CENTRE = 2.3  # blocks from the middle within which the galaxy lies

_Y, _X = np.mgrid[:BLOCKS, :BLOCKS] - (BLOCKS - 1) / 2
_OUTER = np.hypot(_Y, _X) > _CENTRE
# y and x of the blocks between each block and the middle, (2, blocks, steps)
_PATHS = np.rint(
    np.stack([_Y, _X]).reshape(2, -1, 1) * np.linspace(1, 0.2, BLOCKS) + (BLOCKS - 1) / 2
).astype(int)


def backgrounds(bins: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the background of blocks, (band, 8, 8), from bins (band, y, x)."""
    side = bins.shape[1] // BLOCKS
    blocks = bins.reshape(len(bins), BLOCKS, side, BLOCKS, side).swapaxes(2, 3)
    flat = blocks.reshape(len(bins), BLOCKS, BLOCKS, side * side)
    place = side * side * _PERCENTILE // 100
    return np.partition(flat, place, axis=3)[..., place]


def is_coloured(
    blocks: NDArray[np.float32], display: bool, noise: NDArray[np.float32] | None = None
) -> bool:
    """Return True if the sky level of one band differs greatly from that of the others.

    blocks: backgrounds (band, 8, 8): flux in sigmas of a pixel, or brightness (display).
    noise: of each band, over the usual noise, with which the light of a galaxy in bands of unequal
    depth is compared at equal depth too.
    """
    flat = blocks.reshape(len(blocks), -1)
    faint = np.argsort(flat.sum(axis=0))[:_FAINT]
    if display:  # its sky is not at zero
        flat = flat - np.median(flat[:, faint], axis=1).min()
    contrast = np.stack([_contrast(flat, band) for band in range(len(flat))])
    if noise is not None:
        deep = flat * noise[:, None]
        other = np.stack([_contrast(deep, band) / noise[band] for band in range(len(flat))])
        contrast = np.where(np.abs(other) < np.abs(contrast), other, contrast)
    uniform = np.abs(np.median(contrast[:, faint], axis=1)).max() > _COLOUR[display]
    parts = (np.abs(contrast) > 1.5 * _COLOUR[display]).sum(axis=1).max()
    return bool(uniform or parts >= _COLOURED)


def _contrast(flat: NDArray[np.float32], band: int) -> NDArray[np.float32]:
    """Return the difference of a band from the mean of the others beyond that of a galaxy."""
    others = np.delete(flat, band, axis=0).mean(axis=0)
    difference = flat[band] - others
    allowed = _GALAXY * np.maximum(np.minimum(flat[band], others), 0)
    return np.sign(difference) * np.maximum(np.abs(difference) - allowed, 0)


def has_glare(blocks: NDArray[np.float32], display: bool) -> bool:
    """Return True if the background rises smoothly towards a point away from the centre.

    blocks: as for is_coloured. The light of a central galaxy cancels in the difference from the
    opposite block.
    """
    for plane in blocks:
        excess = np.where(_OUTER, plane - plane[::-1, ::-1], 0)
        if (excess > _RAISED[display]).sum() < _WIDE:
            continue
        path = plane[*_PATHS[:, excess.argmax()]]
        low, middle, high = np.percentile(plane, [5, 50, 98])
        if path[0] - path.min() > _GLARE[display] and high - middle > _STEEP * (middle - low):
            return True
    return False
