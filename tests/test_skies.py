"""Claims about the sky's noise: there is one, and it is positive, whatever was done to the sky."""

from pathlib import Path

import numpy as np
import pytest
from conftest import MORPHOLOGIES, NOISE, draw_galaxy
from PIL import Image

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.fits_frames import BadCutout
from VAE_model.evaluation.outliers import stands_out
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.run import Run
from VAE_model.preparation.pixel_noise import LEAST, LEAST_DISPLAY, is_cut, sky_noise
from VAE_model.preparation.segmentation import surroundings

SIGMA = np.array(NOISE)[:, None, None]
INSIDE = (abs(np.arange(256) - 127.5) < 70)[None, :, None]


def galaxy(seed: int = 0) -> np.ndarray:
    return draw_galaxy("in-between", 1.0, np.random.default_rng(seed))


def noiseless() -> np.ndarray:
    y, x = np.mgrid[:256, :256] - 127.5
    light = np.exp(-np.hypot(x / 8, y / 5)).astype(np.float32)
    return np.stack([0.5 * light, light, 1.4 * light])


def eight_bit(flux: np.ndarray, black: float, levels: int = 255) -> np.ndarray:
    """Brightness in steps of 1/levels, black up to `black` sigma of the sky."""
    light = np.arcsinh((flux / SIGMA - black) / 3) / 6
    return (np.round(np.clip(light, 0, 1) * levels) / levels).astype(np.float32)


@pytest.mark.parametrize(
    ("flux", "low", "high"),
    [
        (galaxy(), 0.98, 1.05),
        (np.clip(galaxy(), 0, None), 0.5, 1.1),
        (np.clip(galaxy(), None, 0), 0.5, 1.1),
        (np.clip(galaxy() - SIGMA, 0, None), 0.5, 1.1),
        (np.where(INSIDE, galaxy() + 1, 0), 0.9, 1.1),
        (np.where(galaxy() > -9 * SIGMA, galaxy() + 1, 0) * INSIDE + (1 - INSIDE) * 7, 0.9, 1.1),
    ],
    ids=["as it is", "clipped at zero", "clipped above", "clipped at a sigma", "border", "bright"],
)
def test_the_noise_is_found_where_the_sky_is_cut_off(flux: np.ndarray, low: float, high: float):
    ratio = sky_noise(flux.astype(np.float32)) / NOISE
    assert (low < ratio).all() and (ratio < high).all(), ratio


def test_an_image_with_a_whole_sky_has_the_noise_of_its_faint_half():
    flux = galaxy(3)
    for band, noise in zip(flux[:, ::2, ::2], sky_noise(flux), strict=True):
        below = np.median(band) - band[band < np.median(band)]
        assert noise == np.float32(1.4826 * np.median(below))
    assert not is_cut(flux)


@pytest.mark.parametrize(
    "flux",
    [
        eight_bit(galaxy(), 4), eight_bit(galaxy(), 20), 1 - eight_bit(galaxy(), 4),
        eight_bit(galaxy(), -3, 6), np.clip(3.4 * eight_bit(galaxy(), -3), 0, 1),
        eight_bit(noiseless(), 4), np.where(INSIDE, eight_bit(galaxy(), -6), 0),
    ],
    ids=["black", "blacker", "white", "posterised", "saturated", "noiseless", "letterbox"],
)  # fmt: skip
def test_an_8_bit_image_has_at_least_the_noise_of_its_rounding(flux: np.ndarray):
    flux = flux.astype(np.float32)
    noise = sky_noise(flux, display=True)
    assert (noise >= np.float32(LEAST_DISPLAY)).all() and (noise < 0.2).all(), noise
    around = surroundings(flux, display=True)
    assert around["n_sources"] < 20 and np.isfinite(around["background_rms_over_flux"])


def test_a_simulation_without_noise_has_the_least():
    flux = noiseless()
    assert np.array_equal(sky_noise(flux), np.float32(LEAST))
    flux[flux < 1e-3] = 0
    assert (sky_noise(flux) >= np.float32(LEAST)).all()


def test_whole_numbers_have_the_noise_of_rounding_to_them():
    flux = np.round(galaxy() / SIGMA / 10).astype(np.float32)
    assert (sky_noise(flux) >= np.float32(1 / 12**0.5)).all()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_image_of_one_value_but_for_a_few_pixels_is_named(tmp_path: Path, script, value: float):
    run, flux = Run(tmp_path / "run"), np.full((3, 256, 256), value, np.float32)
    flux[:, 100:110, 100:120] = np.random.default_rng(0).random((3, 10, 20)) + 0.1
    with pytest.raises(BadCutout, match="band without signal: g, all but a few pixels are the"):
        sky_noise(flux)
    if value != 0.5:
        return
    write_cutout(run.images() / "flat.fits", flux, 150.0, 2.0, "DR9-south")
    write_cutout(run.images() / "good.fits", galaxy(), 151.0, 2.0, "DR9-south")
    assert script("make_datatxt.py", run).returncode == 0
    assert 'flat.fits,"band without signal: g, all but a few' in run.rejected.read_text()
    assert run.train_txt.read_text() == "images/decals/good.fits\n"


def test_frames_without_any_scatter_of_the_sky_do_not_stand_out():
    with np.errstate(all="raise"):
        assert not stands_out([0.0] * 30, 3).any()
        assert not stands_out([np.nan, 0.0], 3).any()
        mixed = [0.0] * 20 + [1.0, 1.1, 0.9, 1.05, 0.95, 100.0]
        assert np.flatnonzero(stands_out(mixed, 3)).tolist() == [25]


def test_8_bit_images_with_a_black_sky_go_through_the_stages(tmp_path: Path, script):
    """More than half of each is exactly zero."""
    source, run, rng = tmp_path / "source", Run(tmp_path / "run"), np.random.default_rng(4)
    source.mkdir()
    for number in range(16):
        flux = draw_galaxy(MORPHOLOGIES[number % 7], rng.uniform(0, 3), rng)
        light = np.round(eight_bit(flux, 6) * 255).astype(np.uint8)
        assert (light == 0).mean() > 0.5
        image = Image.fromarray(np.ascontiguousarray(light[::-1].transpose(1, 2, 0)))
        image.save(source / f"{number}.{'png' if number % 2 else 'jpg'}")
    latents = ("--num-var", "3")
    for stage in (
        ("data/import_images.py", "--folder", str(source)),
        ("make_datatxt.py",),
        ("Galaxy_VAE_n.py", *latents, "--epochs", "1", "--batch-size", "8"),
        ("analysis/extract_latents.py", *latents),
        ("analysis/decals_4.py", *latents),
    ):
        done = script(stage[0], run, *stage[1:])
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr and "nan" not in done.stdout
    table = read_parquet(run.latents(3))
    assert np.isfinite(
        table[["reduced_chi2", "ssim", "residual", "mu_00", "background_rms_over_flux"]]
    ).all(axis=None)
    assert set(table["split"]) == {"train", "validation", "test"}
