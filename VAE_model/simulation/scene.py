"""The sky above the atmosphere: light on a grid, and GalSim profiles as Fourier transforms.

The grid is periodic, wider than the cutout, and has the surveys' pixel scale. Light without an
analytic profile (arms, knots, tails) is drawn on it; smooth profiles and point sources are added in
Fourier space, where they are exact. A survey multiplies the sum by its optics, once per band.
"""

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from VAE_model.data.cutouts import PIXEL_SCALE, SIZE

GRID = 320  # pixels: the cutout and a margin, a product of small primes
MARGIN = (GRID - SIZE) // 2
MIDDLE = (GRID - 1) / 2  # zero-based pixel coordinate of the centre of the cutout
STEP = 2 * np.pi / (GRID * PIXEL_SCALE)  # of wave numbers, 1/arcsec
_BOUNDS = galsim.BoundsI(0, GRID // 2, -GRID // 2, GRID // 2 - 1)
_FY = np.fft.fftfreq(GRID)
_FX = np.fft.rfftfreq(GRID)


def nanomaggies(mag: float | NDArray) -> float | NDArray:
    """Convert AB magnitudes to flux in nanomaggies."""
    return 10 ** (-0.4 * (np.asarray(mag) - 22.5))


def spectrum(
    flux_r: float | NDArray, g_r: float | NDArray, r_z: float | NDArray
) -> NDArray[np.float64]:
    """Return flux in g, r, z (first axis) from the flux in r and the colours."""
    flux_r, g_r, r_z = np.broadcast_arrays(flux_r, g_r, r_z)
    return np.stack([flux_r * 10 ** (-0.4 * g_r), flux_r, flux_r * 10 ** (0.4 * r_z)])


def transform(profile: galsim.GSObject) -> NDArray[np.complex64]:
    """Return the Fourier transform of a profile centred on pixel (0, 0), in fft.rfft2 order."""
    image = galsim.ImageCD(bounds=_BOUNDS, scale=STEP)
    profile._drawKImage(image)
    return np.fft.ifftshift(image.array, axes=0).astype(np.complex64)


def shift(x: float, y: float) -> NDArray[np.complex64]:
    """Return the phase factor that moves light by (x, y) pixels."""
    return np.outer(np.exp(-2j * np.pi * _FY * y), np.exp(-2j * np.pi * _FX * x)).astype(
        np.complex64
    )


class Scene:
    """Light in g, r, z, nanomaggies per pixel, before the atmosphere."""

    def __init__(self) -> None:
        self.pixels = np.zeros((3, GRID, GRID), np.float32)
        self.waves = np.zeros((3, GRID, GRID // 2 + 1), np.complex64)

    def add_profile(
        self, profile: galsim.GSObject, flux: NDArray[np.float64], x: float, y: float
    ) -> None:
        """Add a smooth profile of unit flux, scaled to `flux` (3,); x, y: arcsec right and up."""
        wave = transform(profile) * shift(MIDDLE + x / PIXEL_SCALE, MIDDLE + y / PIXEL_SCALE)
        self.waves += flux.astype(np.float32)[:, None, None] * wave

    def add_points(self, flux: NDArray, x: NDArray, y: NDArray, blur: float = 0.0) -> None:
        """Add point sources: flux (3, N), positions (N,) and the sigma of a blur in pixels."""
        rows = np.exp(-2j * np.pi * _FY[:, None] * y).astype(np.complex64)
        columns = np.exp(-2j * np.pi * _FX[:, None] * x).astype(np.complex64).T
        if blur:
            rows *= np.exp(-2 * (np.pi * blur * _FY) ** 2).astype(np.float32)[:, None]
            columns *= np.exp(-2 * (np.pi * blur * _FX) ** 2).astype(np.float32)
        for wave, band in zip(self.waves, flux.astype(np.float32), strict=True):
            wave += (rows * band) @ columns

    def add_map(self, light: NDArray, flux: NDArray, corner: tuple[int, int]) -> None:
        """Add a map whose sum is scaled to `flux` in each band; corner: its (y, x) on the grid."""
        rows = slice(corner[0], corner[0] + light.shape[0])
        columns = slice(corner[1], corner[1] + light.shape[1])
        total = light.sum(dtype=np.float64)
        scale = (flux / total).astype(np.float32)
        self.pixels[:, rows, columns] += scale[:, None, None] * light

    def add_light(self, light: NDArray[np.float32], corner: tuple[int, int]) -> None:
        """Add light (3, rows, columns), nanomaggies per pixel; corner: its (y, x) on the grid."""
        rows = slice(corner[0], corner[0] + light.shape[1])
        columns = slice(corner[1], corner[1] + light.shape[2])
        self.pixels[:, rows, columns] += light

    def add_blobs(
        self, flux: NDArray, x: NDArray, y: NDArray, size: NDArray, q: NDArray, angle: NDArray,
        half: int = 14,
    ) -> None:  # fmt: skip
        """Add small exponential galaxies: flux (3, N), positions and scale lengths (N,) in pixels.

        They are sampled once per pixel and scaled to their flux: their cores are far below the
        seeing.
        """
        offsets = np.arange(-half, half + 1)
        column, row = np.round(x).astype(int), np.round(y).astype(int)
        dx = offsets[None, None, :] - (x - column)[:, None, None]
        dy = offsets[None, :, None] - (y - row)[:, None, None]
        cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        along, across = dx * cos + dy * sin, (dy * cos - dx * sin) / q[:, None, None]
        radius = np.sqrt(along**2 + across**2 + 0.3)  # softened for the sampling
        stamps = np.exp(-radius / size[:, None, None])
        stamps /= stamps.sum(axis=(1, 2), keepdims=True)
        for stamp, band, i, j in zip(stamps, flux.T, row, column, strict=True):
            place = np.ix_((i + offsets) % GRID, (j + offsets) % GRID)
            for plane, value in zip(self.pixels, band, strict=True):
                plane[place] += value * stamp

    def flux_r(self, radius: float) -> float:
        """Return the light in r within `radius` arcsec of the centre, nanomaggies.

        The seeing is 1.2 arcsec; without seeing, a star would ring through the whole grid.
        """
        y, x = np.ogrid[:GRID, :GRID]
        inside = np.hypot(x - MIDDLE, y - MIDDLE) <= radius / PIXEL_SCALE
        wave = 2 * np.pi / PIXEL_SCALE * np.hypot(_FY[:, None], _FX)
        seeing = np.exp(-0.5 * (wave * 1.2 / 2.3548) ** 2)
        light = fft.irfft2((self.waves[1] + fft.rfft2(self.pixels[1])) * seeing, s=(GRID, GRID))
        return float(light[inside].sum(dtype=float))

    def fourier(self) -> NDArray[np.complex64]:
        """Return the Fourier transform of the scene, (3, GRID, GRID // 2 + 1)."""
        return self.waves + fft.rfft2(self.pixels)


def profile_on_grid(profile: galsim.GSObject, x: float, y: float) -> NDArray[np.float32]:
    """Return a profile of unit flux as light per pixel; x, y: arcsec from the centre.

    A blur of a third of an arcsec suppresses ringing of the core.
    """
    smooth = transform(galsim.Convolve(profile, galsim.Gaussian(sigma=0.3)))
    centre = shift(MIDDLE + x / PIXEL_SCALE, MIDDLE + y / PIXEL_SCALE)
    return np.maximum(fft.irfft2(smooth * centre, s=(GRID, GRID)), 0)
