"""Each defect sets its flag, and what only looks like one sets none."""

import numpy as np
import pytest
from conftest import NOISE, draw_galaxy, load_script

from VAE_model.preparation.defect_sky import is_coloured
from VAE_model.preparation.defects import FLAGS, defect_flags

SIZE = 256
Y, X = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
SIGMA = np.array(NOISE, np.float32)[:, None, None]


def galaxy(seed: int = 0, kind: str = "unbarred", angle: float = 0.7) -> np.ndarray:
    return draw_galaxy(kind, angle, np.random.default_rng(seed))


def star(x: float, y: float, peak: float, fwhm: float = 5.0) -> np.ndarray:
    """A Moffat profile with wings, (256, 256), in nanomaggies."""
    return peak * (1 + ((X - x) ** 2 + (Y - y) ** 2) / (0.96 * fwhm) ** 2) ** -3


def line(angle: float, offset: float, width: float = 2.5) -> np.ndarray:
    return np.exp(-0.5 * ((X * np.sin(angle) - Y * np.cos(angle) - offset) / width) ** 2)


def raised(flux: np.ndarray) -> set[str]:
    flags = defect_flags(flux.astype(np.float32))
    assert tuple(flags) == tuple(FLAGS)
    assert all(type(flag) is bool for flag in flags.values())
    return {name for name, flag in flags.items() if flag}


@pytest.mark.parametrize(
    "kind", ["round", "cigar-shaped", "edge-on", "barred", "unbarred", "merger"]
)
@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2])
def test_a_galaxy_sets_no_flag(kind, angle):
    for brightness in (1, 30):
        assert raised(brightness * galaxy(1, kind, angle)) == set()


@pytest.mark.parametrize("band", range(3))
@pytest.mark.parametrize("side", [np.s_[:110], np.s_[:, 150:]])
def test_a_half_empty_band_is_a_gap_and_missing(band, side):
    for value in (0.0, -0.01, np.float32(3.3)):
        flux = galaxy()
        flux[band][side] = value
        assert raised(flux) == {"flag_gap", "flag_band_missing"}


def test_an_image_of_zeros_is_a_gap():
    assert "flag_gap" in raised(np.zeros((3, SIZE, SIZE)))


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(("first", "width"), [(60, 1), (100, 4), (126, 9)])
def test_dead_columns_or_rows_are_found_even_if_they_are_short(first, width, transpose):
    flux = galaxy()
    part = flux[1].T if transpose else flux[1]
    part[40:90, first : first + width] = 0
    assert raised(flux) == {"flag_dead_columns"}


def test_many_dead_columns_are_columns_and_no_gap():
    flux = galaxy()
    for first in (30, 80, 150):
        flux[:, :, first : first + 9] = 0
    assert raised(flux) == {"flag_dead_columns"}


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("offset", [-5.0, 3.0, 40.0])
def test_columns_with_another_level_are_found_though_they_have_noise(offset, width, transpose):
    flux = galaxy()
    part = flux[2].T if transpose else flux[2]
    part[:, 170 : 170 + width] += offset * NOISE[2]
    assert raised(flux) == {"flag_dead_columns"}


@pytest.mark.parametrize("kind", ["edge-on", "cigar-shaped"])
def test_an_edge_on_galaxy_along_the_columns_is_no_dead_column(kind):
    for seed in range(5):
        assert raised(20 * galaxy(seed, kind, np.pi / 2)) == set()


@pytest.mark.parametrize("band", range(3))
@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 7)[:-1] + 0.1)
def test_a_streak_in_one_band_is_found_at_any_angle(angle, band):
    for seed, offset in enumerate((-70, 5, 60)):
        flux = galaxy(seed)
        flux[band] += 6 * NOISE[band] * line(angle, offset)
        assert raised(flux) == {"flag_streak"}


def test_a_line_that_ends_in_the_frame_is_no_streak():
    for seed in range(5):
        flux = galaxy(seed)
        flux[2] += 6 * NOISE[2] * line(0.5, 10) * np.exp(-0.5 * (np.hypot(X, Y) / 30) ** 2)
        assert raised(flux) == set()


def test_a_saturated_core_is_found_in_any_band():
    for band in range(3):
        flux = galaxy() + star(60, -50, 40)
        flux[band] = np.minimum(flux[band], 10)
        assert raised(flux) == {"flag_saturated"}


def test_the_bleed_of_a_star_is_no_dead_column():
    flux = galaxy() + star(60, -50, 40)
    flux[:, 20:200, 186:189] = 14
    assert raised(np.minimum(flux, 14)) == {"flag_saturated"}


def test_a_bright_star_that_is_not_cut_is_not_saturated():
    for fwhm in (4.0, 6.0):
        assert raised(galaxy() + star(60, -50, 150, fwhm)) == set()


@pytest.mark.parametrize("band", range(3))
def test_a_band_of_mere_noise_is_off(band):
    for seed in range(5):
        flux = galaxy(seed)
        flux[band] = NOISE[band] * np.random.default_rng(seed).standard_normal((SIZE, SIZE))
        assert raised(flux) == {"flag_off_band"}


def test_a_frame_without_a_galaxy_is_not_off():
    flux = SIGMA * np.random.default_rng(1).standard_normal((3, SIZE, SIZE))
    assert raised(flux) == set()


def test_the_flags_do_not_depend_on_the_sky_level_or_the_unit():
    flux = galaxy()
    flux[0] += 6 * NOISE[0] * line(1.1, 20)
    assert raised(1000 * flux - 3) == raised(flux) == {"flag_streak"}


def test_a_small_image_blown_up_has_no_gap():
    small = galaxy()[:, 64:192, 64:192]
    assert "flag_gap" not in raised(np.kron(small, np.ones((1, 2, 2))))


def test_a_display_image_may_have_a_black_sky_and_white_cores():
    for seed in range(5):
        flux = np.clip(galaxy(seed, "round") * 10 - 0.1, 0, 1).astype(np.float32)
        assert (flux == 0).mean() > 0.5 and (flux == 1).any()
        assert not any(defect_flags(flux, display=True).values())


bench = load_script("benchmarks/defect_kinds.py")


@pytest.mark.parametrize("display", [False, True])
@pytest.mark.parametrize("kind", bench.KINDS)
def test_a_kind_of_defect_has_its_name_at_many_sizes_and_places(kind, display):
    sizes = bench.SMALLEST[kind][display]
    if sizes is None:
        pytest.skip("not claimed of 8-bit images")
    right = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        flux, _ = bench.KINDS[kind](galaxy(seed, "unbarred"), rng, sizes)
        pixels = bench.as_8_bit(flux, rng) if display else flux
        right += defect_flags(pixels.astype(np.float32), display)[f"flag_{kind}"]
    in_8_bits = {"band_missing": 5, "background_step": 6, "off_band": 6}
    assert right >= (in_8_bits.get(kind, 7) if display else 7)


def test_an_image_that_is_clipped_or_without_noise_sets_no_flag():
    smooth = np.stack([peak * np.exp(-np.hypot(X, Y / 0.7) / 12) for peak in (0.5, 1.0, 1.4)])
    assert raised(smooth) == set()
    for seed in range(4):
        noise = SIGMA * np.random.default_rng(seed).standard_normal((3, SIZE, SIZE))
        assert raised(smooth + noise / 1000) == set()
        assert raised(np.maximum(galaxy(seed), 0)) == set()


def test_a_gap_in_8_bits_is_found_by_its_one_value_and_a_black_sky_is_none():
    for seed, (value, side) in enumerate(((0.0, 30), (0.3, 60), (0.127, 24))):
        pixels = bench.as_8_bit(galaxy(seed), np.random.default_rng(seed))
        pixels[:, 100 : 100 + side] = value
        flags = defect_flags(pixels, display=True)
        assert flags["flag_gap"] and not flags["flag_band_missing"]


def test_a_step_in_the_noise_alone_is_no_defect():
    for seed in range(4):
        flux = galaxy(seed)
        flux[:, :120] += SIGMA * np.random.default_rng(seed).standard_normal((3, 120, SIZE))
        assert raised(flux) == set()


def test_clean_galaxies_set_no_flag_in_8_bits():
    for seed, kind in enumerate(("round", "edge-on", "barred", "merger")):
        pixels = bench.as_8_bit(galaxy(seed, kind), np.random.default_rng(seed))
        assert not any(defect_flags(pixels, display=True).values())


def test_a_blue_galaxy_in_bands_of_unequal_depth_is_no_coloured_sky():
    """In sigmas of a shallow band a galaxy is fainter than in those of the others."""
    y, x = np.mgrid[:8, :8] - 3.5
    galaxy = np.where(np.hypot(y, x) < 2.8, 1.0, 0.0)
    blocks = (np.array([3.0, 2.5, 0.4])[:, None, None] * galaxy).astype(np.float32)
    depth = np.array([0.7, 1.0, 3.0], np.float32)
    assert is_coloured(blocks, display=False)
    assert not is_coloured(blocks, False, depth)
    assert is_coloured(blocks + np.array([[[0]], [[0]], [[0.9]]], np.float32), False, depth)
