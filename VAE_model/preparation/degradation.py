"""The same galaxies as another exposure might show them: turned, shifted, blurred, and noisier.

How far a number that describes a galaxy can be trusted is seen where it is measured twice. Surveys
take few galaxies twice, so the second time is made up from the first: by any angle and part of a
pixel elsewhere, with a seeing of 1.3 arcsec grown to 1.5, and in half of the exposure time.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_SHIFT = 2.0  # pixels, by how much in x and y at most
_BLUR = 1.2  # pixels, sigma: 0.31 arcsec
_NOISE = 1.0  # of the sky's sigma, added
_COARSE = 0.7  # pixels, sigma of the grain of the noise: coadded pixels share 0.6 with the next


def second_look(flux: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 3, y, x) taken once more. noise: sky sigma of each band, (N, 3), in the unit of
    `flux`; generator: of the random draws, on the CPU."""
    count, side = len(flux), flux.shape[-1]
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * _SHIFT * 2 / side
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(flux), list(flux.shape), align_corners=False)
    turned = F.grid_sample(flux, grid, "bicubic", "reflection", align_corners=False)
    grain = _blurred(torch.randn(flux.shape, generator=generator).to(flux), _COARSE)
    sigma = noise.to(flux)[:, :, None, None]
    return _blurred(turned, _BLUR) + _NOISE * sigma * grain / _window(_COARSE).square().sum()


def _window(sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    return window / window.sum()


def _blurred(images: Tensor, sigma: float) -> Tensor:
    bands = images.shape[1]
    line = _window(sigma).to(images).expand(bands, 1, 1, -1)
    reach = line.shape[-1] // 2
    across = F.conv2d(F.pad(images, (reach, reach, 0, 0), "reflect"), line, groups=bands)
    padded = F.pad(across, (0, 0, reach, reach), "reflect")
    return F.conv2d(padded, line.transpose(2, 3), groups=bands)
