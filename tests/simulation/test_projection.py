"""Discs are projected exactly at every inclination, and dust lies where it must."""

from dataclasses import replace
from itertools import pairwise

import galsim
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.population import draw_galaxy
from VAE_model.simulation.projection import (
    SkyBox,
    dust_in_front,
    projection,
    sersic,
    transmission,
)
from VAE_model.simulation.scene import GRID, Scene

SCALE_LENGTH, SCALE_HEIGHT, CELL = 3.0, 0.8, 0.2  # arcsec
HALF = 110  # cells: 7 scale lengths


def galaxy_at(position_angle):
    galaxy = draw_galaxy(random_stream(1, 0, Purpose.POPULATION))
    return replace(galaxy, position_angle=position_angle, x_offset=0.1, y_offset=-0.07)


def smooth_disc(inclination):
    """A smooth disc of unit flux, projected onto the grid of the sky."""
    side = (np.arange(2 * HALF) - HALF + 0.5) * CELL
    face_on = np.exp(-np.hypot(side, side[:, None]) / SCALE_LENGTH).astype(np.float32)
    seen = projection(2 * HALF, 2 * HALF, CELL, inclination, SCALE_HEIGHT) @ face_on
    scene = Scene()
    box = SkyBox.around(galaxy_at(33.0), HALF * CELL, HALF * CELL)
    image = np.broadcast_to(seen / face_on.sum(), (3, *seen.shape))
    box.add(scene, image, CELL, np.zeros(len(side)))
    return scene.pixels[1].astype(float)


@pytest.mark.parametrize("inclination", [0, 26, 45, 60, 80, 90])
def test_a_smooth_disc_is_the_analytic_one(inclination):
    """GalSim's InclinedExponential, in a seeing of 1.2 arcsec."""
    disc = galsim.InclinedExponential(
        inclination * galsim.degrees, scale_radius=SCALE_LENGTH, scale_height=SCALE_HEIGHT
    ).rotate((90 + 33) * galsim.degrees)
    sigma = 1.2 / 2.3548
    there = galsim.Convolve(disc.shift(0.1, -0.07), galsim.Gaussian(sigma=sigma))
    expected = there.drawImage(nx=GRID, ny=GRID, scale=PIXEL_SCALE, method="no_pixel").array
    found = gaussian_filter(smooth_disc(inclination), sigma / PIXEL_SCALE)
    assert found.sum() == pytest.approx(1, abs=0.005)
    assert abs(found - expected).max() < 0.012 * expected.max()
    bright = expected > 0.1 * expected.max()
    assert np.std(found[bright] / expected[bright]) < 0.01


@pytest.mark.parametrize("inclination", [0.0, 10.0, 25.8, 40.0, 60.0, 77.0, 90.0])
def test_a_uniform_layer_stays_uniform_and_keeps_its_light(inclination):
    """Cells that are deposited without care leave moire patterns."""
    matrix = projection(200, 320, CELL, inclination, SCALE_HEIGHT)
    assert matrix.sum(axis=0) == pytest.approx(1, abs=1e-4)
    cosine = np.cos(np.radians(inclination))
    uniform = matrix.sum(axis=1)[155:165] * cosine
    if cosine > 0.2:
        assert uniform == pytest.approx(1, abs=1e-4)


def dusty_profile(inclination):
    """Light along the minor axis of a smooth dusty disc, with and without its dust."""
    side = (np.arange(2 * HALF) - HALF + 0.5) * CELL
    face_on = np.exp(-np.hypot(side, side[:, None]) / SCALE_LENGTH).astype(np.float32)
    light = projection(2 * HALF, 2 * HALF, CELL, inclination, SCALE_HEIGHT) @ face_on
    tau = projection(2 * HALF, 2 * HALF, CELL, inclination, 0.4 * SCALE_HEIGHT) @ face_on
    extents = [(0.9 * height, 1.3 * SCALE_LENGTH) for height in (SCALE_HEIGHT, 0.4 * SCALE_HEIGHT)]
    passed = transmission(0.8 * tau, dust_in_front(side, inclination, *extents))[1]
    middle = np.s_[:, HALF - 1 : HALF + 1]
    return (light * passed)[middle].mean(axis=1), light[middle].mean(axis=1)


def test_the_lane_is_displaced_to_the_near_side_and_central_at_90_degrees():
    def lane(inclination):
        dimmed, clear = dusty_profile(inclination)
        hidden = clear - dimmed
        return np.sum(hidden * (np.arange(2 * HALF) - HALF + 0.5) * CELL) / hidden.sum()

    assert [lane(i) for i in (0, 90)] == pytest.approx([0, 0], abs=0.01)
    assert lane(80) > 0.15 > lane(88) > lane(90)


def test_a_dusty_disc_changes_steadily_with_inclination():
    profiles = [dusty_profile(i)[0] for i in np.arange(60, 91)]
    steps = [abs(other - one).max() / other.max() for one, other in pairwise(profiles)]
    assert max(steps) < 0.17


def test_dust_reddens():
    v = np.zeros(1)
    passed = transmission(np.ones((1, 1), np.float32), dust_in_front(v, 50, (1, 4), (0.3, 4)))
    g, r, z = passed[:, 0, 0]
    assert 0.3 < g < r < z < 1


@pytest.mark.parametrize("n", [1.0, 2.5, 4.0])
def test_a_sersic_profile_has_its_flux_and_half_light_radius(n):
    side = (np.arange(400) - 199.3) * PIXEL_SCALE
    light = sersic(side[None, :], side[:, None], 4.0, n, 0.6)
    within = np.hypot(side, side[:, None] / 0.6) < 4.0
    assert light.sum() == pytest.approx(1, abs=0.01 if n == 1 else 0.08)
    assert light[within].sum() == pytest.approx(0.5, abs=0.015)
