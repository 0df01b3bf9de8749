"""Disc galaxies: face-on maps of their parts, projected onto the sky at any inclination.

Old stars, young stars, a bar and dust have maps in the plane of the disc, so that arms are bluer
than the regions between them, and layers of different thickness. The bulge is an oblate Sersic
profile. All are drawn alike at inclinations from 0 to 90 degrees (projection.py).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates
from scipy.special import expit

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.simulation.population import Galaxy
from VAE_model.simulation.projection import (
    Map,
    SkyBox,
    dust_in_front,
    projection,
    sersic,
    transmission,
)
from VAE_model.simulation.scene import Scene, nanomaggies, spectrum

_REACH = 5.6  # of the maps, in scale lengths
_YOUNG, _DUST, _BAR = 0.55, 0.4, 1.2  # scale heights relative to that of the old stars
_RMS_HEIGHT, _RMS_EXTENT = 0.91, 1.3  # of a layer, in scale heights and scale lengths
_BASIS = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)


@lru_cache(maxsize=32)
def _spline_weights(size: int, n: int) -> Map:
    """Return the weights (size, n + 3) of cubic B-splines at `size` places across n cells."""
    place = 1 + np.linspace(0, n, size)[:, None]
    return np.nan_to_num(_BASIS(place - np.arange(n + 3))).astype(np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cells: float) -> Map:
    """Return a Gaussian field of unit variance with about `cells` independent cells per axis."""
    n = max(2, round(cells))
    field = rng.standard_normal((n + 3,) * len(shape)).astype(np.float32)
    for axis, size in enumerate(shape):
        field = np.moveaxis(np.tensordot(_spline_weights(size, n), field, axes=(1, axis)), 0, axis)
    return field / max(float(field.std()), 1e-3)


@dataclass
class Plane:
    """The plane of a disc: square cells, coordinates (rows y, columns x) in scale lengths.

    x, y, radius and angle (radians) are bent by disturbances; cell: width, arcsec.
    """

    x: Map
    y: Map
    radius: Map
    angle: Map
    cell: float

    @classmethod
    def of(cls, galaxy: Galaxy, rng: np.random.Generator) -> "Plane":
        """Return the plane of a galaxy, with cells no larger than pixels."""
        h = galaxy.scale_length
        cell = float(np.clip(h / 14, 0.12, PIXEL_SCALE))
        half = int(np.ceil(_REACH * h / cell))
        side = ((np.arange(2 * half) - half + 0.5) * cell / h).astype(np.float32)
        shape = (2 * half, 2 * half)
        bend = 0.06 + 0.40 * galaxy.disturbance + 0.15 * galaxy.lopsidedness
        x = side + bend * smooth_noise(rng, shape, 4.5)
        y = side[:, None] + bend * smooth_noise(rng, shape, 4.5)
        # off-centre inside, as the light of many late discs is
        shift, towards = 0.9 * galaxy.lopsidedness, rng.uniform(0, 2 * np.pi)
        inside = shift * np.exp(-0.5 * (side**2 + side[:, None] ** 2))
        x, y = x - inside * math.cos(towards), y - inside * math.sin(towards)
        return cls(x, y, np.hypot(x, y), np.arctan2(y, x), cell)


class Part(NamedTuple):
    """A part of a galaxy as seen without dust."""

    light: NDArray  # (v, u), of any sum
    share: float  # of the galaxy's light in r
    g_r: float
    r_z: float
    height: float  # rms along the line of sight if edge-on, arcsec
    extent: float  # rms along the line of sight if face-on


def add_disc(scene: Scene, galaxy: Galaxy, rng: np.random.Generator) -> None:
    """Add a disc galaxy with all its structure except tidal tails.

    Dust dims and reddens it; its magnitude in r is that of the dimmed light.
    """
    plane = Plane.of(galaxy, rng)
    old, young, dust = _face_on_maps(plane, galaxy, rng)
    h, height, cell, tilt = galaxy.scale_length, galaxy.scale_height, plane.cell, galaxy.inclination
    sine, cosine = math.sin(math.radians(tilt)), math.cos(math.radians(tilt))
    bulge, size = galaxy.bulge_fraction, h * (0.28 + 0.75 * galaxy.bulge_fraction)
    half = max(len(old) / 2 * cell * cosine + 4 * height * sine, 6 * size * galaxy.bulge_axis_ratio)
    rows = 2 * min(math.ceil(half / cell) + 2, len(old) // 2)
    u = (np.arange(old.shape[1]) - (old.shape[1] - 1) / 2)[None, :] * cell
    v = (np.arange(rows) - (rows - 1) / 2)[:, None] * cell

    def project(layer: Map, relative: float) -> Map:
        return projection(len(layer), rows, cell, tilt, relative * height) @ layer

    disc = (1 - bulge) * (1 - galaxy.bar_fraction)
    bluer = 0.06 + 0.08 * galaxy.young_fraction  # than the bulge
    thick, wide = _RMS_HEIGHT * height, _RMS_EXTENT * h
    parts = [
        Part(project(old, 1), disc * (1 - galaxy.young_fraction), galaxy.g_r_old - bluer,
             galaxy.r_z_old - bluer, thick, wide),
        Part(project(young, _YOUNG), disc * galaxy.young_fraction, galaxy.g_r_young,
             galaxy.r_z_young, _YOUNG * thick, wide),
        Part(sersic(u, v, size, galaxy.sersic_n, galaxy.bulge_axis_ratio, galaxy.boxiness), bulge,
             galaxy.g_r_old, galaxy.r_z_old, 0.68 * size, size),
    ]  # fmt: skip
    if galaxy.bar_fraction:
        bar = (1 - bulge) * galaxy.bar_fraction
        parts.append(
            Part(project(_bar(plane, galaxy), _BAR), bar, galaxy.g_r_old - 0.02, galaxy.r_z_old,
                 _BAR * thick, wide)
        )  # fmt: skip
    tau = project(dust, _DUST)
    towards_us = rng.choice([-1, 1]) * v[:, 0]  # the near side is one of the two
    image = np.zeros((3, *tau.shape), np.float32)
    for part in parts:
        hidden = dust_in_front(towards_us, tilt, (part.height, part.extent), (_DUST * thick, wide))
        flux = spectrum(part.share / part.light.sum(), part.g_r, part.r_z).astype(np.float32)
        image += flux[:, None, None] * part.light * transmission(tau, hidden)
    image *= float(nanomaggies(galaxy.mag_r)) / image[1].sum(dtype=float)
    reach = np.abs(u[0]) / h
    warp = (0.03 + 0.25 * galaxy.disturbance) * height * sine * np.minimum(reach / 2, 2) ** 2
    warp = warp * smooth_noise(rng, reach.shape, 3)
    box = SkyBox.around(galaxy, len(old) / 2 * cell, rows / 2 * cell + abs(warp).max())
    box.add(scene, image, cell, warp)


def _face_on_maps(plane: Plane, galaxy: Galaxy, rng: np.random.Generator) -> tuple[Map, Map, Map]:
    """Return the maps of the old stars, the young stars, and the optical depth of the dust."""
    radius = plane.radius
    edge, soft = rng.uniform(3.2, 4.8), rng.uniform(0.12, 0.4)
    fall = expit((edge - radius) / soft)
    fall *= 1 + min(galaxy.lopsidedness, 0.7) * np.cos(
        plane.angle - rng.uniform(0, 2 * np.pi)
    ) * np.minimum(radius / 2, 1)
    old = np.exp(-radius) * fall
    young = np.exp(-radius / 1.25) * fall * (1 - 0.6 * np.exp(-radius / 0.5))
    patches = smooth_noise(rng, radius.shape, 20)
    grains = smooth_noise(rng, radius.shape, 40)
    texture = 0.5 * patches + 0.6 * grains + 0.85 * _sheared_noise(plane, galaxy, rng)
    texture *= galaxy.flocculence
    arms, lanes = _arms(plane, galaxy, rng)
    strength = galaxy.arm_strength
    dust = galaxy.dust * np.exp(-radius / 1.3) * fall * np.exp(0.8 * texture)
    dust *= 1 - 0.4 * strength + 4 * strength * lanes + strength * arms
    old *= (1 + 0.9 * strength * arms) * np.exp(0.25 * texture)
    young *= (1.05 - strength + 4.5 * strength * arms) * np.exp(texture * (1.6 - 0.4 * strength))
    if galaxy.bar_strength:  # a bar clears its surroundings
        inside = np.exp(-((radius / (0.85 * galaxy.bar_length)) ** 4))
        old *= 1 - 0.45 * galaxy.bar_strength * inside
        young *= 1 - 0.85 * galaxy.bar_strength * inside
        dust *= 1 - 0.7 * galaxy.bar_strength * inside
    if galaxy.ring_fraction:
        width = rng.uniform(0.12, 0.22)
        ring = np.exp(-0.5 * ((radius - galaxy.ring_radius) / width) ** 2) * np.exp(0.3 * texture)
        share = galaxy.ring_fraction / float(ring.sum())
        old = old / old.sum() + share * ring
        young = young / young.sum() + 4 * share * ring
    if galaxy.knots:
        young = _with_knots(plane, galaxy, rng, young)
    return old.astype(np.float32), young.astype(np.float32), dust.astype(np.float32)


def _arms(plane: Plane, galaxy: Galaxy, rng: np.random.Generator) -> tuple[Map, Map]:
    """Return logarithmic arms with a peak of about 1, and the dust on their concave sides.

    Each arm has its own strength, width and extent.
    """
    start = max(0.55, galaxy.bar_length)
    log_radius = np.log(np.maximum(plane.radius, 0.05) / start)
    wind = galaxy.handedness / math.tan(math.radians(galaxy.pitch))
    wobble = 0.16 * smooth_noise(rng, plane.radius.shape, 5) * np.minimum(plane.radius, 1.5)
    phase = plane.angle - wind * log_radius + wobble
    first = math.radians(galaxy.bar_angle if galaxy.bar_strength > 0.2 else galaxy.arm_phase)
    arms, lanes = np.zeros_like(plane.radius), np.zeros_like(plane.radius)
    for arm in range(galaxy.arms):
        irregular = 0.06 if galaxy.arms == 2 else 0.2
        place = first + 2 * np.pi * arm / galaxy.arms + rng.normal(0, irregular)
        width = rng.uniform(0.36, 0.5) * (2 / max(galaxy.arms, 2)) ** 0.6
        weight = rng.uniform(0.7, 1.0) * expit((rng.uniform(2.6, 4.0) - plane.radius) / 0.3)
        arms += weight * np.exp((np.cos(phase - place) - 1) / width**2)
        lane = place + 1.2 * galaxy.handedness * width
        lanes += weight * np.exp((np.cos(phase - lane) - 1) / (0.45 * width) ** 2)
    begin = expit((plane.radius - 0.9 * start) / (0.12 * start))
    return arms * begin, np.minimum(lanes * begin, 1)


def _sheared_noise(plane: Plane, galaxy: Galaxy, rng: np.random.Generator) -> Map:
    """Return noise that differential rotation has sheared into short pieces of arms."""
    wind = galaxy.handedness / math.tan(math.radians(galaxy.pitch))
    rings, sectors = 26, 22
    field = rng.standard_normal((rings, sectors)).astype(np.float32)
    log_radius = np.log(np.maximum(plane.radius, 0.1))
    turn = (plane.angle - wind * log_radius) / (2 * np.pi) * sectors
    rows = np.clip((log_radius + 2.3) * 6.0, 0, rings - 1)
    noise = map_coordinates(field, [rows, turn % sectors], order=1, mode="grid-wrap")
    return noise * np.minimum(plane.radius / 0.5, 1)


def _bar(plane: Plane, galaxy: Galaxy) -> Map:
    length = galaxy.bar_length
    width = length * (0.46 - 0.18 * galaxy.bar_strength)
    angle = math.radians(galaxy.bar_angle)
    along = plane.x * math.cos(angle) + plane.y * math.sin(angle)
    across = plane.y * math.cos(angle) - plane.x * math.sin(angle)
    reach = (np.abs(along / length) ** 2.6 + np.abs(across / width) ** 2.6) ** (1 / 2.6)
    return np.exp(-1.2 * reach**2.2).astype(np.float32)


def _with_knots(plane: Plane, galaxy: Galaxy, rng: np.random.Generator, young: Map) -> Map:
    """Return the young light with star-forming regions, placed in proportion to it."""
    share = 0.10 * min(galaxy.knots / 20, 2.5) * (0.5 + 0.5 * rng.random())
    light = young * ((1 - share) / young.sum())
    chance = np.cumsum((young * np.minimum(plane.radius, 2)).ravel())
    place = np.searchsorted(chance, rng.random(galaxy.knots) * chance[-1])
    rows, columns = np.unravel_index(np.minimum(place, young.size - 1), young.shape)
    fluxes = rng.pareto(1.6, galaxy.knots) + 0.3
    sizes = np.maximum(
        rng.uniform(0.05, 0.13, galaxy.knots) * galaxy.scale_length / plane.cell, 0.8
    )
    for row, column, flux, size in zip(rows, columns, share * fluxes / fluxes.sum(), sizes,
                                       strict=True):  # fmt: skip
        half = int(np.ceil(3.5 * size))
        low, left = max(row - half, 0), max(column - half, 0)
        blob = np.exp(-0.5 * ((np.arange(low, min(row + half + 1, len(young))) - row) / size) ** 2)
        other = np.arange(left, min(column + half + 1, len(young))) - column
        stamp: NDArray = np.outer(blob, np.exp(-0.5 * (other / size) ** 2))
        light[low : low + stamp.shape[0], left : left + stamp.shape[1]] += (
            flux * stamp / stamp.sum()
        )
    return light
