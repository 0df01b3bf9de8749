"""Segmentation of an image: the light of the galaxy, and that of other sources.

Sources are detected and deblended with the algorithm of SExtractor (Bertin & Arnouts 1996, A&AS
117, 393; sep, Barbary 2016, JOSS 1, 58) on the mean of the bands of the stretched image. The source
in the middle is the galaxy; all others (stars, chance companions, separate parts of a merger) are
contaminants. If no source is in the middle (an empty frame), or sep fails (a crowded one), nothing
is masked, and the masked fraction is NaN.
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

SIDE = 128  # pixels per side of the image in which sources are detected: 0.52 arcsec each
_DETECTED = 3.0  # detection threshold, sigma of the sky
_SMOOTHED = np.ones((3, 3), np.float32)  # kernel applied before detection
_DEBLENDED = 0.003  # minimum fraction of a source's light in a peak that is a separate source
# Noise for masking, so that deeper images mask the same sources: of an image of DECaLS (median
# 0.129) that is degradation.DEPTH_LOSS shallower (benchmarks/experiments/degradation.py).
_LEAST_NOISE = 0.19
_MIDDLE = 6  # pixels from the middle within which the galaxy is sought
_WINGS = 2  # pixels by which masks extend beyond the detected light
_BLOCK = 16  # pixels per side of the blocks in which the sky is compared
_FILLED = 60  # minimum pixels of sky in a block

SURROUNDINGS = {  # column: meaning
    "flux_g": "flux of the galaxy in g, nanomaggies above the sky (8-bit images: brightness)",
    "flux_r": "the same in r",
    "flux_z": "the same in z",
    "n_sources": "number of sources besides the galaxy",
    "background_rms_over_flux": "rms of the sky between blocks over the galaxy's light",
}


@dataclass(frozen=True)
class Sources:
    """Segmentation of an image.

    galaxy, others: masks of the galaxy and of all other sources, bool (y, x); centre: x, y of the
    galaxy, pixels, None if no source is in the middle; count: sources besides the galaxy.
    """

    galaxy: NDArray[np.bool_]
    others: NDArray[np.bool_]
    centre: tuple[float, float] | None
    count: int


def sources(light: NDArray[np.float32], least: float) -> Sources:
    """Return the sources in an image (y, x), stretched and averaged over the bands.

    least: the minimum of the sky sigma that sets the detection threshold.
    """
    light = np.ascontiguousarray(light, np.float32)
    nothing = np.zeros(light.shape, bool)
    try:
        found, label = sep.extract(
            light - np.median(light), _DETECTED, err=max(spread(light), least),
            filter_kernel=_SMOOTHED, deblend_cont=_DEBLENDED, segmentation_map=True,
        )  # fmt: skip
    except Exception as refusal:  # sep has no exception of its own for a crowded image
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
    """Return stretched images (N, 3, y, x) without contaminants, and the masked fraction, (N,).

    Images of more than SIDE pixels per side are averaged down. Contaminants are replaced by the
    pixels opposite to them in the galaxy, or by the sky where these are masked too. The fraction is
    NaN where no galaxy was found.
    """
    images = _smaller(images)
    pixels = images.detach().float().cpu().numpy().copy()
    masked = [_mask(image) for image in pixels]
    return torch.from_numpy(pixels).to(images), torch.tensor(masked, device=images.device)


def surroundings(flux: NDArray[np.float32], display: bool = False) -> dict[str, float]:
    """Return the columns SURROUNDINGS of an image (3, y, x) in nanomaggies.

    display: 8-bit image. The flux is summed over the pixels where the galaxy is detected; NaN
    without a galaxy.
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


def _mask(image: NDArray[np.float32]) -> float:
    """Replace the contaminants in an image (3, y, x), in place; return the masked fraction."""
    seen = sources(image.mean(axis=0), _LEAST_NOISE)
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
    """Return images averaged down to at most SIDE pixels per side."""
    while images.shape[-1] > SIDE:
        images = F.avg_pool2d(images, 2)
    return images


def _unevenness(
    stretched: NDArray[np.float32], sky: NDArray[np.bool_], galaxy: NDArray[np.bool_]
) -> float:
    """Return the standard deviation of the sky between blocks, over the galaxy's light.

    It is that of the band where it is largest; the light is at least 1.
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
