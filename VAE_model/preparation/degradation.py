"""Images of galaxies at lower signal-to-noise, as a worse exposure would show them.

The reproducibility of a feature is known where it is measured twice. Surveys rarely image a galaxy
twice, so the second image is made from the first. The seeing becomes SEEING times worse, and noise
of the image's own autocorrelation is added until the depth for point sources is DEPTH_LOSS
magnitudes less; the image is rotated by any angle and shifted by up to half a pixel.

Both constants are chosen on two exposures of the same galaxies by the first survey
(benchmarks/experiments/degradation.py), without the second survey.

Depth is the flux error of a point source by photometry weighted with the PSF P. With the noise's
power spectrum N its variance is sum(|P|^2 N) / sum(|P|^2)^2. The blur multiplies P by B and N by
|B|^2. The added noise has the power (c - |B|^2) N, so that the total is c N, the noise of the image
at a higher level, and c follows from the depth.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.surveys import DECALS

DEPTH_LOSS = 0.4
"""Magnitudes by which the depth for point sources is reduced."""
SEEING = 1.15
"""FWHM of the PSF after degradation, in units of that before."""

_SHIFT = 0.5  # pixels in x and y: a star may fall anywhere on its pixel
_BLOCK = 4  # pixels a side of the blocks in which sources are detected
_DETECTED = 3.5  # sigma of the blocks above which they and the blocks around hold a source
_REACH = 3  # pixels: noise farther apart is uncorrelated
_FAR = 8  # pixels: there only faint sources and the unevenness of the sky are correlated


def degrade(
    flux: Tensor,
    noise: Tensor,
    generator: torch.Generator,
    depth_loss: float = DEPTH_LOSS,
    seeing: float = SEEING,
    moved: bool = True,
) -> Tensor:
    """Return degraded images (N, 3, y, x).

    noise: sky sigma of each band, (N, 3), in the unit of `flux`; generator: on the CPU; moved: the
    images are rotated and shifted. Raises ValueError where the blur alone costs more than
    `depth_loss`.
    """
    side = flux.shape[-1]
    before = psf_transfer(side, 1.0).to(flux)
    blur = psf_transfer(side, seeing).to(flux) / before
    spectrum = noise_spectrum(flux, noise)
    level = _noise_level(before, blur, spectrum, depth_loss)
    if float(level.min()) < 1:
        raise ValueError(f"seeing {seeing:g} costs more than {depth_loss:g} magnitudes of depth")
    blurred = torch.fft.irfft2(torch.fft.rfft2(flux) * blur, s=flux.shape[2:])
    if moved:
        blurred = _moved(blurred, generator)
    white = torch.randn(flux.shape, generator=generator).to(flux)
    amplitude = ((level - blur.square()) * spectrum).sqrt()
    added = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=flux.shape[2:])
    return blurred + noise.to(flux)[:, :, None, None] * added


def _moved(flux: Tensor, generator: torch.Generator) -> Tensor:
    """Return images rotated by any angle and shifted by up to _SHIFT pixels."""
    count, side = len(flux), flux.shape[-1]
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    shift = (2 * torch.rand(count, 2, generator=generator) - 1) * _SHIFT * 2 / side
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(flux), list(flux.shape), align_corners=False)
    return F.grid_sample(flux, grid, "bicubic", "reflection", align_corners=False)


def psf_transfer(side: int, seeing: float) -> Tensor:
    """Return the Fourier transform of the PSF in each band, (3, side, side // 2 + 1), as by rfft2.

    It is that of a Moffat profile with beta = 2.5, (1 + a k) exp(-a k), with a the scale radius;
    seeing: its FWHM in units of the median of DECaLS.
    """
    along_y, along_x = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    wave = torch.hypot(along_y, along_x) * 2 * math.pi / PIXEL_SCALE
    fwhm = torch.tensor(DECALS.fwhm)[:, None, None] * seeing
    scaled = wave * fwhm / (2 * (2**0.4 - 1) ** 0.5)
    return (1 + scaled) * torch.exp(-scaled)


def noise_spectrum(flux: Tensor, noise: Tensor) -> Tensor:
    """Return the power spectrum of the sky noise, (N, 3, y, x // 2 + 1) as by rfft2, of mean one.

    flux: (N, 3, y, x); noise: sky sigma of each band, (N, 3). It is the transform of the
    autocorrelation between pixels without detected light, up to lags of _REACH pixels. What is
    still correlated at _FAR pixels is faint light, and is subtracted.
    """
    middle = flux[..., ::2, ::2].flatten(2).median(dim=2).values[:, :, None, None]
    above = (flux - middle) / noise.to(flux)[:, :, None, None]
    blocks = F.avg_pool2d(above, _BLOCK)
    spread = 1.4826 * blocks.flatten(2).abs().median(dim=2).values[:, :, None, None]
    bright = F.max_pool2d((blocks > _DETECTED * spread).to(flux), 3, 1, 1)
    sky = F.interpolate(1 - bright, flux.shape[2:])
    correlation = _autocorrelation(above.clamp(-5, 5), sky)
    far = (correlation[..., 0, _FAR] + correlation[..., _FAR, 0])[:, :, None, None] / 2
    variance = (correlation[..., :1, :1] - far).clamp_min(1e-6)
    lag = torch.fft.fftfreq(flux.shape[-1], 1 / flux.shape[-1]).to(flux)
    near = torch.hypot(lag[:, None], lag) <= _REACH
    correlation = torch.where(near, (correlation - far) / variance, 0)
    correlation[..., 0, 0] = 1
    power = torch.fft.rfft2(correlation).real.clamp_min(0)
    return power * flux[0, 0].numel() / _sum(power)


def _autocorrelation(values: Tensor, use: Tensor) -> Tensor:
    """Return the mean product of pixels at each lag, (N, 3, y, x), over the pixels in `use`."""

    def products(images: Tensor) -> Tensor:
        transform = torch.fft.rfft2(images)
        power = transform.real.square() + transform.imag.square()
        return torch.fft.irfft2(power, s=images.shape[-2:])

    pixels = use.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    values = (values - (values * use).sum(dim=(2, 3), keepdim=True) / pixels) * use
    return products(values) / products(use).clamp_min(1)


def _noise_level(psf: Tensor, blur: Tensor, spectrum: Tensor, depth_loss: float) -> Tensor:
    """Return c, (N, 3, 1, 1): the noise power after degradation in units of that before."""

    def variance(psf: Tensor) -> Tensor:
        power = psf.square()
        return _sum(power * spectrum) / _sum(power).square()

    return 10 ** (0.8 * depth_loss) * variance(psf) / variance(psf * blur)


def _sum(half: Tensor) -> Tensor:
    """Return the sum over all frequencies, (..., 1, 1), of an even function in the order of rfft2.

    The frequencies along x that rfft2 leaves out are those below zero.
    """
    return half.sum(dim=(-2, -1), keepdim=True) + half[..., 1:-1].sum(dim=(-2, -1), keepdim=True)
