"""The simulated cameras: what is measured on the images is what the surveys state."""

from dataclasses import replace

import galsim
import numpy as np
import pytest
from astropy.io import fits
from scipy.optimize import curve_fit

from VAE_model.data.cutout_writer import tangent_plane
from VAE_model.data.cutouts import PIXEL_SCALE, SIZE
from VAE_model.imports.resample import regrid, window
from VAE_model.simulation.camera import observe
from VAE_model.simulation.conditions import Edge, draw_conditions
from VAE_model.simulation.projection import sersic
from VAE_model.simulation.scene import GRID, MARGIN, MIDDLE, Scene
from VAE_model.surveys import BASSMZLS, DECALS, DES, HSC, SDSS
from VAE_model.surveys.survey import LANCZOS, colour_terms, noise_kept

Y, X = np.mgrid[:SIZE, :SIZE]


def of(*surveys):
    return pytest.mark.parametrize("survey", surveys, ids=lambda one: one.name)


each_survey = of(DECALS, BASSMZLS, DES, SDSS, HSC)
each_camera = of(DECALS, BASSMZLS, SDSS, HSC)  # that of DES is DECaLS's
# FWHM of stars after resampling, arcsec: as the docstrings of the surveys state them
FWHM = {"sdss": (1.54, 1.43, 1.37), "hsc": (0.82, 0.81, 0.74)}


def conditions_of(survey, seed, **changes):
    return replace(draw_conditions(survey, np.random.default_rng(seed)), **changes)


def quiet(survey, **changes):
    """Conditions of a frame without noise, sky or registration error, and round PSFs."""
    none, nowhere = (0.0,) * 3, ((0.0, 0.0),) * 3
    usual = {"noise": (1e-7,) * 3, "sky": none, "gradient": nowhere, "shift": nowhere,
             "shear": nowhere, "fwhm": survey.fwhm, "beta": (3.0,) * 3, "edges": (None,) * 3,
             "oversubtraction": 0.0}  # fmt: skip
    return conditions_of(survey, 0, **(usual | changes))


def star(flux, x=MIDDLE, y=MIDDLE):
    """A scene with one star at pixel (x, y) of the grid."""
    scene = Scene()
    scene.add_points(np.full((3, 1), flux), np.array([x]), np.array([y]))
    return scene.fourier()


def disc(flux, scale):
    """A scene with a round exponential galaxy in the middle; scale: arcsec."""
    scene, middle = Scene(), np.array([MIDDLE])
    size = np.array([scale / PIXEL_SCALE])
    scene.add_blobs(np.full((3, 1), flux), middle, middle, size, np.ones(1), np.zeros(1), 190)
    return scene.fourier()


def dark(survey):
    """The survey without photon noise of sources."""
    return replace(survey, gain=(1e12,) * 3)


def fitted_fwhm(plane):
    """FWHM in arcsec of a Moffat profile fitted to the star in the middle."""
    radius = np.hypot(X - MIDDLE + MARGIN, Y - MIDDLE + MARGIN)
    near = radius < 12

    def moffat(r, peak, width, beta, level):
        return peak * (1 + (r / width) ** 2) ** -beta + level

    start = [plane.max(), 4.0, 3.0, 0.0]
    (_, width, beta, _), _ = curve_fit(moffat, radius[near], plane[near], p0=start)
    return 2 * abs(width) * np.sqrt(2 ** (1 / beta) - 1) * PIXEL_SCALE


@of(DECALS, BASSMZLS)
def test_medians_measured_on_images_are_those_of_the_survey(survey):
    fwhm, noise = [], []
    for seed in range(60):
        seen = conditions_of(survey, seed, shift=((0.0, 0.0),) * 3, edges=(None,) * 3)
        image = observe(star(300.0), dark(survey), seen, np.random.default_rng(seed))
        fwhm.append([fitted_fwhm(plane) for plane in image])
        noise.append(image[:, 4:60, 4:60].std(axis=(1, 2)))
    assert np.median(fwhm, axis=0) == pytest.approx(survey.fwhm, rel=0.06)
    assert np.median(noise, axis=0) == pytest.approx(survey.noise, rel=0.12)
    assert (np.log(fwhm).std(axis=0) > 0.07).all()
    assert (np.log(fwhm).std(axis=0) < 0.17).all()
    depth = 2.5 * np.log10(np.array(noise) * fwhm)
    assert (depth.std(axis=0) > 0.2).all() and (depth.std(axis=0) < 0.45).all()
    between = np.corrcoef(np.log(fwhm).T)[np.triu_indices(3, 1)]
    assert (np.abs(between) < 0.5).all(), "each band has its own seeing"


@of(DECALS, SDSS, HSC)
def test_medians_of_many_conditions_are_exact(survey):
    drawn = [draw_conditions(survey, np.random.default_rng([3, n])) for n in range(1500)]
    for values, stated in (([c.fwhm for c in drawn], survey.fwhm),
                           ([c.noise for c in drawn], survey.noise)):  # fmt: skip
        assert np.median(values, axis=0) == pytest.approx(stated, rel=0.03)


@each_survey
def test_a_star_has_the_stated_width(survey):
    image = observe(star(1000.0), survey, quiet(survey), np.random.default_rng(1))
    for plane, fwhm in zip(image, FWHM.get(survey.name, survey.fwhm), strict=True):
        assert fitted_fwhm(plane) == pytest.approx(fwhm, rel=0.03)


def autocorrelation(plane, right, up):
    shifted = np.roll(plane, (-up, -right), axis=(0, 1))[:-4, :-4]
    return np.mean(plane[:-4, :-4] * shifted) / plane.var()


# Measured on real cutouts in g (docs/REALISM.md): DECaLS DR9 (native scale) 0.11, -0.07, 0.03; BASS
# (0.27 arcsec) 0.58, -0.03, -0.11; Lanczos-3 interpolation at random phases gives
NEIGHBOURS = {
    "decals": (0.112, -0.076, 0.027), "bassmzls": (0.596, -0.017, -0.141),
    "des": (0.112, -0.076, 0.027),
    # of white noise resampled by data/import_images.py, and of Lanczos-3 and that
    "sdss": (0.613, 0.125, 0.005), "hsc": (0.149, 0.0, 0.0),
}  # fmt: skip


@each_survey
def test_noise_is_the_stated_one_and_correlated_as_lanczos_resampling_makes_it(survey):
    seen = quiet(survey, noise=survey.noise)
    found, sigma = [], []
    for seed in range(8):
        image = observe(Scene().fourier(), survey, seen, np.random.default_rng(seed))
        found.append([autocorrelation(image[0], *way) for way in
                      ((1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (0, 3))])  # fmt: skip
        sigma.append(image.std(axis=(1, 2)))
        assert (image < 0).mean() == pytest.approx(0.5, abs=0.01)
    assert np.mean(sigma, axis=0) == pytest.approx(survey.noise, rel=0.03)
    assert np.mean(found, axis=0) == pytest.approx(NEIGHBOURS[survey.name] * 2, abs=0.025)


def test_noise_of_sdss_is_that_of_white_frames_that_a_user_imports():
    size = 200
    header = fits.Header(tangent_plane(150.0, 2.0, SDSS.pixel_scale, size))
    white = np.random.default_rng(1).standard_normal((12, size, size))
    image = regrid(white, window("scale", (size, size), header))
    step = PIXEL_SCALE / SDSS.pixel_scale
    sigma = np.mean([plane.std() for plane in image]) / step**2
    assert sigma == pytest.approx(SDSS.noise_kept, rel=0.01)
    found = np.mean([[autocorrelation(plane, lag, 0) for lag in (1, 2, 3)] for plane in image], 0)
    assert found == pytest.approx(NEIGHBOURS["sdss"], abs=0.02)


def test_the_noise_kept_is_that_of_the_kernels():
    """The integral of the squared kernel, of linear interpolation and of sums, in closed form."""
    step = PIXEL_SCALE / 0.396
    assert noise_kept(0.396, False) == pytest.approx(2 / 3 - step**2 / 6 + step**3 / 20, rel=1e-4)
    step = PIXEL_SCALE / 0.168
    assert noise_kept(0.168, False) == pytest.approx(1 / step - 1 / (3 * step**2), rel=1e-4)
    assert DECALS.noise_kept == DES.noise_kept == BASSMZLS.noise_kept == LANCZOS


def depth(survey):
    """5 sigma point-source depth of each band, AB, from the noise in apertures of the PSF."""
    offset, depths = np.arange(-10, 11), []
    images = [observe(Scene().fourier(), survey, quiet(survey, noise=survey.noise),
                      np.random.default_rng(seed)) for seed in range(4)]  # fmt: skip
    for band in range(3):
        sigma = FWHM.get(survey.name, survey.fwhm)[band] / 2.3548 / PIXEL_SCALE
        psf = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma**2))
        planes = np.stack([image[band, :252, :252] for image in images])
        boxes = planes.reshape(4, 12, 21, 12, 21).swapaxes(2, 3)
        fluxes = (boxes * psf).sum(axis=(3, 4)) / (psf**2).sum() * psf.sum()
        depths.append(22.5 - 2.5 * np.log10(5 * fluxes.std()))
    return np.array(depths)


@pytest.mark.parametrize(
    ("survey", "stated"),
    [
        (DECALS, (24.7, 24.4, 23.4)),
        (BASSMZLS, (24.2, 23.6, 23.0)),
        (DES, (25.3, 25.0, 23.85)),
        (SDSS, (23.13, 22.70, 20.71)),
        (HSC, (26.5, 26.1, 25.1)),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_each_survey_is_as_deep_as_stated(survey, stated):
    assert depth(survey) == pytest.approx(stated, abs=0.2)
    behind = np.array([24.7, 24.4, 23.4]) - stated
    assert depth(DECALS) - depth(survey) == pytest.approx(behind, abs=0.1)


def test_a_colour_term_holds_for_usual_galaxies():
    matrix = np.array(colour_terms((0.06, 0.036, -0.005), (0, 0.09, 0.014), (0, 0.03, -0.024)))
    for g_r, r_z in ((0.7, 0.6), (0.9, 0.7), (0.4, 0.35)):
        flux = 10 ** (-0.4 * np.array([g_r, 0, -r_z]))
        shift = -2.5 * np.log10(matrix @ flux / flux)
        stated = [0.06 * g_r + 0.036 * r_z - 0.005, 0.09 * r_z + 0.014, 0.03 * r_z - 0.024]
        assert shift == pytest.approx(stated, abs=0.006)


@each_camera
@pytest.mark.parametrize("x", [3, MARGIN - 3, MARGIN + 3])
@pytest.mark.parametrize("way", [lambda x: (x, 150), lambda x: (GRID - 1 - x, 200),
                                 lambda x: (150, x), lambda x: (200, GRID - 1 - x)])  # fmt: skip
@pytest.mark.parametrize("centre", [(0, 0), (30, -21)])
def test_no_light_of_a_star_at_one_edge_appears_at_the_other(survey, x, way, centre):
    """A star of magnitude 11 (15 for HSC, which is deeper) at the edge of the frame or grid."""
    place = way(x)
    flux = 1e3 if survey is HSC else 4e4
    image = observe(star(flux, *place), survey, quiet(survey), np.random.default_rng(1), centre)
    away = np.hypot(*(pixel + MARGIN + offset - one for pixel, offset, one in
                      zip((X, Y), centre, place, strict=True))) * PIXEL_SCALE  # fmt: skip
    if (away < 1).any():
        assert image[:, away < 20].max() > 20 * max(survey.noise)
    assert (away > 62).any()
    assert (np.abs(image[:, away > 62]).max(axis=1) < np.array(survey.noise) / 3).all()


def test_no_light_of_a_large_galaxy_is_repeated():
    """The wings of a de Vaucouleurs profile at the corners of the frame, against the profile."""
    scene, profile = Scene(), galsim.Sersic(4, half_light_radius=10)
    axis = (np.arange(GRID) - MIDDLE) * PIXEL_SCALE
    light = sersic(axis[None, :], axis[:, None], 10.0, 4.0, 1.0).astype(np.float32)
    scene.add_light(np.stack([3000 * light] * 3), (0, 0))
    image = observe(scene.fourier(), DECALS, quiet(DECALS), np.random.default_rng(1))
    drawn = profile.drawImage(nx=SIZE, ny=SIZE, scale=PIXEL_SCALE, method="no_pixel").array
    for place in ((3, 3), (128, 3), (250, 250)):
        assert image[1][place] == pytest.approx(3000 * drawn[place], rel=0.08)


@each_camera
def test_flux_is_conserved_but_for_light_scattered_out_of_the_frame(survey):
    image = observe(star(1000.0), survey, quiet(survey), np.random.default_rng(1))
    expected = 1000 * np.array(survey.colour_matrix).sum(axis=1)
    inside = image.sum(axis=(1, 2), dtype=float) / expected
    assert ((inside > 0.995) & (inside <= 1.0005)).all()
    radius = np.hypot(X - MIDDLE + MARGIN, Y - MIDDLE + MARGIN) * PIXEL_SCALE
    beyond = 1 - image[:, radius < 7].sum(axis=1, dtype=float) / expected
    assert beyond.min() > 0.003, "the wings of DECam hold 0.4 % of the light beyond 7 arcsec"


@of(DECALS, BASSMZLS, HSC)
def test_noise_differs_on_the_two_sides_of_an_edge(survey):
    edge = Edge(angle=0.0, distance=5.0, width=np.inf, noise=1.4, fwhm=1.1)
    seen = quiet(survey, noise=survey.noise, edges=(edge, None, edge))
    image = observe(star(100.0, MARGIN + 200, MIDDLE), dark(survey), seen, np.random.default_rng(3))
    at = 128 + round(5 / PIXEL_SCALE)
    left, right = image[:, :90, : at - 3], image[:, :90, at + 3 :]
    ratio = right.std(axis=(1, 2)) / left.std(axis=(1, 2))
    assert ratio == pytest.approx([1.4, 1.0, 1.4], rel=0.08)
    without = replace(seen, edges=(None,) * 3)
    usual = observe(star(100.0, MARGIN + 200, MIDDLE), dark(survey), without,
                    np.random.default_rng(3))  # fmt: skip
    peaks = image[:, 120:136, 190:210].max(axis=(1, 2)) / usual[:, 120:136, 190:210].max(
        axis=(1, 2)
    )
    assert peaks[1] == 1 and (peaks[[0, 2]] < 0.95).all(), "the PSF differs beyond the edge"


def test_a_share_of_the_bands_has_an_edge_and_its_noise_follows_from_the_exposures():
    drawn = [draw_conditions(DECALS, np.random.default_rng([4, n])) for n in range(600)]
    edges = [edge for one in drawn for edge in one.edges]
    assert 0.35 < np.mean([edge is not None for edge in edges]) < 0.65
    ratios = np.array([edge.noise for edge in edges if edge])
    assert (ratios < 1).any() and (ratios > 1).any() and (abs(np.log(ratios)) < 1.2).all()


def test_the_sky_is_oversubtracted_near_large_galaxies():
    """The larger and brighter the galaxy, the more; nowhere is light added."""
    taken = []
    for scale, flux in ((0.5, 50.0), (3.0, 500.0), (6.0, 2500.0), (9.0, 6000.0)):
        light = disc(flux, scale)
        one = quiet(DECALS, noise=DECALS.noise)
        with_sky, without = (
            observe(light, DECALS, replace(one, oversubtraction=share), np.random.default_rng(2))
            for share in (1.0, 0.0)
        )
        bowl = (with_sky - without)[1] / DECALS.noise[1]
        assert bowl.max() <= 1e-4
        assert bowl[100:156, 100:156].mean() <= bowl[:30, :30].mean()
        taken.append(-bowl.mean())
    assert taken == sorted(taken)
    assert taken[0] < 0.1 and 0.1 < taken[-1] < 2


def test_sources_add_photon_noise():
    """In a star as bright as the sky the noise is larger by the root of two."""
    scene = Scene()
    bright = DECALS.gain[1] * DECALS.noise[1] ** 2 / LANCZOS**2
    scene.pixels[1] += np.float32(bright)
    seen = quiet(DECALS, noise=DECALS.noise)
    sigma = [observe(scene.fourier(), DECALS, seen, np.random.default_rng(seed))[1].std()
             for seed in range(6)]  # fmt: skip
    assert np.mean(sigma) / DECALS.noise[1] == pytest.approx(2**0.5, rel=0.03)
