"""Reading cutouts and listing the good ones: every layout, every reason, and hostile files."""

import csv
import gzip
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from conftest import succeeded

import make_datatxt
from VAE_model.data.cutout_writer import BYTES, write_cutout
from VAE_model.data.cutouts import PIXEL_SCALE, SHAPE, BadCutout, read_cutout
from VAE_model.data.fits_frames import read_frame
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.surveys import survey_of

RA, DEC = 154.7709, 46.4537


def spiral(handed: int = 1, noise: float = 0.01, seed: int = 0) -> np.ndarray:
    """(3, 256, 256) of a two-armed spiral with arms of different length: no symmetry at all."""
    y, x = np.mgrid[:256, :256] - 127.5
    radius, angle = np.hypot(x, y), handed * np.arctan2(y, x)
    arms = 1 + 0.9 * np.cos(2 * (angle - 2.5 * np.log1p(radius / 8))) + 0.5 * np.cos(angle - 0.6)
    galaxy = arms * np.exp(-radius / 25)
    sky = np.random.default_rng(seed).normal(0, noise, SHAPE)
    return (galaxy * np.array([0.5, 1.0, 1.5])[:, None, None] + sky).astype(np.float32)


@pytest.fixture
def flux() -> np.ndarray:
    return spiral()


def write_planes(path: Path, flux: np.ndarray, invvar: bool = True, **keys: str) -> None:
    """The layout of the cutout service with &invvar: an HDU a band, its inverse variance next."""
    primary = fits.PrimaryHDU()
    primary.header.update(SURVEY="DECaLS", VERSION="DR9-south", IMAGETYP="IMAGE")
    hdus = fits.HDUList([primary])
    for band, plane in zip("grz", flux, strict=True):
        header = fits.Header({"BAND": band, "IMAGETYP": "IMAGE", **keys})
        hdus.append(fits.ImageHDU(plane, header))
        if invvar:
            header = fits.Header({"BAND": band, "IMAGETYP": "INVVAR"})
            hdus.append(fits.ImageHDU(np.ones_like(plane), header))
    hdus.writeto(path)


def reason(path: Path) -> str:
    with pytest.raises(BadCutout) as refusal:
        read_cutout(path)
    return str(refusal.value)


# Reading


def test_a_written_cutout_is_like_the_services_own(tmp_path, flux):
    path = tmp_path / "a.fits"
    write_cutout(path, flux, RA, DEC, "DR9-north")
    assert path.stat().st_size == BYTES
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        assert hdus[0].data.dtype == ">f4"
    assert (header["SURVEY"], header["VERSION"], header["BANDS"]) == ("DECaLS", "DR9-north", "grz")
    assert [header[f"BAND{i}"] for i in range(3)] == ["g", "r", "z"]
    assert (header["CRPIX1"], header["CRPIX2"], header["IMAGEW"]) == (128.5, 128.5, 256)
    assert header["IMAGETYP"] == "IMAGE" and isinstance(header["IMAGEW"], int)
    assert -header["CD1_1"] == pytest.approx(PIXEL_SCALE / 3600, rel=1e-12)
    assert header["CD2_2"] == pytest.approx(PIXEL_SCALE / 3600, rel=1e-12)
    assert os.listdir(tmp_path) == ["a.fits"]


def test_what_was_written_is_read_bit_by_bit(tmp_path, flux):
    write_cutout(tmp_path / "a.fits", flux, RA, DEC)
    cutout = read_cutout(tmp_path / "a.fits")
    assert cutout.flux.dtype == np.float32 and cutout.flux.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(cutout.flux, flux)
    assert (cutout.ra, cutout.dec, cutout.display) == (RA, DEC, False)


def test_handedness_survives_reading(tmp_path):
    write_cutout(tmp_path / "a.fits", spiral(+1), RA, DEC)
    pixels = read_cutout(tmp_path / "a.fits").flux[1]
    own, mirrored = spiral(+1, seed=1)[1], spiral(-1, seed=1)[1]
    assert np.corrcoef(pixels.ravel(), own.ravel())[0, 1] > 0.95
    assert np.corrcoef(pixels.ravel(), mirrored.ravel())[0, 1] < 0.9
    for turned in (pixels.T, pixels[::-1], pixels[:, ::-1]):
        assert np.corrcoef(turned.ravel(), own.ravel())[0, 1] < 0.9


def test_negative_sky_survives_reading(tmp_path, flux):
    write_cutout(tmp_path / "a.fits", flux - 0.05, RA, DEC)
    pixels = read_cutout(tmp_path / "a.fits").flux
    assert pixels.min() == (flux - 0.05).min() < -0.05
    assert (pixels < 0).mean() > 0.2


@pytest.mark.parametrize(
    ("release", "survey"),
    [("DR9-north", "bassmzls"), ("DR9-south", "decals"), ("DR5", "decals"), ("", "unknown")],
)
def test_the_survey_is_told_by_version_not_by_survey(tmp_path, flux, release, survey):
    write_cutout(tmp_path / "a.fits", flux, RA, DEC, release, survey="DECaLS")
    assert read_cutout(tmp_path / "a.fits").survey == survey


@pytest.mark.parametrize(
    ("ra", "dec", "survey"),
    [
        (RA, DEC, "bassmzls"),
        (RA, 32.37, "decals"),
        (RA, 32.38, "bassmzls"),
        (15.0, 33.0, "decals"),  # the south galactic cap, where DECam observed further north
        (np.nan, np.nan, "unknown"),
    ],
)
@pytest.mark.parametrize("release", ["DR8", "DR9", "DR10", "DR11"])
def test_the_position_tells_the_survey_in_a_layer_that_merges_both(
    tmp_path, flux, release, ra, dec, survey
):
    write_cutout(tmp_path / "a.fits", flux, ra, dec, release, survey="LegacySurvey")
    assert read_cutout(tmp_path / "a.fits").survey == survey


def test_dr6_is_of_the_north():
    assert [survey_of(f"DR{n}") for n in (3, 5, 6, 7)] == ["decals", "decals", "bassmzls", "decals"]


@pytest.mark.parametrize("kind", [">f4", "<f4", ">f8", ">i2 scaled", ">i4 scaled"])
def test_number_types(tmp_path, flux, kind):
    if "scaled" in kind:
        hdu = fits.PrimaryHDU(flux.astype(np.float64))
        hdu.scale(kind[1:3].replace("i2", "int16").replace("i4", "int32"), option="minmax")
    else:
        hdu = fits.PrimaryHDU(flux.astype(kind))
    hdu.writeto(tmp_path / "a.fits")
    pixels = read_cutout(tmp_path / "a.fits").flux
    step = (flux.max() - flux.min()) / 65000 if kind == ">i2 scaled" else 1e-6
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, flux, atol=step)


def test_compressed_files(tmp_path, flux):
    write_cutout(tmp_path / "a.fits", flux, RA, DEC)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    header = fits.getheader(tmp_path / "a.fits")
    tiles = fits.CompImageHDU(flux, header, compression_type="GZIP_2", quantize_level=0)
    tiles.writeto(tmp_path / "a.fits.fz")
    for ending in (".fits.gz", ".fits.fz"):
        cutout = read_cutout(tmp_path / f"a{ending}")
        np.testing.assert_array_equal(cutout.flux, flux)
        assert (cutout.ra, cutout.survey) == (RA, "decals")


def test_an_image_in_a_later_hdu(tmp_path, flux):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.arange(3.0))])
    mask = fits.ImageHDU(np.ones(SHAPE, np.int16), fits.Header({"IMAGETYP": "maskbits"}))
    hdus = [fits.PrimaryHDU(), table, mask, fits.ImageHDU(flux, name="IMAGE")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_cutout(tmp_path / "a.fits").flux, flux)


@pytest.mark.parametrize("invvar", [True, False])
def test_a_plane_a_band_with_or_without_inverse_variance(tmp_path, flux, invvar):
    write_planes(tmp_path / "10.5_-3.25.fits", flux, invvar)
    cutout = read_cutout(tmp_path / "10.5_-3.25.fits")
    np.testing.assert_array_equal(cutout.flux, flux)
    assert (cutout.ra, cutout.dec, cutout.survey) == (10.5, -3.25, "decals")


def test_the_services_file_with_its_other_planes(tmp_path, flux):
    """As legacysurvey/imagine writes it since 2023-06, with &invvar and &maskbits."""
    write_cutout(tmp_path / "a.fits", flux, RA, DEC)
    with fits.open(tmp_path / "a.fits") as hdus:
        for words in ("INVVAR", "MASKBITS"):
            other = fits.ImageHDU(np.ones_like(flux), hdus[0].header.copy())
            other.header["IMAGETYP"] = words
            hdus.append(other)
        hdus.writeto(tmp_path / "b.fits")
        hdus[0:1][0].header["IMAGETYP"] = "INVVAR"
        hdus.writeto(tmp_path / "c.fits")
    cutout = read_cutout(tmp_path / "b.fits")
    np.testing.assert_array_equal(cutout.flux, flux)
    assert (cutout.ra, cutout.dec, cutout.survey) == (RA, DEC, "decals")
    assert reason(tmp_path / "c.fits") == "not an image: the header says 'INVVAR' (IMAGETYP)"


def test_the_services_subimages_lie_by_brick_and_band(tmp_path, flux):
    """Planes of one brick belong together; a second brick has planes of the same shape."""
    hdus = [fits.PrimaryHDU()]
    for brick, factor in (("1547p465", 1), ("1550p465", 7)):
        for number, band in enumerate("grz"):
            for words, plane in (("image", factor * flux[number]), ("invvar", flux[0] * 0 + 1)):
                keys = {"BRICK": brick, "BRICK_X0": 12, "BRICK_Y0": 34, "BAND": band}
                hdus.append(fits.ImageHDU(plane, fits.Header({**keys, "IMAGETYP": words})))
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_cutout(tmp_path / "a.fits").flux, flux)


IMAGES = (
    "IMAGE", "image", "object", "Light Frame", "science", "coadd", "SCI", "", "imagery", "unmasked",
    "bias-subtracted", "Flat fielded", "psf-matched coadd", "inverse variance weighted mean",
    "16 bits", "Exposure", "high quality image",
)  # fmt: skip
NO_IMAGES = (
    "INVVAR", "ivar", "Inverse Variance", "weight", "WHT", "WeightMap", "mask", "MASKBITS", "bits",
    "DQ", "flags", "model", "MODEL_G", "Residual map", "resid", "psf", "PSF", "chi2", "depth",
    "galdepth", "nexp", "exposure count", "exptime", "Bias Frame", "DARK", "dome flat", "skyflat",
    "ERR", "VAR_POISSON", "UNCERT", "segmentation", "bad pixel mask",
)  # fmt: skip


@pytest.mark.parametrize("keyword", ["IMAGETYP", "EXTNAME"])
def test_the_kind_of_image_is_free_text(tmp_path, flux, keyword):
    """Only words that say that it is no image leave one out, in whichever HDU it lies."""
    small = flux[:, 96:160, 96:160]
    for words in IMAGES:
        header = fits.Header({keyword: words} if words else {})
        fits.PrimaryHDU(small, header).writeto(tmp_path / "a.fits", overwrite=True)
        np.testing.assert_array_equal(read_frame(tmp_path / "a.fits").flux, small, words)
    for words in NO_IMAGES:
        header = fits.Header({keyword: words})
        hdus = [fits.PrimaryHDU(-small, header), fits.ImageHDU(small, name="SCI")]
        fits.HDUList(hdus).writeto(tmp_path / "a.fits", overwrite=True)
        np.testing.assert_array_equal(read_frame(tmp_path / "a.fits").flux, small, words)
        fits.HDUList(hdus[:1]).writeto(tmp_path / "a.fits", overwrite=True)
        with pytest.raises(BadCutout, match="not an image: the header says"):
            read_frame(tmp_path / "a.fits")


def test_an_empty_primary_header_speaks_for_the_extensions(tmp_path, flux):
    primary = fits.PrimaryHDU(header=fits.Header({"IMAGETYP": "flat"}))
    fits.HDUList([primary, fits.ImageHDU(flux)]).writeto(tmp_path / "a.fits")
    assert reason(tmp_path / "a.fits") == "not an image: the header says 'flat' (IMAGETYP)"
    image = fits.ImageHDU(flux, fits.Header({"IMAGETYP": "object"}))
    fits.HDUList([primary, image]).writeto(tmp_path / "b.fits")
    np.testing.assert_array_equal(read_cutout(tmp_path / "b.fits").flux, flux)


def test_planes_are_ordered_by_band_not_by_place(tmp_path, flux):
    hdus = [fits.PrimaryHDU()]
    for band in (2, 0, 1):
        hdus.append(fits.ImageHDU(flux[band], fits.Header({"BAND": "grz"[band]})))
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_cutout(tmp_path / "a.fits").flux, flux)


def test_position_by_wcs_away_from_the_centre(tmp_path, flux):
    write_cutout(tmp_path / "a.fits", flux, 180.0, 60.0)
    with fits.open(tmp_path / "a.fits", mode="update") as hdus:
        hdus[0].header["CRPIX1"] += 100  # the reference lies to the east of the centre by 26.2"
    cutout = read_cutout(tmp_path / "a.fits")
    east = 100 * PIXEL_SCALE / 3600 / np.cos(np.radians(60))
    # CRPIX grows to the right, RA to the left: the centre is 100 pixels left of the reference.
    assert cutout.ra == pytest.approx(180 + east, abs=1e-6)
    assert cutout.dec == pytest.approx(60, abs=1e-5)


# Refusing


def test_each_refusal_has_its_reason(tmp_path, flux):
    path = tmp_path / "a.fits"
    write_cutout(path, flux, RA, DEC)
    whole = path.read_bytes()

    def refused(content: bytes) -> str:
        path.write_bytes(content)
        return reason(path)

    def of(pixels: np.ndarray, **keys: str) -> str:
        fits.PrimaryHDU(pixels, fits.Header(keys)).writeto(path, overwrite=True)
        return reason(path)

    assert refused(b"") == "not an image: the file is empty"
    assert refused(b"<html>Error: layer</html>").startswith("not an image: no FITS signature")
    assert "'<html>" in refused(b"<html>Error: layer</html>")
    assert refused(whole[:400_000]) == "truncated: 397,120 of 786,432 bytes of data are there"
    assert refused(whole[:1000]).startswith("truncated")
    assert refused(gzip.compress(whole)[:1000]).startswith("truncated")
    assert of(flux[:, 1:]).startswith("wrong shape: 3 x 255 x 256, not 3 x 256 x 256")
    assert of(flux[0]).startswith("wrong shape: 256 x 256")
    assert of(flux.transpose(1, 2, 0)).startswith("wrong shape: 256 x 256 x 3")
    assert of(flux, BANDS="gri") == "wrong bands: 'gri', not 'grz'"
    assert of(np.where(flux == flux.max(), np.nan, flux)).startswith("non-finite: 1 pixels")
    assert of(np.where(flux == flux.max(), -np.inf, flux)).startswith("non-finite: 1 pixels")
    assert of(flux * [[[1]], [[0]], [[1]]]) == "band without signal: r, all pixels are zero"
    assert of(np.ones_like(flux)).startswith("band without signal: g")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.arange(3.0))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    assert reason(path) == "not an image: no HDU holds an image"


def test_three_quarters_empty_is_not_without_signal(tmp_path, flux):
    flux[:2, 64:] = 0
    write_cutout(tmp_path / "a.fits", flux, RA, DEC)
    assert (read_cutout(tmp_path / "a.fits").flux[0] == 0).mean() == 0.75


def test_what_is_no_file_is_refused(tmp_path, flux):
    (tmp_path / "folder.fits").mkdir()
    (tmp_path / "broken.fits").symlink_to(tmp_path / "gone")
    (tmp_path / "loop.fits").symlink_to(tmp_path / "loop.fits")
    os.mkfifo(tmp_path / "pipe.fits")  # would wait for ever
    for name in ("folder.fits", "pipe.fits"):
        assert reason(tmp_path / name) == "not an image: a folder or a device, not a file"
    for name in ("broken.fits", "loop.fits", "absent.fits"):
        assert reason(tmp_path / name).startswith("unreadable: ")
    write_cutout(tmp_path / "a.fits", flux, RA, DEC)
    (tmp_path / "link.fits").symlink_to(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_cutout(tmp_path / "link.fits").flux, flux)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path, flux):
    write_cutout(tmp_path / "a.fits", flux, RA, DEC)
    (tmp_path / "a.fits").chmod(0)
    assert reason(tmp_path / "a.fits") == "unreadable: Permission denied"


def test_a_promise_of_a_billion_pixels_takes_no_memory(tmp_path, flux, peak_memory):
    path = tmp_path / "a.fits"
    write_cutout(path, flux, RA, DEC)
    whole = path.read_bytes()
    for size in (10**9, 2**40, 2**62):
        card = f"NAXIS1  = {size:>20}".encode().ljust(80)
        at = whole.index(b"NAXIS1  =")
        path.write_bytes(whole[:at] + card + whole[at + 80 :])
        with peak_memory(limit=64 * 2**20):
            assert reason(path).startswith(("truncated", "unreadable"))
            with pytest.raises(BadCutout):
                read_frame(path)


def test_tiles_whose_decoder_is_not_safe_are_refused(tmp_path, flux):
    tiles = fits.CompImageHDU(flux, compression_type="HCOMPRESS_1", quantize_level=4)
    tiles.writeto(tmp_path / "a.fits.fz")
    assert reason(tmp_path / "a.fits.fz").startswith("unreadable: tiles compressed by HCOMPRESS_1")


@pytest.mark.parametrize("keyword", ["NAXIS", "TFIELDS", "ZNAXIS"])
def test_a_promise_of_two_billion_axes_takes_no_time(tmp_path, flux, keyword):
    path = tmp_path / "a.fits.fz"
    fits.CompImageHDU(flux, compression_type="GZIP_1", quantize_level=0).writeto(path)
    whole = path.read_bytes()
    at = whole.rindex(f"{keyword:<8}=".encode())
    path.write_bytes(whole[:at] + f"{keyword:<8}= 2147483648".encode().ljust(80) + whole[at + 80 :])
    assert reason(path) == f"unreadable: {keyword} is more than 999"


def test_a_gzip_bomb_is_refused_before_it_bursts(tmp_path, peak_memory):
    zeros = b"SIMPLE  =                    T".ljust(80) + bytes(2**27)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(zeros))
    with peak_memory(limit=200 * 2**20):
        assert reason(tmp_path / "a.fits.gz").startswith("unreadable: more than 64 MiB")
    (tmp_path / "b.fits.gz").write_bytes(gzip.compress(gzip.compress(zeros)))
    assert reason(tmp_path / "b.fits.gz").startswith("not an image: no FITS signature")


@pytest.fixture
def peak_memory():
    """Context in which Python may not allocate more than `limit` bytes."""
    import contextlib
    import tracemalloc

    @contextlib.contextmanager
    def watch(limit: int):
        tracemalloc.start()
        try:
            yield
            assert tracemalloc.get_traced_memory()[1] < limit
        finally:
            tracemalloc.stop()

    return watch


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """One file with something wrong somewhere, mostly in its headers."""
    data = bytearray(content)
    end = min(len(data), 2880 * 3)
    kind = rng.integers(6)
    if kind == 0:  # some bytes of the headers are others
        for at in rng.integers(0, end, rng.integers(1, 8)):
            data[at] = rng.integers(256)
    elif kind == 1:  # a number in the header is another
        digits = [i for i in range(end) if 48 <= data[i] <= 57]
        for at in rng.choice(digits, rng.integers(1, 4)):
            data[at] = rng.choice(list(b"0123456789-.ET "))
    elif kind == 2:  # the file ends early
        del data[rng.integers(0, len(data)) :]
    elif kind == 3:  # a card's value is monstrous
        at = 80 * rng.integers(0, 30)
        value = rng.choice(["1E999", "-1", "99999999999999", "'x", "NaN", "T", "", "2147483648"])
        data[at + 10 : at + 80] = f"{value:>20}".encode().ljust(70)
    elif kind == 4:  # two cards change places, or one is there twice
        one, other = 80 * rng.integers(0, 30, 2)
        data[one : one + 80] = data[other : other + 80]
    else:  # the pixels or the compressed stream are damaged
        at = rng.integers(0, len(data), 32)
        for where in at:
            data[where] = rng.integers(256)
    return bytes(data)


def test_no_mutated_file_ends_in_anything_but_a_reason(tmp_path, flux):
    rng, began = np.random.default_rng(7), time.monotonic()
    seeds = {"cube.fits": flux, "planes.fits": flux, "tiles.fits.fz": flux, "packed.fits.gz": flux}
    write_cutout(tmp_path / "cube.fits", flux, RA, DEC)
    write_planes(tmp_path / "planes.fits", flux, CTYPE1="RA---TAN", CRVAL1="x")
    tiles = fits.CompImageHDU(flux, compression_type="RICE_1", quantize_level=4)
    tiles.writeto(tmp_path / "tiles.fits.fz")
    packed = gzip.compress((tmp_path / "cube.fits").read_bytes(), 1)
    (tmp_path / "packed.fits.gz").write_bytes(packed)
    outcomes = dict.fromkeys(("read", "refused"), 0)
    for name in seeds:
        content = (tmp_path / name).read_bytes()
        for _ in range(125):
            (tmp_path / name).write_bytes(mutate(content, rng))
            for read in (read_cutout, read_frame):
                try:
                    read(tmp_path / name)
                except BadCutout as refusal:
                    outcomes["refused"] += 1
                    assert ": " in str(refusal) and "\n" not in str(refusal)
                else:
                    outcomes["read"] += 1
    assert min(outcomes.values()) > 100, outcomes
    assert time.monotonic() - began < 60  # about 5 s on a quiet core


# make_datatxt.py


def listed(run: Run) -> list[str]:
    return run.train_txt.read_text().splitlines()


def rejected(run: Run) -> dict[str, str]:
    with open(run.rejected, newline="") as stream:
        return {row["path"]: row["reason"] for row in csv.DictReader(stream)}


def datatxt(run: Run, **constants) -> None:
    make_datatxt.main(make_datatxt.Config(run=run.folder, workers=1, **constants))


def test_train_txt_lists_the_good_and_rejected_csv_the_rest(tmp_path, flux, script):
    run = Run(tmp_path / "run")
    for number in range(5):
        write_cutout(run.images() / f"{number}" / f"a{number}.fits", flux, number, DEC)
    (run.images() / "error.fits").write_text("<html>no such layer</html>")
    (run.images() / "notes.txt").write_text("mine")
    (run.images() / ".hidden.fits").write_text("")
    truncated = (run.images() / "0" / "a0.fits").read_bytes()[:500_000]
    (run.images() / "short.fits").write_bytes(truncated)
    done = succeeded(script("make_datatxt.py", run))
    assert listed(run) == [f"images/decals/{n}/a{n}.fits" for n in range(5)]
    reasons = rejected(run)
    assert reasons["images/decals/error.fits"].startswith("not an image: no FITS signature")
    assert reasons["images/decals/short.fits"].startswith("truncated: ")
    assert reasons["images/decals/notes.txt"].startswith("not an image: the name")
    assert len(reasons) == 3
    assert "good 5 of 7" in done.stdout and "refused 2: not an image" in done.stdout
    again = script("make_datatxt.py", run)
    assert "nothing to do" in again.stdout and again.returncode == 0


def test_duplicates_are_refused_within_a_survey_only(tmp_path, flux):
    run = Run(tmp_path / "run")
    positions = {"a": 10.0, "b": 10.0, "c": 10.0 + 0.9 / 3600, "d": 10.0 + 2.1 / 3600}
    for name, ra in positions.items():
        write_cutout(run.images() / f"{name}.fits", flux, ra, 0.0, "DR9-south")
    write_cutout(run.images() / "north.fits", flux, 10.0, 0.0, "DR9-north")
    write_cutout(run.images() / "nowhere1.fits", flux, np.nan, np.nan)
    write_cutout(run.images() / "nowhere2.fits", flux, np.nan, np.nan)
    datatxt(run)
    names = [Path(line).stem for line in listed(run)]
    assert names == ["a", "d", "north", "nowhere1", "nowhere2"]
    assert rejected(run) == {
        f"images/decals/{name}.fits": "duplicate position: the same as a.fits" for name in "bc"
    }


def test_folders_may_be_many_and_may_overlap(tmp_path, flux):
    run = Run(tmp_path / "run")
    write_cutout(run.images("one") / "a.fits", flux, 1, 0)
    write_cutout(tmp_path / "elsewhere" / "b.fits", flux, 2, 0)
    folders = (run.images("one"), run.folder / "images", tmp_path / "elsewhere")
    datatxt(run, folders=folders)
    assert listed(run) == ["images/one/a.fits", str(tmp_path / "elsewhere" / "b.fits")]


def test_without_decals_every_imported_folder_is_listed(tmp_path, flux):
    run = Run(tmp_path / "run")
    write_cutout(run.images("one") / "a.fits", flux, 1, 0)
    write_cutout(run.images("two") / "b.fits", flux, 2, 0)
    datatxt(run)
    assert listed(run) == ["images/one/a.fits", "images/two/b.fits"]
    write_cutout(run.images() / "c.fits", flux, 3, 0)
    datatxt(run)
    assert listed(run) == ["images/decals/c.fits"]


def test_a_name_that_breaks_the_list_is_refused(tmp_path, flux):
    run = Run(tmp_path / "run")
    for name in ("good.fits", "two\nlines.fits", "separator\u2028.fits", "not-utf8-\udcff.fits"):
        write_cutout(run.images() / name, flux, np.nan, np.nan)
    write_cutout(run.images() / "with a blank, and a comma.fits", flux, np.nan, np.nan)
    datatxt(run)
    assert [Path(line).name for line in listed(run)] == [
        "good.fits",
        "with a blank, and a comma.fits",
    ]
    assert len(rejected(run)) == 3


def test_no_images_is_one_clear_line(tmp_path, script):
    run = Run(tmp_path / "run")
    absent = script("make_datatxt.py", run)
    assert absent.returncode == 1 and "images/decals is missing: run python data" in absent.stderr
    run.images().mkdir(parents=True)
    empty = script("make_datatxt.py", run)
    assert empty.returncode == 1 and "holds no FITS file" in empty.stderr
    for done in (absent, empty):
        assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_no_good_image_names_the_list_of_reasons(tmp_path):
    run = Run(tmp_path / "run")
    run.images().mkdir(parents=True)
    (run.images() / "a.fits").write_text("text")
    with pytest.raises(Problem, match=r"no good image among 1 files: see .*rejected\.csv"):
        datatxt(run)
    assert not run.train_txt.exists() and rejected(run)


def test_dry_run_writes_nothing(tmp_path, flux, script):
    run = Run(tmp_path / "run")
    write_cutout(run.images() / "a.fits", flux, RA, DEC)
    done = script("make_datatxt.py", run, "--dry-run")
    assert done.returncode == 0 and "duplicate_radius = 1.0" in done.stdout
    assert "1 rows or files" in done.stdout and not run.train_txt.exists()


def test_an_unwritable_run_is_one_clear_line(tmp_path, flux, script):
    write_cutout(tmp_path / "images" / "a.fits", flux, RA, DEC)
    (tmp_path / "file").write_text("in place of a folder")
    done = script("make_datatxt.py", Run(tmp_path / "file"), "--folders", str(tmp_path / "images"))
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_ten_thousand_images_at_one_position_need_no_pairs():
    verdicts = [make_datatxt.Verdict(10.0, 20.0, "decals")] * 10_000
    paths = [Path(f"{number}.fits") for number in range(10_000)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reasons = make_datatxt.refuse_duplicates(verdicts, paths, radius=1.0)
    assert not reasons[0] and all(r.startswith("duplicate position") for r in reasons[1:])


def test_of_two_images_of_a_galaxy_the_fuller_stays():
    verdicts = [
        make_datatxt.Verdict(10.0, 0.0, "decals", empty=0.5),
        make_datatxt.Verdict(10.0, 0.0001, "decals"),
        make_datatxt.Verdict(10.0, 0.0, "decals"),
    ]
    paths = [Path(f"{name}.fits") for name in "abc"]
    reasons = make_datatxt.refuse_duplicates(verdicts, paths, radius=1.0)
    assert reasons[0] == "duplicate position: the same as c.fits, of which 50% more is empty here"
    assert sorted(map(bool, reasons)) == [False, True, True]
