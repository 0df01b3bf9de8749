"""Images of galaxies at lower signal-to-noise, as a worse exposure would show them.

The reproducibility of a feature is known where it is measured twice. Surveys rarely image a galaxy
twice, so the second image is made from the first: rotated by any angle, shifted by up to two
pixels, blurred from a seeing of 1.3 to 1.5 arcsec, and with the noise of half the exposure time.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_LARGEST_SHIFT = 2.0  # pixels in x and y
_BLUR = 1.2  # pixels, sigma: 0.31 arcsec
_ADDED_NOISE = 1.0  # in units of the sky's sigma
_NOISE_BLUR = 0.7  # pixels, sigma: neighbouring pixels of a coadd have a correlation of 0.6


def degrade(flux: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """Return degraded images (N, 3, y, x).

    noise: sky sigma of each band, (N, 3), in the unit of `flux`; generator: on the CPU.
    """
    count, side = len(flux), flux.shape[-1]
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * _LARGEST_SHIFT * 2 / side
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(flux), list(flux.shape), align_corners=False)
    turned = F.grid_sample(flux, grid, "bicubic", "reflection", align_corners=False)
    correlated = _blur(torch.randn(flux.shape, generator=generator).to(flux), _NOISE_BLUR)
    sigma = _ADDED_NOISE * noise.to(flux)[:, :, None, None]
    return _blur(turned, _BLUR) + sigma * correlated / _gaussian(_NOISE_BLUR).square().sum()


def _gaussian(sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    return window / window.sum()


def _blur(images: Tensor, sigma: float) -> Tensor:
    bands = images.shape[1]
    line = _gaussian(sigma).to(images).expand(bands, 1, 1, -1)
    reach = line.shape[-1] // 2
    across = F.conv2d(F.pad(images, (reach, reach, 0, 0), "reflect"), line, groups=bands)
    padded = F.pad(across, (0, 0, reach, reach), "reflect")
    return F.conv2d(padded, line.transpose(2, 3), groups=bands)
