"""Disc galaxies with structure that no smooth profile has: arms, rings, bars and texture.

The light of a disc is drawn in its own plane and then inclined. Old and young stars have separate
maps, so that arms are bluer than the regions between them.
"""

from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, map_coordinates
from scipy.special import expit, k1

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.simulation.population import Galaxy
from VAE_model.simulation.scene import GRID, MIDDLE, Scene, nanomaggies, profile_on_grid, spectrum

EDGE_ON = 78.0  # inclination (degrees) from which a disc is drawn by its vertical structure
_DUST = np.array([1.25, 1.0, 0.55])  # optical depth in g, r, z relative to r
Map = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> Map:
    """Return a Gaussian field of unit variance with about `cells` independent cells per axis."""
    n = max(2, round(cells))
    knots = rng.standard_normal((n + 3, n + 3)).astype(np.float32)
    step = n / max(shape)
    field = affine_transform(knots, [step, step], offset=1.0, output_shape=shape, order=2)
    return field / max(float(field.std()), 1e-3)


@dataclass
class Frame:
    """Coordinates of a box of pixels around a galaxy, in arcsec.

    u, v: along and across the major axis on the sky; x, y: in the plane of the disc;
    radius (arcsec) and angle (radians) in that plane; corner: of the box, (y, x) on the grid.
    """

    u: Map
    v: Map
    x: Map
    y: Map
    radius: Map
    angle: Map
    corner: tuple[int, int]

    @classmethod
    def around(
        cls, galaxy: Galaxy, rng: np.random.Generator, scale: float, q: float, stiff: float = 1.0
    ) -> "Frame":
        """Return a box that reaches `scale` arcsec to each side, bent for a disturbed galaxy."""
        half = int(min(scale / PIXEL_SCALE + 2, GRID / 2))
        centre_x = MIDDLE + galaxy.x_offset / PIXEL_SCALE
        centre_y = MIDDLE + galaxy.y_offset / PIXEL_SCALE
        left = int(np.clip(round(centre_x) - half, 0, GRID - 1))
        low = int(np.clip(round(centre_y) - half, 0, GRID - 1))
        right, high = min(left + 2 * half, GRID), min(low + 2 * half, GRID)
        right, high = max(right, left + 1), max(high, low + 1)
        dx = ((np.arange(left, right) - centre_x) * PIXEL_SCALE).astype(np.float32)[None, :]
        dy = ((np.arange(low, high) - centre_y) * PIXEL_SCALE).astype(np.float32)[:, None]
        pa = np.radians(galaxy.position_angle)
        u = (-np.sin(pa) * dx + np.cos(pa) * dy).astype(np.float32)
        v = (-np.cos(pa) * dx - np.sin(pa) * dy).astype(np.float32)
        x, y = u, (v / q).astype(np.float32)
        bend = {"none": 0.06, "minor-disturbance": 0.16, "major-disturbance": 0.42, "merger": 0.34}
        size = bend[galaxy.disturbance] / stiff * galaxy.scale_length
        cells = 2 * scale / (2.6 * galaxy.scale_length)
        x = x + size * smooth_noise(rng, x.shape, cells)
        y = y + size * smooth_noise(rng, x.shape, cells)
        return cls(u, v, x, y, np.hypot(x, y), np.arctan2(y, x), (low, left))


def add_disc(scene: Scene, galaxy: Galaxy, rng: np.random.Generator) -> None:
    """Add a disc galaxy with all its structure except tidal tails."""
    if galaxy.inclination > EDGE_ON:
        _add_edge_on(scene, galaxy, rng)
        return
    h = galaxy.scale_length
    frame = Frame.around(galaxy, rng, 6.0 * h, galaxy.axis_ratio)
    old, young = _face_on_light(frame, galaxy, rng)
    flux = float(nanomaggies(galaxy.mag_r))
    disc = 1 - galaxy.bulge_fraction - galaxy.bar_fraction * (1 - galaxy.bulge_fraction)
    bar = 1 - galaxy.bulge_fraction - disc
    old_flux = flux * disc * (1 - galaxy.young_fraction)
    young_flux = flux * disc * galaxy.young_fraction
    lift = 0.06 + 0.08 * galaxy.young_fraction  # discs are bluer than bulges
    scene.add_map(
        old, spectrum(old_flux, galaxy.g_r_old - lift, galaxy.r_z_old - lift), frame.corner
    )
    in_knots = 0.10 * min(galaxy.knots / 20, 1.5) * (0.5 + 0.5 * rng.random())
    blue = spectrum(young_flux, galaxy.g_r_young, galaxy.r_z_young)
    scene.add_map(young, blue * (1 - in_knots), frame.corner)
    if galaxy.knots:
        _add_knots(scene, galaxy, rng, frame, young, blue * in_knots)
    if galaxy.bar_fraction:
        scene.add_map(
            _bar(frame, galaxy),
            spectrum(flux * bar, galaxy.g_r_old - 0.02, galaxy.r_z_old),
            frame.corner,
        )
    if galaxy.bulge_fraction > 0.003:
        red = spectrum(flux * galaxy.bulge_fraction, galaxy.g_r_old, galaxy.r_z_old)
        scene.add_profile(_bulge(galaxy), red, galaxy.x_offset, galaxy.y_offset)


def _face_on_light(frame: Frame, galaxy: Galaxy, rng: np.random.Generator) -> tuple[Map, Map]:
    """Return the maps of the old and the young stars of a disc."""
    h, radius = galaxy.scale_length, frame.radius
    edge = h * rng.uniform(3.2, 4.8)
    fall = expit((edge - radius) / (rng.uniform(0.12, 0.4) * h))
    lopsided = 1 + galaxy.lopsidedness * np.cos(
        frame.angle - rng.uniform(0, 2 * np.pi)
    ) * np.minimum(radius / (2 * h), 1)
    old = np.exp(-radius / h) * fall * lopsided
    young = np.exp(-radius / (1.25 * h)) * fall * lopsided * (1 - 0.6 * np.exp(-radius / (0.5 * h)))
    patches = smooth_noise(rng, radius.shape, 12.0 / 0.55)
    grains = smooth_noise(rng, radius.shape, 12.0 / 0.28)
    texture = 0.5 * patches + 0.6 * grains + 0.85 * _sheared_noise(frame, galaxy, rng)
    texture *= galaxy.flocculence
    none = np.zeros_like(radius)
    arms, dust = _arms(frame, galaxy, rng) if galaxy.arms else (none, none)
    strength = galaxy.arm_strength
    old *= (1 + 0.9 * strength * arms) * np.exp(0.25 * texture) * (1 - 0.2 * dust)
    young *= 1 - 0.5 * dust
    young *= (1.05 - strength + 4.5 * strength * arms) * np.exp(texture * (1.6 - 0.4 * strength))
    if galaxy.bar_kind == "strong":  # a bar clears its surroundings
        inside = np.exp(-((radius / (0.85 * galaxy.bar_length * h)) ** 4))
        old *= 1 - 0.45 * inside
        young *= 1 - 0.85 * inside
    if galaxy.ring_fraction:
        width = h * rng.uniform(0.12, 0.22)
        ring = np.exp(-0.5 * ((radius - galaxy.ring_radius * h) / width) ** 2)
        ring *= np.exp(0.3 * texture)
        share = galaxy.ring_fraction / ring.sum()
        old = old / old.sum() + share * ring
        young = young / young.sum() + 4 * share * ring
    return old.astype(np.float32), young.astype(np.float32)


def _arms(frame: Frame, galaxy: Galaxy, rng: np.random.Generator) -> tuple[Map, Map]:
    """Return logarithmic arms with a peak of about 1, and the dust on their concave sides.

    Each arm has its own strength, width and extent. Dust dims and reddens.
    """
    h = galaxy.scale_length
    start = max(0.55, galaxy.bar_length) * h
    log_radius = np.log(np.maximum(frame.radius, 0.05 * h) / start)
    wind = galaxy.handedness / np.tan(np.radians(galaxy.pitch))
    wobble = 0.16 * smooth_noise(rng, frame.radius.shape, 5) * np.minimum(frame.radius / h, 1.5)
    phase = frame.angle - wind * log_radius + wobble
    first = np.radians(galaxy.bar_angle if galaxy.bar_length else galaxy.arm_phase)
    total, dust = np.zeros_like(frame.radius), np.zeros_like(frame.radius)
    for arm in range(galaxy.arms):
        irregular = 0.06 if galaxy.arms == 2 else 0.2
        place = first + 2 * np.pi * arm / galaxy.arms + rng.normal(0, irregular)
        width = rng.uniform(0.36, 0.5) * (2 / max(galaxy.arms, 2)) ** 0.6
        reach = rng.uniform(2.6, 4.0) * h
        weight = rng.uniform(0.7, 1.0) * expit((reach - frame.radius) / (0.3 * h))
        total += weight * np.exp((np.cos(phase - place) - 1) / width**2)
        lane = place + 1.2 * galaxy.handedness * width
        dust += weight * np.exp((np.cos(phase - lane) - 1) / (0.45 * width) ** 2)
    begin = expit((frame.radius - 0.9 * start) / (0.12 * start))
    return total * begin, np.minimum(dust * begin, 1)


def _sheared_noise(frame: Frame, galaxy: Galaxy, rng: np.random.Generator) -> Map:
    """Return noise that differential rotation has sheared into short pieces of arms."""
    pitch = np.radians(galaxy.pitch or 22.0)
    wind = (galaxy.handedness or rng.choice([-1, 1])) / np.tan(pitch)
    rings, sectors = 26, 22
    field = rng.standard_normal((rings, sectors)).astype(np.float32)
    log_radius = np.log(np.maximum(frame.radius / galaxy.scale_length, 0.1))
    turn = (frame.angle - wind * log_radius) / (2 * np.pi) * sectors
    rows = np.clip((log_radius + 2.3) * 6.0, 0, rings - 1)
    noise = map_coordinates(field, [rows, turn % sectors], order=1, mode="grid-wrap")
    return noise * np.minimum(frame.radius / (0.5 * galaxy.scale_length), 1)


def _bar(frame: Frame, galaxy: Galaxy) -> Map:
    length = galaxy.bar_length * galaxy.scale_length
    width = length * (0.30 if galaxy.bar_kind == "strong" else 0.42)
    angle = np.radians(galaxy.bar_angle)
    along = frame.x * np.cos(angle) + frame.y * np.sin(angle)
    across = frame.y * np.cos(angle) - frame.x * np.sin(angle)
    reach = (np.abs(along / length) ** 2.6 + np.abs(across / width) ** 2.6) ** (1 / 2.6)
    return np.exp(-1.2 * reach**2.2)


def _bulge(galaxy: Galaxy) -> galsim.GSObject:
    """Return a Sersic bulge, slightly flattened.

    Its index is rounded to steps of 0.5 so that GalSim reuses its look-up tables.
    """
    size = galaxy.scale_length * (0.28 + 0.75 * galaxy.bulge_fraction)
    n = max(round(2 * galaxy.sersic_n) / 2, 1.0)
    q = np.hypot(np.cos(np.radians(galaxy.inclination)), 0.68 * np.sin(
        np.radians(galaxy.inclination)))  # fmt: skip
    angle = (90 + galaxy.position_angle) * galsim.degrees
    return galsim.Sersic(n, half_light_radius=size).shear(q=float(q), beta=angle)


def _add_knots(
    scene: Scene, galaxy: Galaxy, rng: np.random.Generator, frame: Frame, young: Map, flux: NDArray
) -> None:
    """Add star-forming regions, placed in proportion to the light of the young stars."""
    chance = np.cumsum((young * np.minimum(frame.radius / galaxy.scale_length, 2)).ravel())
    place = np.searchsorted(chance, rng.random(galaxy.knots) * chance[-1])
    row, column = np.unravel_index(np.minimum(place, young.size - 1), young.shape)
    share = rng.pareto(1.6, galaxy.knots) + 0.3
    share /= share.sum()
    size = rng.uniform(0.08, 0.22, galaxy.knots) * galaxy.scale_length / PIXEL_SCALE
    bluer = flux * np.array([1.15, 1.0, 0.8])
    n = galaxy.knots
    scene.add_blobs(
        bluer[:, None] * share,
        frame.corner[1] + column + rng.uniform(-0.5, 0.5, n),
        frame.corner[0] + row + rng.uniform(-0.5, 0.5, n),
        np.clip(size / 1.7, 0.5, 2.5),
        rng.uniform(0.6, 1.0, n),
        rng.uniform(0, np.pi, n),
    )


def _add_edge_on(scene: Scene, galaxy: Galaxy, rng: np.random.Generator) -> None:
    h = galaxy.scale_length
    frame = Frame.around(galaxy, rng, 6.0 * h, 1.0, stiff=2.5)
    warp = rng.normal(0, 0.02) * np.sign(frame.x) * frame.x**2 / (3 * h)
    across = frame.y + warp
    tilt = np.cos(np.radians(galaxy.inclination))
    thickness = h * np.hypot(1.1 * galaxy.thickness, 0.75 * tilt)
    along = np.maximum(np.abs(frame.x) / h, 0.02)
    fall = expit((rng.uniform(3.4, 4.6) - along) / 0.25)
    column = along * k1(along) * fall
    old = column / np.cosh(np.minimum(np.abs(across) / thickness, 30)) ** 2
    texture = np.exp(galaxy.flocculence * smooth_noise(rng, old.shape, 12.0 / 0.4))
    thin = 0.55 * thickness
    young = column / np.cosh(np.minimum(np.abs(across) / thin, 30)) ** 2 * texture
    flux = float(nanomaggies(galaxy.mag_r))
    disc = 1 - galaxy.bulge_fraction
    lift = 0.06 + 0.08 * galaxy.young_fraction
    parts = [
        (old, spectrum(flux * disc * (1 - galaxy.young_fraction), galaxy.g_r_old - lift,
                       galaxy.r_z_old - lift)),
        (young, spectrum(flux * disc * galaxy.young_fraction, galaxy.g_r_young,
                         galaxy.r_z_young)),
        (_edge_on_bulge(frame, galaxy),
         spectrum(flux * galaxy.bulge_fraction, galaxy.g_r_old, galaxy.r_z_old)),
    ]  # fmt: skip
    side = rng.choice([-1, 1])
    lane = np.exp(-0.5 * ((across - side * 0.5 * h * tilt) / (0.45 * thickness)) ** 2)
    lane *= np.exp(-along / 2.2) * galaxy.dust * texture
    for light, band_flux in parts:
        scale = (band_flux / light.sum()).astype(np.float32)
        for band in range(3):
            through = 0.2 + 0.8 * np.exp(-_DUST[band] * lane)
            _place(scene, band, scale[band] * light * through, frame.corner)


def _edge_on_bulge(frame: Frame, galaxy: Galaxy) -> Map:
    if galaxy.edge_bulge == "boxy":
        a = galaxy.scale_length * (0.45 + 0.6 * galaxy.bulge_fraction)
        reach = (np.abs(frame.x / a) ** 3.2 + np.abs(frame.y / (0.6 * a)) ** 3.2) ** (1 / 3.2)
        return np.exp(-1.6 * reach).astype(np.float32)
    whole = profile_on_grid(_bulge(galaxy), galaxy.x_offset, galaxy.y_offset)
    low, left = frame.corner
    return whole[low : low + frame.x.shape[0], left : left + frame.x.shape[1]]


def _place(scene: Scene, band: int, light: Map, corner: tuple[int, int]) -> None:
    low, left = corner
    scene.pixels[band, low : low + light.shape[0], left : left + light.shape[1]] += light
