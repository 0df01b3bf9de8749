"""Segmentation of an image: the light of the galaxy, and that of other sources.

Sources are found and told apart as SExtractor does it (Bertin & Arnouts 1996, A&AS 117, 393; by
sep, Barbary 2016, JOSS 1, 58), on the mean of the bands of the stretched image. The source in the
middle is the galaxy; all others are neighbours, be they stars, chance companions or parts of a
merger that stand apart. Where no source is in the middle (an empty frame), or sep gives up (a
crowded one), nothing is hidden, and the share that is hidden is NaN.
"""

from dataclasses import dataclass

import numpy as np
import sep
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor
from torch.nn import functional as F

from VAE_model.preparation.pixel_noise import LEAST, LEAST_DISPLAY, spread
from VAE_model.preparation.stretch import Stretch

SIDE = 128  # pixels a side of the image in which sources are looked for: 0.52 arcsec each
_DETECTED = 3.0  # sigma of the sky, from which a pixel belongs to a source
_SMOOTHED = np.ones((3, 3), np.float32)  # pixels that are averaged before
_APART = 0.003  # of a source's light, from which a peak in it is a source of its own
_HIDDEN = 0.2  # the same for hiding: the sky of a shallow survey, so that a deeper hides the same
_MIDDLE = 6  # pixels from the middle, within which the galaxy is looked for
_WINGS = 2  # pixels by which a neighbour reaches farther than its detected light
_BLOCK = 16  # pixels a side of the blocks in which the sky is compared
_FILLED = 60  # pixels of sky that a block needs

SURROUNDINGS = {  # column: what it is
    "flux_g": "the galaxy's own light in g, nanomaggies above the sky (8-bit images: brightness)",
    "flux_r": "the same in r",
    "flux_z": "the same in z",
    "n_sources": "sources beside the galaxy",
    "background_rms_over_flux": "rms of the sky from place to place over the galaxy's light",
}


@dataclass(frozen=True)
class Sources:
    """galaxy, others: whose light a pixel is, each bool (y, x); neither where it is sky;
    centre: x, y of the galaxy, pixels, None where no source is in the middle;
    count: sources beside the galaxy.
    """

    galaxy: NDArray[np.bool_]
    others: NDArray[np.bool_]
    centre: tuple[float, float] | None
    count: int


def sources(light: NDArray[np.float32], least: float) -> Sources:
    """The sources of an image (y, x), stretched and averaged over the bands; least: what sigma of
    the sky they stand out of, if its own is less.
    """
    light = np.ascontiguousarray(light, np.float32)
    sky = np.median(light)
    noise = max(spread(light), least)
    nothing = np.zeros(light.shape, bool)
    try:
        found, label = sep.extract(
            light - sky, _DETECTED, err=noise, filter_kernel=_SMOOTHED, deblend_cont=_APART,
            segmentation_map=True,
        )  # fmt: skip
    except Exception as refusal:  # sep has no type of its own for what is too crowded for it
        if "overflow" not in str(refusal) and "full" not in str(refusal):
            raise
        return Sources(nothing, nothing, None, 0)
    middle = (np.array(light.shape) - 1) / 2
    y, x = np.nonzero(label)
    apart = np.hypot(y - middle[0], x - middle[1])
    if not len(apart) or apart.min() > _MIDDLE:
        return Sources(nothing, label > 0, None, len(found))
    number = label[y, x][apart.argmin()]
    galaxy, own = label == number, found[number - 1]
    return Sources(galaxy, (label > 0) & ~galaxy, (own["x"], own["y"]), len(found) - 1)


def mask_contaminants(images: Tensor) -> tuple[Tensor, Tensor]:
    """Stretched images (N, 3, y, x) without their neighbours, at SIDE pixels a side if they have
    more, and the share of each that is hidden, (N,), NaN where that is not known.

    In place of a neighbour stands what is opposite to it in the galaxy, and where that is no
    better, the sky.
    """
    images = _smaller(images)
    pixels = images.detach().float().cpu().numpy().copy()
    hidden = [_hide(image) for image in pixels]
    return torch.from_numpy(pixels).to(images), torch.tensor(hidden, device=images.device)


def surroundings(flux: NDArray[np.float32], display: bool = False) -> dict[str, float]:
    """Return the values that SURROUNDINGS names, of an image (3, y, x) in nanomaggies.

    display: it is an 8-bit image.

    The flux is that of the pixels in which the galaxy stands out; NaN without a galaxy.
    """
    averaged = _smaller(torch.from_numpy(np.ascontiguousarray(flux)))
    stretch = Stretch.of([display])
    small, stretched = averaged.numpy(), stretch(averaged).numpy()
    least = np.divide(LEAST_DISPLAY if display else LEAST, stretch.softening).mean()
    seen = sources(stretched.mean(axis=0), float(least))
    sky = ~(seen.galaxy | seen.others)
    own = np.full(len(flux), np.nan)
    level = np.median(small[:, sky], axis=1) if sky.any() else np.zeros(len(small))
    if seen.centre is not None:
        area = (flux.shape[-1] // small.shape[-1]) ** 2  # pixels of the image in one of these
        own = area * (small[:, seen.galaxy].sum(axis=1) - level * seen.galaxy.sum())
    facts = (*own, seen.count, _unevenness(stretched, sky, seen.galaxy))
    return dict(zip(SURROUNDINGS, map(float, facts), strict=True))


def _hide(image: NDArray[np.float32]) -> float:
    """Hide the neighbours in an image (3, y, x), in place; the share that is hidden."""
    seen = sources(image.mean(axis=0), _HIDDEN)
    if seen.centre is None:
        return float("nan")
    if not seen.count:
        return 0.0
    other = binary_dilation(seen.others, iterations=_WINGS) & ~seen.galaxy
    sky = ~(seen.galaxy | other)
    level = np.median(image[:, sky], axis=1) if sky.any() else np.median(image, axis=(1, 2))
    y, x = np.nonzero(other)
    centre = np.array(seen.centre)[::-1, None]
    opposite = np.rint(2 * centre - np.stack([y, x])).astype(int)
    inside = ((opposite >= 0) & (opposite < len(other))).all(axis=0)
    at_y, at_x = np.where(inside, opposite, 0)
    better = inside & ~other[at_y, at_x]
    image[:, y, x] = np.where(better, image[:, at_y, at_x], level[:, None])
    return float(other.mean())


def _smaller(images: Tensor) -> Tensor:
    """Images averaged down to SIDE pixels a side, if they have more."""
    while images.shape[-1] > SIDE:
        images = F.avg_pool2d(images, 2)
    return images


def _unevenness(
    stretched: NDArray[np.float32], sky: NDArray[np.bool_], galaxy: NDArray[np.bool_]
) -> float:
    """Scatter of the sky's mean in blocks of the image, in the band where it is largest, over the
    galaxy's light (of a pixel's worth, where there is less or no galaxy).
    """
    at_y, at_x = np.nonzero(sky)
    block = at_y // _BLOCK * SIDE + at_x // _BLOCK
    count = np.bincount(block)
    means = np.stack([
        np.bincount(block, band[sky])[count >= _FILLED] / count[count >= _FILLED]
        for band in stretched
    ])  # fmt: skip
    if means.shape[1] < 2:
        return float("nan")
    level = np.median(stretched[:, sky], axis=1)
    light = (stretched[:, galaxy].sum(axis=1) - level * galaxy.sum()).mean()
    return float(means.std(axis=1).max() / max(light, 1))
