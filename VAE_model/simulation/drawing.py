"""The light of one cutout: the galaxy, its tidal features, and the field around it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.simulation.discs import add_disc, smooth_noise
from VAE_model.simulation.population import Galaxy, red_sequence
from VAE_model.simulation.projection import SkyBox, sersic
from VAE_model.simulation.scene import GRID, MIDDLE, Scene, nanomaggies, spectrum

BRIGHT_STAR = 14.5  # r magnitude; brighter stars affect their surroundings
_AREA = (GRID * PIXEL_SCALE / 60) ** 2  # square arcmin
_STARS = 2.6  # per square arcmin, to r = 23.5
_GALAXIES = 25.0  # per square arcmin, to r = 25
_SATURATED_MAG = (8.0, 10.5)


def draw_scene(galaxy: Galaxy, rng: np.random.Generator) -> Scene:
    """Return the scene of a galaxy and its companion, without the field."""
    scene = Scene()
    _add_galaxy(scene, galaxy, rng)
    if galaxy.companion is not None:
        _add_galaxy(scene, galaxy.companion, rng)
    return scene


def _add_galaxy(scene: Scene, galaxy: Galaxy, rng: np.random.Generator) -> None:
    if galaxy.kind == "spheroid":
        _add_spheroid(scene, galaxy)
    else:
        add_disc(scene, galaxy, rng)
    if galaxy.tails:
        _add_tails(scene, galaxy, rng)
    if galaxy.disturbance > 0.1:  # the debris of smaller disturbances is too faint to be seen
        _add_debris(scene, galaxy, rng)
    if galaxy.shell_fraction:
        _add_shells(scene, galaxy, rng)


def _add_spheroid(scene: Scene, galaxy: Galaxy) -> None:
    """Add a red core and a bluer, rounder, slightly rotated envelope."""
    q, size = galaxy.axis_ratio, galaxy.half_light_radius
    g_r, r_z = galaxy.g_r_old, galaxy.r_z_old
    turned = replace(galaxy, position_angle=galaxy.position_angle + galaxy.twist)
    flux = float(nanomaggies(galaxy.mag_r))
    for one, part, radius, n, ratio, redder in (
        (galaxy, 0.75, 0.78 * size, galaxy.sersic_n, q, 0.02),
        (turned, 0.25, 1.6 * size, 1.0, min(1.0, 1.06 * q), -0.07),
    ):
        box = SkyBox.around(one, 8 * radius, 8 * ratio * radius)
        light = sersic(box.u, box.v, radius, n, ratio).astype(np.float32)
        colours = spectrum(part * flux, g_r + redder, r_z + redder).astype(np.float32)
        scene.add_light(colours[:, None, None] * light, box.corner)


def _add_tails(scene: Scene, galaxy: Galaxy, rng: np.random.Generator) -> None:
    """Add curved tidal tails that widen and fade outwards; the second is opposite the first."""
    size = galaxy.half_light_radius
    start, sense = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    if galaxy.kind != "spheroid":  # tails start at the ends of the disc
        start = np.radians(90 + galaxy.position_angle) + rng.choice([0, np.pi])
    along = np.linspace(0, 1, 120)
    for number in range(galaxy.tails):
        bend = sense * rng.uniform(0.7, 2.2)
        distance = size * (0.7 + rng.uniform(1.8, 4.0) * along)
        direction = start + number * np.pi + rng.normal(0, 0.4) + bend * along**0.8
        x = MIDDLE + (galaxy.x_offset + distance * np.cos(direction)) / PIXEL_SCALE
        y = MIDDLE + (galaxy.y_offset + distance * np.sin(direction)) / PIXEL_SCALE
        clumps = np.exp(rng.standard_normal(len(along)).cumsum() / 9)
        light = np.minimum(along / 0.2, 1) * (1.02 - along) ** 1.1 * clumps
        light *= (abs(x - MIDDLE) < GRID / 2 - 8) & (abs(y - MIDDLE) < GRID / 2 - 8)
        flux = 0.19 * galaxy.disturbance * rng.uniform(0.7, 1.4)
        blue = rng.uniform(0.05, 0.25)
        colours = galaxy.g_r_old - blue, galaxy.r_z_old - blue
        light = spectrum(flux * float(nanomaggies(galaxy.mag_r)) * light / clumps.sum(), *colours)
        for part, width in zip(np.split(np.arange(len(along)), 4), (0.12, 0.18, 0.27, 0.40),
                               strict=True):  # fmt: skip
            blur = max(width * size / PIXEL_SCALE, 1.5)
            scene.add_points(light[:, part], x[part], y[part], blur)


def _add_debris(scene: Scene, galaxy: Galaxy, rng: np.random.Generator) -> None:
    """Add broad, faint clouds of stars to one side, ejected by a collision."""
    flux = 0.06 * galaxy.disturbance**2 * float(nanomaggies(galaxy.mag_r))
    side = rng.uniform(0, 2 * np.pi)
    for light in flux * rng.uniform(0.4, 1.0, 3):
        away, angle = galaxy.half_light_radius * rng.uniform(0.6, 2.0), rng.normal(side, 0.7)
        radius, q = galaxy.half_light_radius * rng.uniform(0.4, 1), rng.uniform(0.4, 0.9)
        cloud = replace(
            galaxy,
            position_angle=rng.uniform(0, 180),
            x_offset=galaxy.x_offset + away * np.cos(angle),
            y_offset=galaxy.y_offset + away * np.sin(angle),
        )
        box = SkyBox.around(cloud, 5 * radius, 5 * q * radius)
        if box.u.shape[0] < 2 or box.u.shape[1] < 2:  # outside the grid
            continue
        colour = spectrum(light, galaxy.g_r_old - 0.12, galaxy.r_z_old - 0.12)
        profile = sersic(box.u, box.v, radius, 1.0, q).astype(np.float32)
        scene.add_light(colour.astype(np.float32)[:, None, None] * profile, box.corner)


def _add_shells(scene: Scene, galaxy: Galaxy, rng: np.random.Generator) -> None:
    """Add arcs of stars on alternate sides, the shells left by an accreted galaxy."""
    size, q = galaxy.half_light_radius, max(galaxy.axis_ratio, 0.5)
    box = SkyBox.around(galaxy, 5 * size, 5 * size * q)
    radius, angle = np.hypot(box.u, box.v / q), np.arctan2(box.v / q, box.u)
    axis = rng.choice([0, np.pi])
    light = np.zeros_like(radius)
    for number in range(int(rng.integers(2, 5))):
        edge = size * rng.uniform(1.3, 3.6)
        ramp = np.clip(1 - (edge - radius) / (0.35 * edge), 0, 1) ** 2
        ramp *= expit((edge - radius) / 0.25)
        sector = np.exp((np.cos(angle - axis - number * np.pi) - 1) / 0.35)
        light += ramp * sector / edge
    flux = galaxy.shell_fraction * float(nanomaggies(galaxy.mag_r))
    light *= np.exp(0.2 * smooth_noise(rng, light.shape, 6))
    red = spectrum(flux, galaxy.g_r_old - 0.1, galaxy.r_z_old - 0.1)
    scene.add_map(light.astype(np.float32), red, box.corner)


def _magnitudes(rng: np.random.Generator, n: int, low: float, high: float, slope: float) -> NDArray:
    """Draw magnitudes between limits whose counts rise by `slope` dex per magnitude."""
    span = 10 ** (slope * (high - low))
    return low + np.log10(1 + rng.random(n) * (span - 1)) / slope


def add_field(
    scene: Scene, galaxy: Galaxy, rng: np.random.Generator, saturated: bool
) -> dict[str, object]:
    """Add stars, background galaxies and the cluster of `galaxy`, and return their truth.

    saturated: add a star that saturates the detectors of every survey.
    """
    stars = int(rng.poisson(_STARS * _AREA))
    mags = _magnitudes(rng, stars, 12.8, 23.5, 0.15)
    red = rng.random(stars) < np.interp(mags, [15, 21], [0.08, 0.6])
    warm = np.where(rng.random(stars) < 0.35, rng.uniform(0.6, 1.3, stars),
                    rng.normal(0.48, 0.12, stars))  # fmt: skip
    g_r = np.where(red, rng.normal(1.45, 0.08, stars), warm)
    r_z = np.where(red, rng.uniform(0.9, 2.0, stars), 0.70 * g_r - 0.09)
    x, y = rng.uniform(0, GRID, (2, stars))
    if saturated:
        mags = np.append(mags, rng.uniform(*_SATURATED_MAG))
        g_r, r_z = np.append(g_r, rng.normal(0.6, 0.15)), np.append(r_z, rng.normal(0.3, 0.1))
        away, angle = rng.uniform(45, 115), rng.uniform(0, 2 * np.pi)
        x = np.append(x, MIDDLE + away * np.cos(angle))
        y = np.append(y, MIDDLE + away * np.sin(angle))
    scene.add_points(spectrum(nanomaggies(mags), g_r, r_z), x, y)
    bright = mags < BRIGHT_STAR
    brightest = int(np.argmin(mags)) if len(mags) else -1
    count, members = _add_background(scene, rng), _add_cluster(scene, galaxy, rng)
    return {
        "stars": len(mags),
        "background_galaxies": count,
        "cluster_galaxies": members,
        "bright_star": bool(bright.any()),
        "brightest_star_mag_r": float(mags[brightest]) if brightest >= 0 else np.nan,
        "brightest_star_x": float(x[brightest]) if brightest >= 0 else np.nan,
        "brightest_star_y": float(y[brightest]) if brightest >= 0 else np.nan,
    }


def _add_background(scene: Scene, rng: np.random.Generator) -> int:
    """Add faint galaxies, red and blue, half of them in groups of a colour; return their number."""
    n = int(rng.poisson(_GALAXIES * _AREA))
    groups = max(1, round(n / 12))
    group = np.where(rng.random(n) < 0.5, rng.integers(0, groups, n), -1)
    middle = rng.uniform(-0.1 * GRID, 1.1 * GRID, (2, groups))
    grouped = middle[:, group] + rng.normal(0, 10 / PIXEL_SCALE, (2, n))
    x, y = np.where(group >= 0, grouped, rng.uniform(0, GRID, (2, n)))
    mags = _magnitudes(rng, n, 17.0, 25.0, 0.32)
    red = rng.random(n) < np.where(group >= 0, 0.6, 0.3)
    own = rng.normal(1.25, 0.3, n)
    old = np.where(group >= 0, rng.normal(1.25, 0.25, groups)[group] + 0.15 * (own - 1.25), own)
    g_r = np.where(red, old, rng.normal(0.55, 0.22, n))
    r_z = 0.15 + 0.65 * g_r + rng.normal(0, 0.14, n)
    size = 10 ** (-0.04 - 0.075 * (mags - 20) + rng.normal(0, 0.13, n))  # half light, arcsec
    q, turn = rng.uniform(0.25, 1.0, n), rng.uniform(0, np.pi, n)
    return _add_blobs(scene, spectrum(nanomaggies(mags), g_r, r_z), x, y, size, q, turn)


def _add_cluster(scene: Scene, galaxy: Galaxy, rng: np.random.Generator) -> int:
    """Add galaxies at the redshift of `galaxy`, most of them on its red sequence."""
    n = int(rng.poisson(galaxy.cluster_members))
    fainter = 0.9 + _magnitudes(rng, n, 0.0, 5.0, 0.2)
    nearest = 4 + 1.5 * galaxy.half_light_radius
    angle, away = rng.uniform(0, 2 * np.pi, n), rng.uniform(nearest, 50, n) / PIXEL_SCALE
    absmag = galaxy.absmag_r + fainter
    g_r = red_sequence(absmag, galaxy.redshift) + rng.normal(0, 0.03, n)
    g_r -= (rng.random(n) < 0.2) * rng.uniform(0.1, 0.4, n)
    size = 4.0 * 10 ** (0.105 * (17 - galaxy.mag_r) - 0.13 * fainter + rng.normal(0, 0.1, n))
    flux = spectrum(nanomaggies(galaxy.mag_r + fainter), g_r, 0.72 * g_r + 0.08)
    x, y = MIDDLE + away * np.cos(angle), MIDDLE + away * np.sin(angle)
    q, turn = rng.uniform(0.35, 1.0, n), rng.uniform(0, np.pi, n)
    for share, radius in ((0.6, 0.55), (0.4, 1.4)):  # together as concentrated as an early type
        count = _add_blobs(scene, share * flux, x, y, radius * size, q, turn)
    return count


def _add_blobs(
    scene: Scene, flux: NDArray, x: NDArray, y: NDArray, size: NDArray, q: NDArray, angle: NDArray
) -> int:
    """Add the exponential galaxies on the grid and return their number.

    flux: (3, N); x, y: pixels; size: half-light radius, arcsec.
    """
    inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) <= GRID - 1)
    scale = np.clip(size / 1.678 / PIXEL_SCALE, 0.4, 6.0)
    for some, half in ((inside & (scale > 2.2), 34), (inside & (scale <= 2.2), 11)):
        scene.add_blobs(flux[:, some], x[some], y[some], scale[some], q[some], angle[some], half)
    return int(inside.sum())
