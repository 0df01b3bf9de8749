"""From the frame of a galaxy to the sky: projection of thick layers, dust in them, pixels.

Coordinates, in arcsec: x, y in the plane of a disc and z above it, x along the line of nodes; u, v
on the sky along the major and the minor axis, so that u = x and v = y cos i - z sin i; s along the
line of sight towards the observer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.special import gamma, ndtr

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.simulation.population import Galaxy
from VAE_model.simulation.scene import GRID, MIDDLE, Scene

Map = NDArray[np.float32]
_EXTINCTION = np.array([1.25, 1.0, 0.55])  # optical depth in g, r, z relative to r
_NODES = np.array([-np.sqrt(3), 0.0, np.sqrt(3)])  # Gauss-Hermite, of a unit Gaussian
_WEIGHTS = np.array([1, 4, 1]) / 6
_LEAST_COSINE = 1e-3


def projection(rows: int, seen: int, cell: float, inclination: float, height: float) -> Map:
    """Return the matrix (seen, rows) that projects a face-on map (rows, columns) of a layer.

    The layer has the vertical profile sech^2(z / height), height in arcsec. Each cell, a box `cell`
    arcsec wide, is spread over the cells of the sky by exact integration, so that light is
    conserved and a uniform layer stays uniform. An inclination (degrees) of 90 is no special case.
    """
    cosine = max(np.cos(np.radians(inclination)), _LEAST_COSINE)
    width = max(height * np.sin(np.radians(inclination)), 0.05 * cell)
    y = (np.arange(rows + 1) - rows / 2) * cell * cosine
    v = (np.arange(seen + 1) - seen / 2) * cell
    # the second integral of the vertical profile
    twice = width / 2 * np.logaddexp(0, 2 * (v[:, None] - y) / width)
    return (-np.diff(np.diff(twice, axis=0), axis=1) / (cell * cosine)).astype(np.float32)


def dust_in_front(
    v: NDArray, inclination: float, stars: tuple[float, float], dust: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the fractions of the dust in front of stars at three depths, (3, len(v)).

    stars, dust: rms height and rms extent in the plane, arcsec. Both are Gaussians along the line
    of sight at height v (towards the near side) on the sky. At moderate inclinations the dust lies
    in front of most stars on the near side and behind them on the far side; at 90 degrees they are
    mixed.
    """
    cosine, sine = np.cos(np.radians(inclination)), np.sin(np.radians(inclination))

    def along(height: float, extent: float) -> tuple[NDArray, float]:
        precision = (cosine / height) ** 2 + (sine / extent) ** 2
        return v * cosine * sine * (height**-2 - extent**-2) / precision, precision**-0.5

    (mean, spread), (mean_dust, spread_dust) = along(*stars), along(*dust)
    return ndtr((mean_dust - mean - spread * _NODES[:, None]) / spread_dust)


def transmission(tau: Map, fractions: NDArray[np.float64]) -> Map:
    """Return the share of the light that passes the dust, (3 bands, v, u).

    tau: optical depth in r of all dust on the line of sight, (v, u); fractions: of it that lie in
    front of the stars, from dust_in_front.
    """
    passed = np.zeros((3, *tau.shape), np.float32)
    for weight, fraction in zip(_WEIGHTS, fractions.astype(np.float32), strict=True):
        depth = tau * -fraction[:, None]
        for band, extinction in zip(passed, _EXTINCTION, strict=True):
            band += np.float32(weight) * np.exp(np.float32(extinction) * depth)
    return passed


def sersic(
    u: NDArray, v: NDArray, size: float, n: float, q: float, boxiness: float = 0.0
) -> NDArray[np.float64]:
    """Return a Sersic profile of unit total flux on a grid (v, u), truncated at 7 to 8 radii.

    u: (1, N) or (M, N), v: (M, 1) or (M, N), on a regular grid; size: half-light radius along the
    major axis, in the unit of u and v; q: axis ratio. boxiness: 0 gives ellipses, 1 boxes. The
    centre is integrated over the cells (Ciotti & Bertin 1999 for the constant b).
    """
    b = 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2)
    power = 2 + 1.6 * boxiness

    def profile(u: NDArray, v: NDArray) -> NDArray:
        if boxiness:
            radius = (np.abs(u) ** power + np.abs(v / q) ** power) ** (1 / power) / size
        else:
            radius = np.hypot(u, v / q) / size
        edge = np.clip(8.0 - radius, 0, 1)
        return np.exp(-b * radius ** (1 / n)) * edge

    u, v = np.broadcast_arrays(u, v)
    light = profile(u, v)
    row, column = np.unravel_index(np.argmax(light), light.shape)
    core = np.s_[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4]
    part = (np.arange(8) - 3.5) / 8
    right, up = ([a[0, 1] - a[0, 0] for a in (u, v)], [a[1, 0] - a[0, 0] for a in (u, v)])
    fine = [
        a[core][..., None, None] + part * d + part[:, None] * e
        for a, d, e in zip((u, v), right, up, strict=True)
    ]
    light[core] = profile(*fine).mean(axis=(2, 3))
    total = 2 * np.pi * n * size**2 * q * b ** (-2 * n) * gamma(2 * n)
    return light * abs(right[0] * up[1] - right[1] * up[0]) / total


@dataclass
class SkyBox:
    """A box of pixels around a galaxy: u, v (rows, columns) in arcsec; corner: (y, x) on the grid.

    Empty if the galaxy lies outside the grid.
    """

    u: Map
    v: Map
    corner: tuple[int, int]

    @classmethod
    def around(cls, galaxy: Galaxy, along: float, across: float) -> "SkyBox":
        """Return the box that holds all points up to `along`, `across` arcsec from the centre."""
        angle = np.radians(galaxy.position_angle)
        sine, cosine = np.sin(angle), np.cos(angle)
        half_x = abs(sine) * along + abs(cosine) * across
        half_y = abs(cosine) * along + abs(sine) * across
        sides = []
        for offset, half in ((galaxy.x_offset, half_x), (galaxy.y_offset, half_y)):
            first = round(MIDDLE + (offset - half) / PIXEL_SCALE)
            last = round(MIDDLE + (offset + half) / PIXEL_SCALE)
            sides.append(np.arange(max(first, 0), min(last + 1, GRID)))
        dx = (sides[0] - MIDDLE) * PIXEL_SCALE - galaxy.x_offset
        dy = (sides[1][:, None] - MIDDLE) * PIXEL_SCALE - galaxy.y_offset
        u, v = -sine * dx + cosine * dy, -cosine * dx - sine * dy
        corner = (int(sides[1][0]), int(sides[0][0])) if dx.size and dy.size else (0, 0)
        return cls(u.astype(np.float32), v.astype(np.float32), corner)

    def add(self, scene: Scene, image: Map, cell: float, bend: NDArray) -> None:
        """Add an image (3, v, u), nanomaggies per cell of `cell` arcsec, to the scene.

        bend: displacement of the columns along v, arcsec.
        """
        if not self.u.size:
            return
        column = self.u / cell + (image.shape[2] - 1) / 2
        bent = np.interp(column, np.arange(len(bend)), bend)
        row = (self.v - bent) / cell + (image.shape[1] - 1) / 2
        light = [map_coordinates(band, [row, column], order=1) for band in image]
        scene.add_light(np.stack(light) * (PIXEL_SCALE / cell) ** 2, self.corner)
