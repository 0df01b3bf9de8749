"""Images as the world writes them: positions in cubes, units of flux, bands in any order."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from conftest import succeeded

import make_datatxt
from VAE_model.data.astrometry import position_at
from VAE_model.data.cutout_writer import tangent_plane, write_cutout
from VAE_model.data.cutouts import PIXEL_SCALE, SIZE, BadCutout, read_cutout
from VAE_model.data.fits_frames import Reading, read_frame
from VAE_model.data.flux_units import NANOMAGGY, UnknownUnit, conversion, doubt, noise_ratio
from VAE_model.imports.importing import Job, import_image
from VAE_model.pipeline.run import Run

RA, DEC = 154.7709, 46.4537
NOISE = np.array([0.0031, 0.0044, 0.0117])[:, None, None]  # nanomaggies, of DECaLS


def galaxy(side: int = SIZE, seed: int = 0) -> np.ndarray:
    """(3, side, side) in nanomaggies: a galaxy with the noise of DECaLS; no two bands alike."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    light = np.exp(-np.hypot(x, 1.6 * y) / (side / 16))
    noise = np.random.default_rng(seed).normal(0, 1, (3, side, side)) * NOISE
    return (light * np.array([0.5, 1.0, 1.4])[:, None, None] + noise).astype(np.float32)


def write(path: Path, flux: np.ndarray, **cards) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = fits.Header({**tangent_plane(RA, DEC, PIXEL_SCALE, flux.shape[-1]), **cards})
    fits.PrimaryHDU(flux, header).writeto(path, overwrite=True)
    return path


def reason(read, *arguments, **keys) -> str:
    with pytest.raises(BadCutout) as refusal:
        read(*arguments, **keys)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


# Positions of cubes

SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2,
       "A_2_0": 2e-6, "B_0_2": -2e-6, "A_1_1": 1e-6}  # fmt: skip
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 1e-3,
       "PV2_0": 0.0, "PV2_1": 1.0, "PV2_4": -1e-3}  # fmt: skip
ROTATED = {"CDELT1": -PIXEL_SCALE / 3600, "CDELT2": PIXEL_SCALE / 3600, "CROTA2": 33.0}
THIRD = {
    "none": {},
    "band": {"CTYPE3": "BAND", "CRVAL3": 1.0, "CRPIX3": 1.0, "CDELT3": 1.0},
    "wave": {"WCSAXES": 3, "CTYPE3": "WAVE", "CUNIT3": "m", "CRVAL3": 5e-7, "CD3_3": 1e-7},
    "crota": {"CDELT3": 1.0, "CROTA3": 0.0, "PC3_3": 1.0},
}


@pytest.mark.parametrize("third", THIRD)
@pytest.mark.parametrize(
    "kind",
    [SIP, TPV, ROTATED, {}, {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
     {"RADESYS": "FK4", "EQUINOX": 1950.0}, {"EQUINOX": 1950.0}, {"RADESYS": "FK5"}],
    ids=["sip", "tpv", "crota", "tan", "galactic", "fk4", "equinox", "fk5"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_a_cube_lies_where_its_first_two_axes_say(tmp_path, kind, third):
    """Off the reference pixel, where distortions and turns matter."""
    plane = fits.Header({**tangent_plane(RA, DEC, PIXEL_SCALE), "CRPIX1": -400.0, "CRPIX2": 700.0})
    if kind is ROTATED:
        for keyword in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            plane.remove(keyword)
    plane.update(kind)
    sky = WCS(plane).pixel_to_world(127.5, 127.5).icrs
    cube = fits.Header({**plane, **THIRD[third]})
    fits.PrimaryHDU(galaxy(), cube).writeto(tmp_path / "a.fits")
    cutout = read_cutout(tmp_path / "a.fits")
    assert (cutout.ra, cutout.dec) == (
        pytest.approx(sky.ra.deg, abs=1e-7), pytest.approx(sky.dec.deg, abs=1e-7)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("radesys", "same_as"),
    [("J2000", {"RADESYS": "FK5"}), ("fk5", {"RADESYS": "FK5"}), ("icrs", {}), ("GAPPT", {})],
)
def test_a_reference_frame_that_no_standard_knows(radesys, same_as):
    cards = tangent_plane(RA, DEC, PIXEL_SCALE)
    right = position_at(fits.Header({**cards, **same_as}), 10, 20)
    assert position_at(fits.Header({**cards, "RADESYS": radesys}), 10, 20) == right
    assert np.isfinite(right).all()


@pytest.mark.parametrize("shape", [(1, 3, SIZE, SIZE), (3, 1, SIZE, SIZE)])
def test_axes_of_one_plane_say_nothing(tmp_path, shape):
    flux = galaxy()
    cutout = read_cutout(write(tmp_path / "a.fits", flux.reshape(shape)))
    np.testing.assert_array_equal(cutout.flux, flux)
    assert (cutout.ra, cutout.dec) == (pytest.approx(RA), pytest.approx(DEC))


# Units of flux

JY, SQUARE_ARCSEC = 3.631e-6, PIXEL_SCALE**2  # Jy in a nanomaggy; of a pixel
STERADIAN = SQUARE_ARCSEC * (np.pi / 180 / 3600) ** 2
UNITS = {  # BUNIT: numbers in a nanomaggy
    "nanomaggy": 1, "nanomaggies": 1, "nMgy": 1, "NMGY": 1, "nanomaggy/pixel": 1,
    "maggy": 1e-9, "maggies": 1e-9, "Jy": JY, "JY": JY, "mJy": JY * 1e3, "uJy": JY * 1e6,
    "nJy": JY * 1e9, "3.631e-6 Jy": 1, "erg/s/cm2/Hz": JY * 1e-23,
    "1e-29 erg s-1 cm-2 Hz-1": JY * 1e6, "MJy/sr": JY * 1e-6 / STERADIAN,
    "Jy/arcsec2": JY / SQUARE_ARCSEC, "nmgy/arcsec^2": 1 / SQUARE_ARCSEC,
    "10^-6 Jy": JY * 1e6, "microjansky": JY * 1e6, "Jy per pixel": JY,
}  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_units_of_flux_become_nanomaggies(tmp_path, unit):
    flux = galaxy()
    path = write(tmp_path / "a.fits", (flux * UNITS[unit]).astype(np.float32), BUNIT=unit)
    for found in (read_cutout(path), read_frame(path)):
        assert found.unit == NANOMAGGY
        np.testing.assert_allclose(found.flux, flux, rtol=1e-5)


@pytest.mark.parametrize("unit", ["adu", "counts", "counts/s", "ELECTRONS/S", "e-/s", "DN", None])
@pytest.mark.parametrize("keyword", ["MAGZERO", "MAGZPT", "MAGZP", "ZP", "PHOTZP", "ZEROPNT"])
def test_counts_have_a_zero_point_or_are_refused(tmp_path, unit, keyword):
    flux, cards = galaxy(), {} if unit is None else {"BUNIT": unit}
    counts = flux * 10 ** (0.4 * (27.0 - 22.5))
    path = write(tmp_path / "a.fits", counts, **cards, **{keyword: 27.0})
    np.testing.assert_allclose(read_cutout(path).flux, flux, rtol=1e-5)
    np.testing.assert_array_equal(
        read_cutout(write(tmp_path / "b.fits", flux, **cards, **{keyword: 22.5})).flux, flux
    )
    bare = write(tmp_path / "c.fits", counts, **cards)
    if unit is None:
        assert read_cutout(bare).unit == ""
    else:
        assert re.match(f"unknown unit: BUNIT is '{unit}' and the header has no zero point: set "
                        "MAGZERO", reason(read_cutout, bare))  # fmt: skip


def test_a_zero_point_per_second_needs_the_exposure():
    def of(unit: str, **cards) -> float:
        header = fits.Header({"BUNIT": unit, "MAGZERO": 22.5, **cards})
        header.comments["MAGZERO"] = "[mag] of 1 count per second"
        return conversion(header, fits.Header(), lambda: 1.0)[1]

    assert of("adu", EXPTIME=90.0) == pytest.approx(1 / 90)
    assert of("adu/s") == 1
    with pytest.raises(UnknownUnit, match="header has no EXPTIME"):
        of("adu")


def test_other_calibrations_of_counts():
    def of(**cards) -> float:
        return conversion(fits.Header(cards), fits.Header(), lambda: 1.0)[1]

    assert of(BUNIT="counts", NMGY=0.005) == 0.005  # SDSS
    assert of(FLUXMAG0=1e9) == 1  # LSST's stack
    hubble = {"PHOTFLAM": 7.0e-20, "PHOTPLAM": 8059.0}  # of ACS F814W, zero point 25.95 AB
    assert of(BUNIT="ELECTRONS/S", **hubble) == pytest.approx(
        10 ** (0.4 * (22.5 - 25.948)), rel=2e-3
    )
    assert of(BUNIT="ELECTRONS", EXPTIME=10.0, **hubble) == pytest.approx(
        of(BUNIT="ELECTRONS/S", **hubble) / 10
    )


@pytest.mark.parametrize("unit", ["mag", "Jy/beam", "K", "erg/s/cm2/Angstrom", "furlong"])
def test_what_is_no_flux_density_is_refused_in_one_line(tmp_path, unit):
    said = reason(read_cutout, write(tmp_path / "a.fits", galaxy(), BUNIT=unit))
    assert said.startswith(f"unknown unit: BUNIT is {unit!r}, which is no flux density") and (
        "set BUNIT" in said
    )


def test_arcsinh_numbers_are_not_taken_for_flux(tmp_path):
    path = write(tmp_path / "a.fits", galaxy(), BSOFTEN=200.0, BOFFSET=-30.0)
    assert "make them linear" in reason(read_cutout, path)


def test_surface_brightness_needs_the_size_of_a_pixel(tmp_path):
    fits.PrimaryHDU(galaxy(), fits.Header({"BUNIT": "MJy/sr"})).writeto(tmp_path / "a.fits")
    assert "without a WCS the size of a pixel is unknown" in reason(
        read_cutout, tmp_path / "a.fits"
    )


def test_each_plane_of_a_file_has_its_own_unit(tmp_path):
    flux = galaxy()
    factors = {"g": ("maggy", 1e-9), "r": ("uJy", 3.631), "z": ("nanomaggy", 1)}

    def planes(units: dict[str, tuple[str, float]]) -> Path:
        hdus = [fits.PrimaryHDU()]
        for plane, (band, (unit, factor)) in zip(flux, units.items(), strict=True):
            header = fits.Header({"BAND": band, **({"BUNIT": unit} if unit else {})})
            hdus.append(fits.ImageHDU((plane * factor).astype(np.float32), header))
        fits.HDUList(hdus).writeto(tmp_path / "a.fits", overwrite=True)
        return tmp_path / "a.fits"

    np.testing.assert_allclose(read_cutout(planes(factors)).flux, flux, rtol=1e-5)
    said = reason(read_cutout, planes({**factors, "z": ("", 1)}))
    assert said.startswith("unknown unit: some planes have a BUNIT or a zero point and others")


def test_implausible_flux_is_judged_after_the_conversion(tmp_path):
    counts = galaxy() * np.float32(1e9)
    assert reason(read_cutout, write(tmp_path / "a.fits", counts)).startswith("implausible flux")
    zero_point = 22.5 + 2.5 * 9
    assert read_cutout(write(tmp_path / "b.fits", counts, MAGZERO=zero_point)).flux.max() < 10


def test_a_noise_far_from_any_surveys_is_questioned():
    assert noise_ratio(galaxy()) == pytest.approx(1, rel=0.3)
    assert doubt([1.0, 0.1, 30.0, np.nan]) == ""
    assert re.match("60 images .*are these maggies", doubt([1e-9] * 60))
    assert re.match("1 images .* 3,600 times .*are these nJy or counts", doubt([1.0, 3600.0]))


@pytest.mark.parametrize("side", [32, 600])
def test_an_imported_size_is_no_reason_to_question_the_unit(tmp_path, side):
    """Enlarging 8 times takes the noise of a pixel to a hundredth, and that is no other unit."""
    write(tmp_path / "a.fits", galaxy(side), BANDS="grz")
    outcome = import_image(Job(tmp_path / "a.fits", tmp_path / "out.fits", "resample"))
    listed = make_datatxt.check(tmp_path / "out.fits")
    assert doubt([outcome.noise_ratio, listed.noise_ratio]) == ""
    assert 0.1 < listed.noise_ratio < 3


def listed_with(script, run: Run, factor: float, **cards) -> str:
    for number in range(3):
        flux = (galaxy(seed=number) * factor).astype(np.float32)
        write(run.images() / f"{number}.fits", flux, CRVAL1=10.0 + number, **cards)
    done = succeeded(script("make_datatxt.py", run))
    assert "good 3 of 3" in done.stdout
    return done.stdout


def test_make_datatxt_asks_in_one_line_where_no_unit_is_stated(tmp_path, script):
    asked = listed_with(script, Run(tmp_path / "a"), 1e-9)
    lines = [line for line in asked.splitlines() if "state no unit" in line]
    assert len(lines) == 1 and "3 images" in lines[0] and "are these maggies" in lines[0]
    assert "state no unit" not in listed_with(script, Run(tmp_path / "b"), 1e-9, BUNIT="maggy")


def test_maggies_are_the_same_images_to_every_later_stage(tmp_path):
    """Training and extraction use the pixels that read_cutout returns."""
    for number in range(3):
        flux = galaxy(seed=number)
        same = read_cutout(write(tmp_path / "a.fits", flux))
        other = read_cutout(write(tmp_path / "b.fits", (flux * 1e-9).astype("f4"), BUNIT="maggy"))
        np.testing.assert_allclose(other.flux, same.flux, rtol=1e-6)


# Bands


def test_bands_in_another_order_are_put_in_order(tmp_path):
    flux = galaxy()
    path = write(tmp_path / "a.fits", flux[::-1], BANDS="zrg")
    np.testing.assert_array_equal(read_cutout(path).flux, flux)
    path = write(tmp_path / "b.fits", flux[[1, 2, 0]], BAND0="r", BAND1="z", BAND2="g")
    np.testing.assert_array_equal(read_cutout(path).flux, flux)
    assert reason(read_cutout, write(tmp_path / "c.fits", flux, BANDS="gri")) == (
        "wrong bands: 'gri', not 'grz'"
    )


@pytest.mark.parametrize(
    "cards", [{"BANDS": "griz"}, {f"BAND{i}": b for i, b in enumerate("griz")}]
)
def test_of_four_bands_i_is_left_out(tmp_path, cards):
    flux = galaxy(64)
    four = np.stack([flux[0], flux[1], 7 * flux[0], flux[2]])
    frame = read_frame(write(tmp_path / "a.fits", four, **cards))
    np.testing.assert_array_equal(frame.flux, flux)
    assert frame.left_out == ("i",)


@pytest.mark.parametrize(
    "names",
    [("g DECam SDSS c0001 4720.0 1520.0", "r DECam SDSS c0002", "z DECam"), ("g'", "r'", "z'"),
     ("SDSS g", "SDSS r", "SDSS z"), ("HSC-G", "HSC-R", "HSC-Z"), ("g.MP9401", "r.MP", "z.MP")],
)  # fmt: skip
def test_planes_are_known_by_their_filter(tmp_path, names):
    flux, hdus = galaxy(64), [fits.PrimaryHDU()]
    for name, plane in zip(names, flux, strict=True):
        hdus.insert(1, fits.ImageHDU(plane, fits.Header({"FILTER": name, "EXTNAME": "SCI"})))
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_frame(tmp_path / "a.fits").flux, flux)


def test_the_user_says_which_planes_become_g_r_z(tmp_path):
    flux = galaxy(64)

    def read(pixels: np.ndarray, bands: str, **cards) -> np.ndarray:
        return read_frame(write(tmp_path / "a.fits", pixels, **cards), reading=Reading(bands)).flux

    np.testing.assert_array_equal(read(flux, "gri", BANDS="gri"), flux)
    np.testing.assert_array_equal(read(flux, "210"), flux[::-1])
    np.testing.assert_array_equal(read(flux[0], "0"), np.stack([flux[0]] * 3))
    np.testing.assert_array_equal(read(flux[1], "r", BANDS="r"), np.stack([flux[1]] * 3))
    blue, mean, red = read(flux[:2], "01")
    np.testing.assert_array_equal((blue, red), flux[:2])
    np.testing.assert_allclose(mean, flux[:2].mean(0), rtol=1e-6)
    path = write(tmp_path / "a.fits", flux, BANDS="gri")
    assert "has not the planes of --bands grz" in reason(read_frame, path, reading=Reading("grz"))


def test_each_refusal_of_bands_names_the_remedy(tmp_path):
    flux = galaxy(64)
    for pixels, remedy in (
        (flux[0], "one band: --bands 0 takes it three times; a table with columns g, r, z"),
        (
            flux[:2],
            "two bands: --bands 01 takes the first as g, the second as z and their mean as r",
        ),
        (np.concatenate([flux, flux]), "--bands 012"),
        (flux.transpose(1, 2, 0), "the bands must be the first axis, not the last"),
    ):
        said = reason(read_frame, write(tmp_path / "a.fits", pixels))
        assert said.startswith("wrong shape: ") and remedy in said
    said = reason(read_frame, write(tmp_path / "a.fits", flux, BANDS="gri"))
    assert said == "wrong bands: 'gri', not 'grz': choose with --bands, as in --bands gri"


def test_make_datatxt_says_what_brings_other_shapes_in(tmp_path, capsys):
    run = Run(tmp_path / "run")
    write_cutout(run.images() / "good.fits", galaxy(), RA, DEC)
    write(run.images() / "small.fits", galaxy(64))
    make_datatxt.main(make_datatxt.Config(run=run.folder, workers=1))
    assert "refused 1: wrong shape (data/import_images.py converts it)" in capsys.readouterr().out
    with open(run.rejected, newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == ["images/decals/small.fits"]
    assert not pd.isna(read_cutout(run.images() / "good.fits").ra)
