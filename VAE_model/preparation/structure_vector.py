"""The structure vector: features that describe how the light of a galaxy is arranged.

They are measured in the galaxy's own frame (pose.py), ring by ring about the centre:

- azimuthal Fourier amplitudes of each band, and the change of their phase from ring to ring (bars
  keep their phase, spiral arms turn it; Considere & Athanassoula 1988, A&AS 76, 365);
- energies of oriented wavelets, with the orientation measured against the local radius, and their
  variation around the ring (first-order scattering coefficients; Mallat 2012).

The measured centre has an error that affects the features, so each is averaged over several centres
around the measured one.

A mirror reflection changes the sign of the odd parts. These enter by absolute value, which does not
depend on handedness, and once more with their sign, averaged over rings or scales, so that the
handedness is kept.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES, ANGLES = 4, 8  # of the wavelets
RINGS, STEPS = 8, 48  # polar grid of their energy; the light has twice the rings
ORDERS = 6  # azimuthal Fourier orders 1..6
_LARGEST_RADIUS = 0.9  # of the rings, in half-widths of the frame
_OFFSET = 0.05  # of the centres from the measured one, in half-widths of the frame
# A turn by 180 degrees leaves this set of centres as it is.
_CENTRES = ((_OFFSET, 0.0), (-_OFFSET, 0.0), (0.0, _OFFSET), (0.0, -_OFFSET))
_BANDWIDTH = 2.6  # central frequency of a wavelet over the width of its window


def wavelets(side: int) -> Tensor:
    """Return Fourier transforms of Morlet wavelets of zero mean: (SCALES * ANGLES, side, side)."""
    frequency = torch.fft.fftfreq(side) * 2 * math.pi
    fy, fx = torch.meshgrid(frequency, frequency, indexing="ij")
    bank = []
    for scale in range(SCALES):
        centre = 2.2 / 2 ** (0.8 * scale)  # radians a pixel
        width = 2 * (centre / _BANDWIDTH) ** 2
        for angle in torch.arange(ANGLES) * math.pi / ANGLES:
            along, across = fx * angle.cos() + fy * angle.sin(), fy * angle.cos() - fx * angle.sin()
            at_zero = math.exp(-(_BANDWIDTH**2) / 2) * torch.exp(-(along**2) / width)
            bank.append(
                torch.exp(-(across**2) / width)
                * (torch.exp(-((along - centre) ** 2) / width) - at_zero)
            )
    return torch.stack(bank)


def describe(frames: Tensor, bank: Tensor) -> Tensor:
    """Return the structure vector, (N, K), of images in the galaxy's frame (N, 3, side, side).

    bank: `wavelets(side)`, on the device of the images.
    """
    each = torch.cat([*_wavelet_parts(frames, bank), *_azimuthal_parts(frames)], dim=1)
    return each.unflatten(0, (len(frames), len(_CENTRES))).mean(dim=1)


def length(side: int) -> int:
    """Return K, the number of features."""
    return describe(torch.zeros(1, 3, side, side), wavelets(side)).shape[1]


def _wavelet_parts(frames: Tensor, bank: Tensor) -> list[Tensor]:
    spectrum = torch.fft.fft2(frames.mean(dim=1, keepdim=True))
    energy = torch.fft.ifft2(spectrum * bank).abs()
    energy = (_rings(energy, RINGS, STEPS).unflatten(1, (SCALES, ANGLES)) + 1e-4).sqrt()
    # Fourier modes over the wavelets' angle, (.., scales, modes, rings, steps): mode k turns by
    # k times twice the azimuth when the pattern is carried around the ring.
    modes = torch.fft.fft(energy, dim=2) / ANGLES
    mean = modes[:, :, 0].real
    around = torch.fft.rfft(mean)[..., 1:5].abs() / STEPS
    parts = [mean.mean(dim=-1), mean.std(dim=-1), around]
    azimuth = torch.arange(STEPS, device=frames.device) * (2 * math.pi / STEPS)
    for k in (1, 2, 3):
        mode = (modes[:, :, k] * torch.exp(2j * k * azimuth)).mean(dim=-1)
        parts += [mode.real, mode.imag.abs(), mode.imag.mean(dim=-1)]
    return [part.flatten(1) for part in parts]


def _azimuthal_parts(frames: Tensor) -> list[Tensor]:
    modes = torch.fft.rfft(_rings(frames, 2 * RINGS, 64)) / 64
    profile, modes = modes[..., 0].real, modes[..., 1 : ORDERS + 1]
    winding = modes[:, :, 1:] * modes[:, :, :-1].conj()  # phase from each ring to the next
    winding = winding / winding.abs().sqrt().clamp_min(1e-5)
    parts = [profile, modes.abs(), winding.real, winding.imag.abs(), winding.imag.mean(dim=2)]
    return [part.flatten(1) for part in parts]


def _rings(images: Tensor, rings: int, steps: int) -> Tensor:
    """Sample images (N, C, y, x) on circles about _CENTRES: (N * centres, C, rings, steps)."""
    azimuth = torch.arange(steps, device=images.device) * (2 * math.pi / steps)
    radius = (torch.arange(rings, device=images.device) + 0.5)[:, None] / rings * _LARGEST_RADIUS
    circles = torch.stack([radius * azimuth.cos(), radius * azimuth.sin()], dim=-1)
    centres = torch.tensor(_CENTRES, device=images.device)[:, None, None]
    grid = (circles + centres).flatten(0, 1)
    read = F.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=False)
    return read.unflatten(2, (len(_CENTRES), rings)).movedim(2, 1).flatten(0, 1)
