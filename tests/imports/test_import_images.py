"""Anybody's images become cutouts: flux, sky and handedness kept, labels along, nothing lost."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from conftest import load_script, succeeded
from PIL import Image
from scipy.ndimage import uniform_filter

import make_datatxt
from VAE_model.data.astrometry import local_tangent_plane, position_at
from VAE_model.data.cutout_writer import tangent_plane, write_cutout
from VAE_model.data.cutouts import SIZE, Cutout, read_cutout
from VAE_model.imports.band_files import band_columns, match
from VAE_model.imports.display import as_display, read_display
from VAE_model.imports.importing import Job, Outcome, import_image, position_in_name, target_names
from VAE_model.imports.matching import rows_of_files
from VAE_model.imports.resample import Window, overlap, regrid
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.tables.reading import read_table

import_images = load_script("data/import_images.py")
RA, DEC = 154.7709, 46.4537


def sky(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(3, height, width) of noise about zero with a peak that is off the centre, as flux."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    peak = np.exp(-0.5 * ((x - 0.7 * width) ** 2 + (y - 0.6 * height) ** 2) / (width / 80) ** 2)
    return (rng.normal(0, 0.01, (3, height, width)) + peak).astype(np.float32)


def write_frame(path: Path, flux: np.ndarray, scale: float = 0.1, **keys) -> fits.Header:
    """A cutout of any size as the service writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cards = tangent_plane(RA, DEC, scale, flux.shape[-1])
    cards["CRPIX2"] = (flux.shape[-2] + 1) / 2
    header = fits.Header({"SURVEY": "DECaLS", "VERSION": "DR5", "BANDS": "grz", **cards, **keys})
    fits.PrimaryHDU(flux, header).writeto(path)
    return header


def import_one(source: Path, mode: str = "resample") -> Outcome:
    return import_image(Job(source, source.with_name("out") / "a.fits", mode))


def written(source: Path) -> Path:
    return source.with_name("out") / "a.fits"


def cutout_of(source: Path, mode: str = "resample") -> Cutout:
    """The cutout that an import makes of an image, which it must not refuse."""
    assert not import_one(source, mode).reason
    return read_cutout(written(source))


def import_all(run: Run, folder: Path, **constants) -> None:
    constants = {"run": run.folder, "folder": folder, "workers": 1, **constants}
    import_images.main(import_images.Config(**constants))


def refused(run: Run, name: str = "imported") -> dict[str, str]:
    with open(run.import_refused(name), newline="") as stream:
        return {row["file"]: row["reason"] for row in csv.DictReader(stream)}


# Resampling


@pytest.mark.parametrize("pixels", [100, 225, 256, 257, 424, 1000])
def test_each_input_pixel_is_shared_out_completely(pixels):
    weights = overlap(pixels, 0.0, pixels / SIZE)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-8)
    np.testing.assert_allclose(weights.sum(axis=1), pixels / SIZE, atol=1e-8)
    assert weights.min() == 0 and np.count_nonzero(weights) <= pixels + SIZE


@pytest.mark.parametrize("side", [32, 64, 69, 88, 200])
def test_an_enlarged_frame_is_linear_between_pixels(side):
    """No flux comes or goes, nothing overshoots, a slope stays a slope, and there are no blocks."""
    flux, where = sky(side, side), Window(0, 0, side / SIZE)
    large = regrid(flux, where)
    np.testing.assert_allclose(large.sum((1, 2)), flux.sum((1, 2), dtype=float), rtol=1e-5)
    brightness = large / where.step**2
    for after, before in zip(brightness, flux, strict=True):
        assert before.min() - 1e-6 <= after.min() < after.max() <= before.max() + 1e-6
    y, x = np.mgrid[:side, :side].astype(np.float32)
    slope = regrid(np.stack([x, y, 2 * x - y]) + 100, where, mean=True)
    inner = slice(SIZE // side + 1, -SIZE // side - 1)
    v, u = (np.mgrid[:SIZE, :SIZE] + 0.5) * where.step - 0.5
    for plane, right in zip(slope, (u, v, 2 * u - v), strict=True):
        np.testing.assert_allclose(plane[inner, inner], right[inner, inner] + 100, rtol=1e-4)


def test_enlarging_leaves_missing_data_missing():
    flux = sky(64, 64) + 5
    flux[0, 20:40, 10:30] = 0
    large = regrid(flux, Window(0, 0, 0.25))
    hole = np.zeros((SIZE, SIZE), bool)
    hole[80:160, 40:120] = True
    assert (large[0][hole] == 0).all() and (large[0][~hole] > 0.2).all()
    np.testing.assert_allclose(large.sum((1, 2)), flux.sum((1, 2), dtype=float), rtol=1e-5)
    black = regrid(flux, Window(0, 0, 0.25), mean=True)[0]  # black is a brightness, not a gap
    assert (np.abs(np.diff(black[:, 80])) < 0.3 * 5).all() and black[120, 80] == 0


def test_a_frame_almost_of_the_right_scale_is_not_blurred():
    flux = sky(SIZE, SIZE)
    same = regrid(flux, Window(1e-4, 1e-4, 1 - 1e-6))
    np.testing.assert_allclose(same, flux, atol=1e-3)


def test_a_small_picture_is_enlarged_smoothly(tmp_path):
    """As of EFIGI (88 pixels), GalaxyMNIST (64), Galaxy10 SDSS (69)."""
    for side in (64, 69, 88):
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        light = 250 * np.exp(-(x**2 + (1.7 * y) ** 2) / (side / 4) ** 2)
        Image.fromarray(np.stack([light] * 3, -1).astype(np.uint8)).save(tmp_path / "a.png")
        plane = cutout_of(tmp_path / "a.png").flux[1]
        v, u = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * side / SIZE
        right = 250 / 255 * np.exp(-(u**2 + (1.7 * v) ** 2) / (side / 4) ** 2)
        assert np.abs(plane - right).max() < 0.02


@pytest.mark.parametrize("side", [100, 225, 424, 777])
def test_flux_is_conserved(tmp_path, side):
    flux = sky(side, side)
    write_frame(tmp_path / "a.fits", flux)
    before, after = flux.sum((1, 2), dtype=float), cutout_of(tmp_path / "a.fits").flux
    np.testing.assert_allclose(after.sum((1, 2), dtype=float), before, rtol=1e-5)


def test_a_frame_of_the_right_size_is_not_touched(tmp_path):
    flux = sky(SIZE, SIZE)
    write_frame(tmp_path / "a.fits", flux)
    np.testing.assert_array_equal(cutout_of(tmp_path / "a.fits").flux, flux)


def test_exact_zeros_stay_exact_zeros(tmp_path):
    flux = sky(424, 424)
    flux[:2, 106:] = 0
    write_frame(tmp_path / "a.fits", flux)
    pixels = cutout_of(tmp_path / "a.fits").flux
    assert (pixels[:2, 64:] == 0).all() and (pixels[:2, :64] != 0).all() and (pixels[2] != 0).all()


def test_negative_sky_survives(tmp_path):
    write_frame(tmp_path / "a.fits", sky(424, 424) - 0.05)
    assert np.median(cutout_of(tmp_path / "a.fits").flux) < -0.1  # (424/256)^2 * -0.05


def test_nothing_outside_the_window_matters():
    flux = sky(400, 400)
    flux[:, :10] = np.nan
    whole = regrid(sky(400, 400), Window(72, 72, 1.0))
    np.testing.assert_array_equal(regrid(flux, Window(72, 72, 1.0)), whole)


# Position


def peak_on_the_sky(flux: np.ndarray, header: fits.Header) -> tuple[float, float]:
    """RA and Dec of the brightest spot: its centroid in a box of a twelfth of the frame."""
    plane = flux[1].astype(float)
    y, x = np.unravel_index(plane.argmax(), plane.shape)
    reach = flux.shape[-1] // 12
    box = plane[y - reach : y + reach + 1, x - reach : x + reach + 1]
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    ra, dec = WCS(header).celestial.pixel_to_world_values(
        x + (box * u).sum() / box.sum(), y + (box * v).sum() / box.sum()
    )
    return float(ra), float(dec)


@pytest.mark.parametrize("mode", ["resample", "crop", "scale"])
@pytest.mark.parametrize("shape", [(424, 424), (512, 640), (701, 300)])
@pytest.mark.parametrize("turn", [0, 33])
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
def test_a_star_stays_where_it_is_on_the_sky(tmp_path, mode, shape, turn):
    rng, (height, width), scale = np.random.default_rng(1), shape, 0.24
    y, x = np.mgrid[:height, :width]
    spot = np.exp(-0.5 * ((x - width / 2 - 61.3) ** 2 + (y - height / 2 + 43.8) ** 2) / 9)
    flux = (spot + rng.normal(0, 1e-5, (3, *shape))).astype(np.float32)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    cd = np.array([[-cos, sin], [sin, cos]]) * scale / 3600
    keys = {f"CD{i + 1}_{j + 1}": cd[i, j] for i in range(2) for j in range(2)}
    header = write_frame(tmp_path / "a.fits", flux, CRPIX1=-300.0, CRPIX2=17.0, **{**keys})
    outcome = import_one(tmp_path / "a.fits", mode)
    assert not outcome.reason and not outcome.mirrored
    new = fits.getheader(written(tmp_path / "a.fits"))
    before = peak_on_the_sky(flux, header)
    after = peak_on_the_sky(read_cutout(written(tmp_path / "a.fits")).flux, new)
    pixel = np.sqrt(
        abs(np.linalg.det([[new["CD1_1"], new["CD1_2"]], [new["CD2_1"], new["CD2_2"]]]))
    )
    off = np.hypot((after[0] - before[0]) * np.cos(np.radians(before[1])), after[1] - before[1])
    assert off / pixel < 0.1
    if mode == "scale":
        assert pixel * 3600 == pytest.approx(0.262, rel=1e-6)


def test_a_distorted_wcs_is_followed():
    header = fits.Header(tangent_plane(10.0, -80.0, 0.262, 1000))
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header.update(A_ORDER=2, B_ORDER=2, A_2_0=2e-6, B_0_2=-2e-6, A_1_1=1e-6)
    new = fits.Header(local_tangent_plane(header, 800.0, 700.0, 1.0, SIZE))
    x, y = (axis.ravel() for axis in np.meshgrid([1, 128.5, 256], [1, 128.5, 256]))
    old = WCS(header).all_pix2world(x + 800 - 128.5, y + 700 - 128.5, 1)
    there = WCS(new).all_world2pix(*old, 1)
    assert np.hypot(there[0] - x, there[1] - y).max() < 0.1


def test_galactic_and_old_coordinates_become_icrs():
    header = fits.Header(tangent_plane(0.0, 0.0, 1.0))
    header["CTYPE1"], header["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    assert position_at(header, 128.5, 128.5) == pytest.approx((266.405, -28.936), abs=1e-3)
    header = fits.Header({**tangent_plane(180.0, 0.0, 1.0), "RADESYS": "FK4", "EQUINOX": 1950.0})
    assert position_at(header, 128.5, 128.5)[0] == pytest.approx(180.641, abs=0.01)


def test_a_frame_mirrored_by_its_wcs_is_said_to_be_and_left_alone(tmp_path):
    flux = sky(300, 300)
    write_frame(tmp_path / "a.fits", flux, CD1_1=0.1 / 3600)
    outcome = import_one(tmp_path / "a.fits", "crop")
    assert outcome.mirrored and not outcome.reason
    np.testing.assert_array_equal(
        read_cutout(written(tmp_path / "a.fits")).flux, flux[:, 22:278, 22:278]
    )


def test_positions_in_names():
    assert position_in_name("154.7709_-46.4537.jpg") == (154.7709, -46.4537)
    ra, dec = position_in_name("x/J000411.19-020924.0.jpg")
    assert (ra, dec) == (pytest.approx(1.046625, abs=1e-5), pytest.approx(-2.156667, abs=1e-5))
    for name in ("galaxy_0001.jpg", "J256199.00+020924.0.jpg", "400.5_10.5.fits", "10.5_95.5.fits"):
        assert np.isnan(position_in_name(name)).all()


# Modes and refusals


def test_modes_take_what_they_say(tmp_path):
    flux = sky(301, 424)
    write_frame(tmp_path / "a.fits", flux, scale=0.262)
    outcome = import_one(tmp_path / "a.fits", "crop")
    assert not outcome.cut
    pixels = read_cutout(written(tmp_path / "a.fits")).flux
    np.testing.assert_array_equal(pixels, flux[:, 22:278, 84:340])
    assert import_one(tmp_path / "a.fits", "resample").cut  # the central square of 301 pixels
    pixels = read_cutout(written(tmp_path / "a.fits")).flux
    square = flux[:, :, 61:362].sum((1, 2))  # and half a column on its left and right
    np.testing.assert_allclose(pixels.sum((1, 2)), square, rtol=0.02)


def test_nothing_is_padded(tmp_path):
    write_frame(tmp_path / "a.fits", sky(225, 225), scale=0.262)
    for mode in ("crop", "scale"):
        reason = import_one(tmp_path / "a.fits", mode).reason
        assert reason.startswith(f"too small: 225 x 225 pixels, mode {mode} needs 256")
    assert not import_one(tmp_path / "a.fits", "resample").reason


def test_scale_without_a_wcs_is_refused(tmp_path):
    fits.PrimaryHDU(sky(300, 300)).writeto(tmp_path / "a.fits")
    assert import_one(tmp_path / "a.fits", "scale").reason.startswith("no scale: ")
    outcome = import_one(tmp_path / "a.fits")
    assert not outcome.reason and np.isnan(outcome.ra)
    assert "CRVAL1" not in fits.getheader(written(tmp_path / "a.fits"))


def test_bands_are_taken_by_name(tmp_path):
    flux = sky(300, 300) * np.array([1, 2, 3])[:, None, None]
    four = np.stack([flux[2], 9 + flux[0], flux[1], flux[0]]).astype(np.float32)
    write_frame(tmp_path / "a.fits", four, BANDS="zirg")
    pixels = cutout_of(tmp_path / "a.fits", "crop").flux
    np.testing.assert_array_equal(pixels, flux.astype(np.float32)[:, 22:278, 22:278])
    write_frame(tmp_path / "b.fits", flux.astype(np.float32), BANDS="gri")
    assert import_one(tmp_path / "b.fits").reason.startswith(
        "wrong bands: 'gri', not 'grz': choose"
    )


def test_each_refusal_has_its_reason(tmp_path):
    def of(name: str) -> str:
        return import_one(tmp_path / name).reason

    write_frame(tmp_path / "tiny.fits", sky(31, 40))
    assert of("tiny.fits") == "not a cutout: planes of 31 x 40 pixels, fewer than 32 on a side"
    y, x = np.mgrid[:63, :63] - 31
    psf = (1 + (x**2 + y**2) / 9) ** -2.5
    write_frame(tmp_path / "psf.fits", np.stack([psf / psf.sum()] * 3).astype(np.float32))
    assert of("psf.fits").startswith("not a cutout: a PSF, as each plane has a sum of 1 and its")
    write_frame(tmp_path / "short.fits", sky(300, 300))
    os.truncate(tmp_path / "short.fits", 500_000)
    assert of("short.fits").startswith("truncated: ")
    write_frame(tmp_path / "nan.fits", np.where(sky(300, 300) > 0.9, np.nan, sky(300, 300)))
    assert of("nan.fits").startswith("non-finite: ")
    write_frame(tmp_path / "zero.fits", sky(300, 300) * 0)
    assert of("zero.fits") == "band without signal: g, all pixels are zero"
    fits.PrimaryHDU(sky(300, 300)[0]).writeto(tmp_path / "plane.fits")
    assert of("plane.fits").startswith("wrong shape: 300 x 300")
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    assert of("text.jpg") == "not an image: neither JPEG nor PNG inside"
    Image.new("RGB", (9000, 8000)).save(tmp_path / "huge.png")
    assert of("huge.png") == "too large: more than 32 megapixels"
    Image.new("RGB", (31, 200)).save(tmp_path / "thumb.png")
    assert of("thumb.png") == "not a cutout: 200 x 31 pixels, fewer than 32 on a side"
    Image.fromarray(np.zeros((300, 300), np.float32)).save(tmp_path / "float.tif")
    assert of("float.tif").startswith("unreadable: pixels of type F, neither 8-bit colour nor 16")
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("navy", "red")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    assert of("moves.gif") == "not a cutout: 2 images in one file: save each by itself"
    Image.new("RGB", (300, 300), "navy").save(tmp_path / "plain.png")
    assert of("plain.png").startswith("band without signal: g")
    save_picture(tmp_path / "half.jpg")
    os.truncate(tmp_path / "half.jpg", (tmp_path / "half.jpg").stat().st_size // 2)
    assert of("half.jpg").startswith("truncated: ")
    (tmp_path / "folder.jpg").mkdir()
    assert of("folder.jpg").startswith("unreadable: ")


# JPEG and PNG


def picture(height: int = 300, width: int = 300) -> np.ndarray:
    """(y, x, 3), 8 bits: red above, green at the left, blue at the lower right; row 0 on top."""
    image = np.full((height, width, 3), 20, np.uint8)
    image[: height // 3, :, 0] = 200
    image[:, : width // 3, 1] = 150
    image[2 * height // 3 :, 2 * width // 3 :, 2] = 100
    return image


def save_picture(path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 8, (300, 300, 3), np.uint8)
    Image.fromarray(picture() + noise).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_picture_stands_on_the_sky_as_it_stood_on_the_screen(tmp_path, name):
    save_picture(tmp_path / name, quality=95)
    cutout = cutout_of(tmp_path / name)
    assert cutout.display and (cutout.survey, cutout.release) == ("unknown", "display")
    assert np.isnan(cutout.ra) and 0 <= cutout.flux.min() < cutout.flux.max() <= 1
    g, r, z = cutout.flux * 255  # blue, green, red
    assert z[-50:].min() > 150 > 60 > z[:100].max()  # red above: in the last rows of a FITS
    assert r[:, :50].min() > 100 > 60 > r[:, -100:].max()  # green at the left: not mirrored
    assert g[:50, -50:].min() > 70 > 60 > g[-100:].max()  # blue at the lower right
    shown = cutout.flux[::-1].transpose(1, 2, 0)[::-1] * 255  # as colour images are shown
    same = np.asarray(Image.open(tmp_path / name).resize((SIZE, SIZE), Image.Resampling.BOX))
    assert np.abs(shown - same).mean() < 2  # of 255


def test_display_units_keep_their_mean_not_their_sum(tmp_path):
    save_picture(tmp_path / "a.png")
    before = np.asarray(Image.open(tmp_path / "a.png")).mean((0, 1))[::-1] / 255
    after = cutout_of(tmp_path / "a.png").flux.mean((1, 2))
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_a_turned_photograph_is_read_as_viewers_show_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    save_picture(tmp_path / "a.jpg", quality=95, exif=exif)
    z = cutout_of(tmp_path / "a.jpg").flux[2] * 255
    assert z[:, -50:].min() > 150 > 60 > z[:, :100].max()  # what was above is at the right


def test_an_imported_picture_imports_again_as_itself(tmp_path):
    save_picture(tmp_path / "a.png")
    once = cutout_of(tmp_path / "a.png")
    (tmp_path / "again").mkdir()
    outcome = import_image(Job(written(tmp_path / "a.png"), tmp_path / "again/a.fits", "resample"))
    again = read_cutout(tmp_path / "again/a.fits")
    assert not outcome.reason and again.display
    np.testing.assert_array_equal(again.flux, once.flux)


def test_every_format_is_read_as_viewers_show_it(tmp_path):
    """Palettes, transparency, print colours, grey of 8 and 16 bits."""
    save_picture(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png").convert("RGB")
    right = np.asarray(image)[::-1, :, ::-1].transpose(2, 0, 1) / 255
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.repeat([0, 255], 150)[:, None].repeat(300, 1).astype("u1")))
    grey = np.asarray(image.convert("L"))
    for name, made, expected in (
        ("a.tif", image, right),
        ("a.bmp", image, right),
        ("a.webp", image, right),
        ("a.gif", image.quantize(), right),
        ("cmyk.jpg", image.convert("CMYK"), right),
        ("clear.png", clear, right * (np.arange(300) < 150)[:, None]),  # black where transparent
        ("grey.png", image.convert("L"), grey[::-1] / 255),
        ("la.png", image.convert("LA"), grey[::-1] / 255),
        ("deep.png", Image.fromarray(grey.astype(np.uint16) * 257), grey[::-1] / 255),
        ("deep.tif", Image.fromarray(grey.astype(np.uint16) * 257), grey[::-1] / 255),
    ):
        made.save(tmp_path / name)
        brightness = read_display(tmp_path / name)
        assert brightness.shape == (3, 300, 300)
        lossy = name.endswith((".webp", ".gif", ".jpg"))
        assert np.abs(brightness - expected).mean() < (0.06 if lossy else 1e-6), name


# Bands, units, files per band


def test_what_was_done_to_the_images_is_said(tmp_path, capsys):
    run, folder = Run(tmp_path / "run"), tmp_path / "mine"
    Image.open(save_picture(folder / "grey.png")).convert("L").save(folder / "grey.png")
    four = np.concatenate([sky(64, 64), sky(64, 64, 1)[:1]])
    write_frame(folder / "four.fits", four, BANDS="grzi")
    header = write_frame(folder / "counts.fits", sky(300, 300) * 10, MAGZERO=25.0)
    fits.PrimaryHDU(sky(300, 300) * 1e-9, fits.Header({})).writeto(folder / "odd.fits")
    import_all(run, folder)
    said = capsys.readouterr().out
    for remark in (
        "imported 4 of 4 images",
        "1 lost their bands i: only g, r, z are taken",
        "1 are grey: all three bands are the same, and colours mean nothing",
        "1 were enlarged, up to 4 times",
        "1 were converted to nanomaggies",
        "1 do not name their bands: taken as g, r, z in this order",
        "1 images state no unit and have",
    ):
        assert remark in said, said
    assert header["MAGZERO"] == 25 and said.count("are these maggies") == 1
    assert fits.getheader(run.images("imported") / "counts.fits")["BUNIT"] == "nanomaggy"


def test_the_scale_is_recorded(tmp_path):
    run, folder = Run(tmp_path / "run"), tmp_path / "mine"
    write_frame(folder / "a.fits", sky(64, 64), scale=1.0)
    save_picture(folder / "b.jpg")
    (tmp_path / "t.csv").write_text("file,pixel_scale\na.fits,7\nb.jpg,8\n")
    import_all(run, folder, table=tmp_path / "t.csv")
    labels = pd.read_parquet(run.labels).set_index("path")
    a, b = labels.loc["images/imported/a.fits"], labels.loc["images/imported/b.fits"]
    assert (a["pixel_scale"], a["enlarged"]) == (pytest.approx(0.25, rel=1e-6), 4)
    assert np.isnan(b["pixel_scale"]) and b["enlarged"] == pytest.approx(256 / 300)
    assert a["pixel_scale_of_table"] == 7
    header = fits.getheader(run.images("imported") / "a.fits")
    assert (header["ORIGSIZE"], header["IMPSTEP"]) == ("64 x 64", 0.25)
    assert header["ORIGSCAL"] == pytest.approx(1.0, rel=1e-6)


def test_the_unit_of_a_whole_folder_may_be_given(tmp_path):
    flux = sky(SIZE, SIZE)
    write_frame(tmp_path / "mine" / "a.fits", flux * np.float32(1e-9))
    for constants in ({"unit": "maggy"}, {"zero_point": 0.0}, {"unit": "adu", "zero_point": 0.0}):
        run = Run(tmp_path / "_".join(constants))
        import_all(run, tmp_path / "mine", **constants)
        pixels = read_cutout(run.images("imported") / "a.fits").flux
        np.testing.assert_allclose(pixels, flux, rtol=1e-5, atol=1e-7)
    for constants in ({"unit": "furlong"}, {"bands": "griz"}):
        with pytest.raises(Problem, match=next(iter(constants))):
            import_all(Run(tmp_path / "no"), tmp_path / "mine", **constants)


def test_numbers_for_display_run_from_below_the_sky_to_the_brightest(tmp_path):
    rng = np.random.default_rng(0)
    plane = 4500 + rng.normal(0, 100, (300, 300))
    plane[140:160, 140:160] = 20_000
    shown = as_display(np.stack([plane, 3 * plane + 7, plane]).astype(np.float32))
    assert shown.min() == 0 and shown.max() == 1 and (shown == 0).mean() < 0.003
    assert np.median(shown) == pytest.approx(300 / (20_000 - 4200), rel=0.05)
    np.testing.assert_allclose(shown[1], shown[0], atol=1e-4)  # whatever the gain and the offset


def plate(path: Path, side: int, scale: float, turn: float = 0.0, **cards) -> np.ndarray:
    """Densities of a galaxy of two arms' length on a plate of sky 4500 and noise 100."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wcs = tangent_plane(RA, DEC, scale, side)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    step = scale / 3600
    wcs |= {"CD1_1": -step * cos, "CD1_2": step * sin, "CD2_1": step * sin, "CD2_2": step * cos}
    header = fits.Header({**wcs, **cards})
    y, x = np.mgrid[:side, :side]
    ra, dec = WCS(header).all_pix2world(x, y, 0)
    east, north = (ra - RA) * np.cos(np.radians(DEC)) * 3600, (dec - DEC) * 3600
    light = 9000 * np.exp(-((east - 12) ** 2 / 400 + (north - 6) ** 2 / 100))
    noise = np.random.default_rng(side).normal(0, 100, (side, side))
    fits.PrimaryHDU((4500 + light + noise).astype(np.int16), header).writeto(path)
    return light


@pytest.mark.filterwarnings("ignore")
def test_plates_of_three_bands_are_joined_on_one_grid(tmp_path, script):
    """Other pixels, another turn, no unit: as POSS-I and POSS-II, a file per band."""
    run, folder = Run(tmp_path / "run"), tmp_path / "plates"
    light = plate(folder / "a_blue.fits", 300, 1.0)
    plate(folder / "a_red.fits", 260, 1.4, turn=20)
    plate(folder / "a_ir.fits", 300, 1.0, CRPIX1=153.0)
    plate(folder / "stray.fits", 64, 1.0)
    table = "name,g,r,z,kind\ngal,a_blue.fits,a_red.fits,a_ir.fits,Sb\nlost,b.fits,,c.fits,E\n"
    (tmp_path / "t.csv").write_text(table)
    arguments = ("--folder", str(folder), "--table", str(tmp_path / "t.csv"), "--unit", "display")
    done = succeeded(script("data/import_images.py", run, *arguments))
    assert "imported 1 of 2 images" in done.stdout
    reasons = refused(run)
    assert reasons["lost"].startswith("missing band: row 2 of the table names") and (
        reasons["stray.fits"].startswith("no row")
    )
    labels = pd.read_parquet(run.labels)
    assert labels["kind"].tolist() == ["Sb"]
    cutout = read_cutout(run.folder / labels["path"][0])
    assert cutout.display and (cutout.ra, cutout.dec) == pytest.approx((RA, DEC), abs=1e-4)
    margin = (300 - round(256 / labels["enlarged"][0])) // 2
    right = regrid(light[None, margin:-margin or None, margin:-margin or None].astype("f4"),
                   Window(0, 0, (300 - 2 * margin) / SIZE), mean=True)[0]  # fmt: skip
    for plane in cutout.flux:
        assert np.corrcoef(plane.ravel(), right.ravel())[0, 1] > 0.98
    y, x = np.unravel_index(right.argmax(), right.shape)
    for plane in cutout.flux:
        at = np.unravel_index(uniform_filter(plane, 9).argmax(), plane.shape)
        assert np.hypot(at[0] - y, at[1] - x) < 3


def test_calibrated_planes_keep_their_flux_on_another_grid(tmp_path):
    """Nanomaggies per pixel grow with the pixel's area; two files give a mean as r."""
    y, x = np.mgrid[:200, :200] - 99.5
    fine = np.exp(-(x**2 + y**2) / 800)
    v, u = np.mgrid[:100, :100] - 49.5
    coarse = 4 * np.exp(-(u**2 + v**2) / 200)  # the same sky with pixels twice as wide
    folder = tmp_path / "mine"
    write_frame(folder / "g.fits", (fine + 1e-3)[None].astype("f4"), scale=0.5, BANDS="g")
    write_frame(folder / "z.fits", (coarse + 4e-3)[None].astype("f4"), scale=1.0, BANDS="z")
    (tmp_path / "t.csv").write_text("g,z\ng.fits,z.fits\n")
    run = Run(tmp_path / "run")
    import_all(run, folder, table=tmp_path / "t.csv")
    g, r, z = read_cutout(run.images("imported") / "g.fits").flux
    assert np.abs(z - g).max() < 0.01 * g.max()
    np.testing.assert_allclose(r, (g + z) / 2, atol=1e-6)


def test_planes_that_do_not_fit_are_refused(tmp_path):
    folder, run = tmp_path / "mine", Run(tmp_path / "run")
    for name, side in (("a", 64), ("b", 80), ("c", 64)):
        folder.mkdir(exist_ok=True)
        fits.PrimaryHDU(sky(side, side)[0]).writeto(folder / f"{name}.fits")
    write_frame(folder / "maggy.fits", sky(64, 64)[:1], BUNIT="maggy")
    rows = ["a,c,a", "a,b,c", "a,c,maggy"]
    files = [",".join(f"{name}.fits" for name in row.split(",")) for row in rows]
    (tmp_path / "t.csv").write_text("g,r,z\n" + "\n".join(files) + "\n")
    table = pd.read_csv(tmp_path / "t.csv")
    table["name"] = ["one", "two", "three"]
    table.iloc[:1].to_csv(tmp_path / "t.csv", index=False)
    names = [path.name for path in sorted(folder.iterdir())]
    matched, unused = match(names, table.iloc[:1], band_columns(table))
    assert matched == [{"g": "a.fits", "r": "c.fits", "z": "a.fits"}] and len(unused) == 2

    def of(*planes: str) -> str:
        files = tuple(
            (band, folder / f"{name}.fits") for band, name in zip("grz", planes, strict=True)
        )
        return import_image(
            Job(files[0][1], tmp_path / "out.fits", "resample", planes=files)
        ).reason

    assert of("a", "c", "a") == ""  # without a WCS, planes of one size lie on one grid
    assert of("a", "b", "c").startswith("different grids: g 64 x 64, r 80 x 80, z 64 x 64 pixels")
    assert of("a", "c", "maggy").startswith("unknown unit: the bands have different units (g none")
    magnitudes = pd.DataFrame({"file": ["a.fits"], "g": [17.2], "r": [16.5], "z": [16.0]})
    assert band_columns(magnitudes) == {} and not run.labels.exists()


# Names and tables


def test_names_are_plain_distinct_and_inside(tmp_path):
    sources = ["a/x.jpg", "b/x.jpg", "b/X.png", "x y ä.fits.gz", "...", ".jpg", "n" * 300 + ".jpg"]
    names = target_names(sources)
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert Path(name).name == name and name.isascii() and not name.startswith(".")
        assert len(name) < 150 and name.endswith(".fits")
    assert names[3] == "x_y__.fits"
    assert target_names(sources[::-1]) == names[::-1]
    assert target_names(["x.jpg", "y.jpg"]) == ["x.fits", "y.fits"]


def test_rows_find_their_files():
    table = pd.DataFrame({"file": ["x.jpg", "images/b/y.jpg", "z", "c/w.jpg", "d/w.jpg"]})
    files = ["x.jpg", "b/y.jpg", "z.fits", "c/w.jpg", "d/w.jpg", "none.jpg"]
    assert rows_of_files(files, table) == [0, 1, 2, 3, 4, None]
    names = pd.DataFrame({"iauname": ["J000411.19+020924.0"]})
    assert rows_of_files(["J000411.19+020924.0.jpg"], names) == [0]
    for found in rows_of_files(["a/x.jpg", "b/x.jpg"], table):
        assert found == "ambiguous: row 1 of the table, x.jpg, names 2 files"
    twice = pd.DataFrame({"file": ["x.jpg", "x.jpg"]})
    assert rows_of_files(["x.jpg"], twice)[0].startswith("ambiguous: rows 1 and 2")
    with pytest.raises(Problem, match="no column file or filename"):
        rows_of_files(["x.jpg"], pd.DataFrame({"label": [1]}))


@pytest.mark.parametrize("ending", ["csv", "fits", "parquet", "vot"])
def test_labels_and_positions_travel_along(tmp_path, ending):
    run, folder = Run(tmp_path / "run"), tmp_path / "mine"
    for name in ("007.jpg", "b/008.png", "009.jpg"):
        save_picture(folder / name)
    table = pd.DataFrame(
        {
            "file": ["007.jpg", "008.png", "lost.jpg"],
            "RA": [10.5, 20.25, 1.0],
            "Dec": [-1.5, 2.0, 1.0],
            "label": ["spiral", "ring", "gone"],
            "votes": [3, 4, 5],
        }
    )
    path = tmp_path / f"table.{ending}"
    if ending == "csv":
        table.to_csv(path, index=False)
    elif ending == "parquet":
        table.to_parquet(path)
    else:
        format_ = "votable" if ending == "vot" else "fits"
        Table.from_pandas(table).write(path, format=format_)
    import_all(run, folder, table=path)
    labels = pd.read_parquet(run.labels)
    assert list(labels.columns[:4]) == ["path", "iauname", "ra", "dec"]
    assert labels["path"].tolist() == [f"images/imported/00{n}.fits" for n in (7, 9, 8)]
    assert labels["label"].tolist()[::2] == ["spiral", "ring"] and pd.isna(labels["label"][1])
    assert labels["votes"].tolist()[::2] == [3, 4]
    assert labels["ra"].tolist()[::2] == [10.5, 20.25]
    assert labels["iauname"].tolist() == ["J004200.00-013000.0", "009", "J012100.00+020000.0"]
    cutout = read_cutout(run.folder / labels["path"][0])
    assert (cutout.ra, cutout.dec) == (10.5, -1.5)
    assert "CRVAL1" not in fits.getheader(run.folder / labels["path"][0])  # no scale is known


def test_imports_of_one_run_share_the_labels(tmp_path):
    run = Run(tmp_path / "run")
    for name, label in (("one", 1), ("two", "spiral")):
        save_picture(tmp_path / name / f"{name}.jpg")
        table = tmp_path / f"{name}.csv"
        table.write_text(f"file,label\n{name}.jpg,{label}\n")
        import_all(run, tmp_path / name, name=name, table=table)
    labels = pd.read_parquet(run.labels)
    assert labels["path"].tolist() == ["images/one/one.fits", "images/two/two.fits"]
    assert labels["label"].tolist() == ["1", "spiral"]
    make_datatxt.main(make_datatxt.Config(run=run.folder))
    assert run.train_txt.read_text().splitlines() == labels["path"].tolist()
    # An original that goes takes its image along, and nobody else's.
    (tmp_path / "one/one.jpg").unlink()
    save_picture(tmp_path / "one" / "new.jpg")
    import_all(run, tmp_path / "one", name="one")
    labels = pd.read_parquet(run.labels)
    assert labels["path"].tolist() == ["images/two/two.fits", "images/one/new.fits"]
    assert not (run.folder / "images/one/one.fits").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,ra\na.jpg,1", "only one of the columns ra and dec"),
        ("file,ra,dec\na.jpg,1,95", "dec in row 1 is 95"),
        ("file,ra,dec\nb.jpg,1,5\na.jpg,12:30,5", "ra in row 2 is 12:30"),
        ("file,ra,dec\n", "has no rows"),
        ("", "is not a readable table"),
        ("file,RA,ra,dec\na.jpg,1,1,5", "two columns ra"),
    ],
)
def test_a_bad_table_is_one_clear_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(Problem, match=message):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("ending", ["fits", "parquet", "vot", "xlsx"])
def test_a_table_that_is_none_is_one_clear_line(tmp_path, ending):
    (tmp_path / f"t.{ending}").write_text("no table")
    with pytest.raises(Problem, match=f"t.{ending}"):
        read_table(tmp_path / f"t.{ending}")
    with pytest.raises(Problem, match=r"gone.csv is missing"):
        read_table(tmp_path / "gone.csv")


# The script


def test_a_folder_is_imported_and_again_not(tmp_path, script):
    run, folder = Run(tmp_path / "run"), tmp_path / "mine"
    for number in range(70):  # enough for several processes
        save_picture(folder / f"{number % 3}" / f"{number}.jpg")
    save_picture(folder / "0" / "same.jpg")
    save_picture(folder / "1" / "same.jpg")
    write_frame(folder / "frame.fits", sky(300, 300))
    (folder / "bad.fits").write_text("text")
    (folder / "notes.txt").write_text("mine")
    (folder / "labels.csv").write_text("file,label\n1.jpg,yes\nframe,no\nlost.jpg,no\n")
    arguments = ("--folder", str(folder), "--table", str(folder / "labels.csv"))
    plan = script("data/import_images.py", run, *arguments, "--dry-run")
    assert plan.returncode == 0 and "mode = resample" in plan.stdout and not run.folder.exists()
    done = succeeded(script("data/import_images.py", run, *arguments))
    assert "imported 73 of 74 images" in done.stdout and "refused 2: not an image" in done.stdout
    assert "2 rows have an image, 1 have none; 72 images have no row" in done.stdout
    assert sorted(refused(run)) == ["bad.fits", "notes.txt"]
    assert len(list(run.images("imported").iterdir())) == 73
    header = fits.getheader(run.images("imported") / "frame.fits")
    assert (header["ORIGFILE"], header["IMPMODE"]) == ("frame.fits", "resample")
    assert (header["VERSION"], header["SURVEY"]) == ("DR5", "DECaLS")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    again = script("data/import_images.py", run, *arguments)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    run.labels.unlink()
    import_all(run, folder, table=folder / "labels.csv", workers=2)
    assert len(pd.read_parquet(run.labels)) == 73


def test_bad_input_is_one_clear_line(tmp_path, script):
    run, empty, file = Run(tmp_path / "run"), tmp_path / "empty", tmp_path / "file"
    bad, good = tmp_path / "bad", tmp_path / "good"
    empty.mkdir()
    bad.mkdir()
    file.write_text("in place of a folder")
    (bad / "a.jpg").write_text("text")
    save_picture(good / "a.jpg")
    (good / "t.csv").write_text("label\n1\n")
    cases = [
        (run, {"folder": empty}, "holds no image"),
        (run, {"folder": bad}, "none of 1 images could be imported: see"),
        (run, {"folder": good, "name": "../up"}, "'../up' is no folder's name"),
        (run, {"folder": good, "table": good / "t.csv"}, "has no column file"),
        (run, {"folder": good, "table": tmp_path / "gone.csv"}, "gone.csv is missing"),
        (Run(good / "run"), {"folder": good}, "holds the run itself"),
    ]
    for where, constants, message in cases:
        with pytest.raises(Problem, match=re.escape(message)) as problem:
            import_all(where, **constants)
        assert "\n" not in str(problem.value)
    for where, folder, message in [(run, tmp_path / "gone", "is no folder"), (Run(file), good, "")]:
        done = script("data/import_images.py", where, "--folder", str(folder))
        assert done.returncode == 1 and message in done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not run.labels.exists() and not list(tmp_path.glob("up*"))


def test_an_image_that_no_import_made_is_not_overwritten(tmp_path):
    run = Run(tmp_path / "run")
    write_cutout(run.images() / "a.fits", sky(SIZE, SIZE), RA, DEC)
    before = (run.images() / "a.fits").read_bytes()
    save_picture(tmp_path / "mine" / "a.jpg")
    with pytest.raises(Problem, match=r"a\.fits was not made by an import: choose another --name"):
        import_all(run, tmp_path / "mine", name="decals")
    assert (run.images() / "a.fits").read_bytes() == before


def test_a_link_out_of_the_folder_writes_nothing_out_of_the_run(tmp_path):
    run = Run(tmp_path / "run")
    save_picture(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "..b.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    save_picture(tmp_path / "mine" / "c\\..\\d.jpg")
    import_all(run, tmp_path / "mine")
    made = {path.name for path in run.images("imported").iterdir()}
    assert made == {"c_.._d.fits"}  # names that begin with a dot are hidden: left alone
    assert {path.name for path in tmp_path.iterdir()} == {"run", "mine", "elsewhere"}


def test_a_table_with_a_file_for_two_of_the_bands_says_which_columns_are_needed():
    table = pd.DataFrame({"g": ["a.fits"], "r": ["b.fits"]})
    with pytest.raises(Problem, match="at least the columns g and z"):
        band_columns(table)
    assert band_columns(pd.DataFrame({"g": [18.2], "r": [17.9]})) == {}
