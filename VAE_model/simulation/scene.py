"""The sky above the atmosphere: light on a grid, and point sources as Fourier transforms.

The grid is periodic and wider than the cutout; its pixels are those of the surveys' coadds. Point
sources are added in Fourier space, where they are exact. A survey multiplies the sum by the core of
its PSF, which is narrower than the margins, so that no light of one side of the grid reaches the
cutout from the other. The wings of the PSF are wider; they act on the same light in coarse pixels,
which do not repeat.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from VAE_model.data.cutouts import PIXEL_SCALE, SIZE

GRID = 384  # pixels: the cutout and a margin, a product of small primes
MARGIN = (GRID - SIZE) // 2
COARSE = 6  # pixels per side of a coarse pixel
MIDDLE = (GRID - 1) / 2  # zero-based pixel coordinate of the centre of the cutout
FAR = GRID // COARSE  # coarse pixels per side of the grid
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


class Light(NamedTuple):
    """The light of a scene in g, r, z, as a survey observes it.

    waves: Fourier transform of nanomaggies per pixel, complex64 (3, GRID, GRID // 2 + 1);
    coarse: nanomaggies per coarse pixel, float32 (3, FAR, FAR).
    """

    waves: NDArray[np.complex64]
    coarse: NDArray[np.float32]


class Scene:
    """Light in g, r, z, nanomaggies per pixel, before the atmosphere."""

    def __init__(self) -> None:
        self.pixels = np.zeros((3, GRID, GRID), np.float32)
        self.waves = np.zeros((3, GRID, GRID // 2 + 1), np.complex64)
        self.coarse = np.zeros((3, FAR, FAR), np.float32)  # of the waves

    def add_points(self, flux: NDArray, x: NDArray, y: NDArray, blur: float = 0.0) -> None:
        """Add point sources: flux (3, N), positions (N,) and the sigma of a blur in pixels."""
        rows = np.exp(-2j * np.pi * _FY[:, None] * y).astype(np.complex64)
        columns = np.exp(-2j * np.pi * _FX[:, None] * x).astype(np.complex64).T
        if blur:
            rows *= np.exp(-2 * (np.pi * blur * _FY) ** 2).astype(np.float32)[:, None]
            columns *= np.exp(-2 * (np.pi * blur * _FX) ** 2).astype(np.float32)
        for wave, band in zip(self.waves, flux.astype(np.float32), strict=True):
            wave += (rows * band) @ columns
        self._add_coarse(flux, (x + 0.5) / COARSE - 0.5, (y + 0.5) / COARSE - 0.5)

    def _add_coarse(self, flux: NDArray, x: NDArray, y: NDArray) -> None:
        """Share the light of points between the four coarse pixels around each."""
        left, low = np.floor(x).astype(int), np.floor(y).astype(int)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = 1 - np.abs(left + column - x)
            weight = weight * (1 - np.abs(low + row - y))
            i, j = np.clip(low + row, 0, FAR - 1), np.clip(left + column, 0, FAR - 1)
            for plane, band in zip(self.coarse, flux, strict=True):
                np.add.at(plane, (i, j), weight * band)

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
            low, left = i - half, j - half
            if not (-2 * half <= low < GRID and -2 * half <= left < GRID):
                continue  # outside the grid
            rows = slice(max(low, 0), low + 2 * half + 1)
            columns = slice(max(left, 0), left + 2 * half + 1)
            part = stamp[rows.start - low :, columns.start - left :]
            part = part[: GRID - rows.start, : GRID - columns.start]
            self.pixels[:, rows, columns] += band[:, None, None] * part

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

    def fourier(self) -> Light:
        """Return the light as a survey observes it."""
        drawn = self.pixels.reshape(3, FAR, COARSE, FAR, COARSE).sum(axis=(2, 4))
        return Light(self.waves + fft.rfft2(self.pixels), self.coarse + drawn)
