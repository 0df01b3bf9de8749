"""The simulated sky is what it says it is."""

import runpy
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from conftest import says_one_line

from VAE_model.data.cutouts import PIXEL_SCALE, SIZE, read_cutout
from VAE_model.data.galaxy_zoo import TREE, asked, fraction
from VAE_model.data.packing import moved
from VAE_model.data.sky import close_pairs, iauname
from VAE_model.pipeline.parallel import each
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.simulation import Purpose, random_stream, repeats, sky
from VAE_model.simulation.camera import observe
from VAE_model.simulation.conditions import draw_conditions
from VAE_model.simulation.defects import DEFECTS, SHARE, draw_defects, spoil
from VAE_model.simulation.drawing import add_field, draw_scene
from VAE_model.simulation.population import MIN_SEPARATION, draw_galaxy, draw_positions
from VAE_model.simulation.scene import MIDDLE, nanomaggies
from VAE_model.simulation.sheet import contact_sheet
from VAE_model.simulation.sky import file_name, simulate_galaxy
from VAE_model.simulation.votes import answer_chances, vote_fractions
from VAE_model.surveys import BASSMZLS, DECALS, DEMO, SURVEYS


def galaxy_like(condition, **changes):
    """The first galaxy of the sky that meets a condition, with some of its truth changed."""
    for index in range(2000):
        galaxy = draw_galaxy(random_stream(3, index, Purpose.POPULATION))
        if condition(galaxy):
            return replace(galaxy, **changes)
    raise AssertionError("no such galaxy")


def quiet(survey=DECALS, noise=1e-7):
    """Conditions of a frame without noise, sky or registration error, and round PSFs."""
    usual = draw_conditions(survey, np.random.default_rng(0))
    none, nowhere = (0.0,) * 3, ((0.0, 0.0),) * 3
    return replace(usual, noise=(noise,) * 3, sky=none, gradient=nowhere, shift=nowhere,
                   shear=nowhere, fwhm=survey.fwhm, beta=(3.0,) * 3, edges=(None,) * 3,
                   oversubtraction=0.0)  # fmt: skip


def without_photon_noise(survey):
    return replace(survey, gain=(1e12,) * 3)


def image_of(galaxy, survey=DECALS):
    scene = draw_scene(galaxy, np.random.default_rng(5))
    survey = without_photon_noise(survey)
    return observe(scene.fourier(), survey, quiet(survey), np.random.default_rng(1))


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky")
    command = [sys.executable, "data/simulate.py", "--run", str(folder)]
    command += ["--galaxies", "12", "--overlap", "4", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Run(folder)


def test_files_are_like_those_of_the_cutout_service(small_run):
    truth = pd.read_parquet(small_run.truth)
    assert len(list(small_run.images("decals").glob("*.fits"))) == 12
    assert len(list(small_run.images("bassmzls").glob("*.fits"))) == 4
    plain = truth[truth.overlap & (truth.mistake_bassmzls == "")]
    assert len(plain)
    for galaxy in plain.itertuples():
        for survey, version in (("decals", "DR9-south"), ("bassmzls", "DR9-north")):
            path = small_run.images(survey) / file_name(galaxy.ra, galaxy.dec)
            assert path.stat().st_size == 792_000
            header = fits.getheader(path)
            assert header["BANDS"] == "grz"
            assert header["VERSION"] == version
            assert header["BITPIX"] == -32
            ra, dec = WCS(header, naxis=2).pixel_to_world_values(127.5, 127.5)
            assert (ra, dec) == pytest.approx((galaxy.ra, galaxy.dec), abs=1e-9)
            east, _ = WCS(header, naxis=2).pixel_to_world_values(100, 127.5)
            assert east > ra, "east is to the left"


def test_tables_hold_the_columns_of_the_catalogue_and_join_on_the_name(small_run):
    catalogue, truth = pd.read_parquet(small_run.catalogue), pd.read_parquet(small_run.truth)
    assert list(catalogue.iauname) == list(truth.iauname)
    assert catalogue.iauname[0] == iauname(catalogue.ra[0], catalogue.dec[0])
    for question, answers in TREE.items():
        shares = catalogue[[fraction(question, answer) for answer in answers]]
        assert np.allclose(shares.sum(axis=1), 1)
        assert catalogue[asked(question)].between(0, 1).all()
    assert {"petro_theta", "petro_th50", "petro_th90", "mag_r", "redshift", "elpetro_absmag_r",
            "sersic_nmgy_r", "wrong_size_statistic", "wrong_size_warning"} <= set(
        catalogue)  # fmt: skip


@pytest.mark.parametrize("disturbance", [0.0, 0.4, 0.8])
def test_no_galaxy_without_a_band_is_on_the_contact_sheet(small_run, tmp_path, disturbance):
    """make_datatxt.py refuses such an image, so that the sheet cannot show it."""
    truth = pd.read_parquet(small_run.truth).head(4)
    truth = truth.assign(disturbance=disturbance, defect_decals="missing_band", ra=0.0, dec=0.0)
    contact_sheet(tmp_path / "sheet.png", Run(tmp_path), truth)  # reads no image
    assert (tmp_path / "sheet.png").exists()


def test_the_script_refuses_more_galaxies_in_the_overlap_than_in_all(tmp_path):
    script = runpy.run_path(str(ROOT / "data" / "simulate.py"))
    with pytest.raises(Problem, match="galaxies = 2, overlap = 3"):
        script["main"](script["Config"](run=str(tmp_path), galaxies=2, overlap=3))


def test_the_sky_does_not_depend_on_the_number_of_processes(tmp_path):
    ra, dec = draw_positions(random_stream(2, 0, Purpose.POSITIONS), 4, 2)
    items = list(zip(range(4), ra.tolist(), dec.tolist(), strict=True))
    contents = []
    for workers in (1, 2):
        run = Run(tmp_path / str(workers))
        task = partial(simulate_galaxy, seed=2, overlap=2, run=run)
        rows = list(each(task, items, workers, few=2))
        files = sorted(run.folder.rglob("*.fits"))
        contents.append((repr(rows), [(file.name, file.read_bytes()) for file in files]))
    assert len(contents[0][1]) == 6
    assert contents[0] == contents[1]


def test_images_of_a_survey_do_not_depend_on_the_others(tmp_path, monkeypatch):
    """Drawn alone, with all surveys, and where the project knows only the two of the demo."""
    contents = {}
    for names in (DEMO, ("decals", "hsc", "sdss"), tuple(SURVEYS), "known"):
        if names == "known":
            monkeypatch.setattr(sky, "SURVEYS", {name: SURVEYS[name] for name in DEMO})
        run, drawn = Run(tmp_path / "-".join(names)), DEMO if names == "known" else names
        rows = [simulate_galaxy((i, 150.0 + i, 32.0), 1, 4, run, drawn) for i in range(4)]
        files = {(path.parent.name, path.name): path.read_bytes()
                 for path in sorted(run.folder.rglob("*.fits"))}  # fmt: skip
        assert {survey for survey, _ in files} == set(drawn)
        truth = pd.DataFrame([row for _, row in rows])
        assert {name.removeprefix("defect_") for name in truth if "defect_" in name} == set(drawn)
        contents[names] = files, truth
    files, truth = contents[DEMO]
    for others, table in contents.values():
        assert all(others[key] == files[key] for key in others.keys() & files.keys())
        shared = [name for name in truth if name in table]
        pd.testing.assert_frame_equal(table[shared], truth[shared])
    assert contents["known"][0] == files
    assert len(repeats.exposures(41, 0, 1)) == len(DEMO) + 1


@pytest.mark.parametrize(
    ("surveys", "words"),
    [
        (("decals", "hubble"), "there is no survey 'hubble': choose among decals, bassmzls, des"),
        (("sdss",), "first decals, whose images the volunteers classify"),
        (("decals", "sdss", "sdss"), "each survey once"),
    ],
)
def test_a_wrong_choice_of_surveys_is_one_line(tmp_path, script, surveys, words):
    line = says_one_line(script("data/simulate.py", Run(tmp_path), "--surveys", *surveys))
    assert words in line


def test_positions_keep_apart_and_the_overlap_lies_in_the_strip():
    ra, dec = draw_positions(random_stream(1, 0, Purpose.POSITIONS), 3000, 600)
    assert len(close_pairs(ra, dec, MIN_SEPARATION)) == 0
    assert ((dec[:600] > 31.5) & (dec[:600] < 33.3)).all()
    assert (dec[600:] < 31).all()


@pytest.mark.parametrize("mistake", [sky.SOUTHERN, sky.DISPLACED])
def test_a_northern_file_may_be_southern_or_cut_about_another_place(tmp_path, monkeypatch, mistake):
    monkeypatch.setattr(sky, "MISTAKES", {mistake: 1.0})
    run = Run(tmp_path)
    _, truth = simulate_galaxy((0, 150.0, 32.0), seed=5, overlap=1, run=run)
    assert truth["mistake_bassmzls"] == mistake
    (path,) = run.images("bassmzls").glob("*.fits")
    (there,) = run.images("decals").glob("*.fits")
    north, south = read_cutout(path), read_cutout(there)
    if mistake == sky.SOUTHERN:
        assert north.survey == "decals"
        assert not np.array_equal(north.flux, south.flux)
        return
    assert north.survey == "bassmzls"
    right = -(north.ra - south.ra) * np.cos(np.radians(32.0)) * 3600 / PIXEL_SCALE
    up = (north.dec - south.dec) * 3600 / PIXEL_SCALE
    assert 2 <= np.hypot(right, up) <= sky.FARTHEST + 1
    again = moved(north.flux, round(right), round(up))
    inner = slice(sky.FARTHEST, -sky.FARTHEST)  # what the moved frame has too
    bright = np.zeros((SIZE, SIZE), bool)
    bright[inner, inner] = (south.flux[1] > 0.2 * south.flux[1].max())[inner, inner]
    alike = [np.corrcoef(image[1][bright], south.flux[1][bright])[0, 1]
             for image in (again, north.flux)]  # fmt: skip
    assert alike[0] > 0.9 > alike[1], "the pixels move with the header's position"


@pytest.mark.parametrize("kind", ["spheroid", "lenticular", "spiral", "irregular"])
def test_the_flux_of_an_isolated_galaxy_is_its_magnitude(kind):
    galaxy = galaxy_like(
        lambda g: g.kind == kind and g.disturbance < 0.05 and g.half_light_radius < 5
    )
    flux = image_of(galaxy)[1].sum(dtype=float)
    assert flux == pytest.approx(float(nanomaggies(galaxy.mag_r)), rel=0.03)


def winding(image):
    """Sign of the turn of a two-armed pattern outwards: +1 from north to east."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    rings = np.arange(14, 34, 2)
    phase = [
        np.angle(np.sum((image * np.exp(2j * angle))[(radius >= r) & (radius < r + 2)]))
        for r in rings
    ]
    return np.sign(np.diff(np.unwrap(phase)).mean())


@pytest.mark.parametrize("handedness", [-1, 1])
@pytest.mark.parametrize("survey", [DECALS, BASSMZLS], ids=lambda survey: survey.name)
def test_the_handedness_of_a_spiral_shows_in_its_image(handedness, survey):
    spiral = galaxy_like(
        lambda g: g.arms == 2 and g.disturbance < 0.05,
        inclination=10.0, axis_ratio=0.98, arm_strength=0.9, pitch=18.0, bar_strength=0.0,
        bar_length=0.0, bar_fraction=0.0, bulge_fraction=0.1, knots=0, half_light_radius=7.0,
        ring_fraction=0.0, flocculence=0.1, handedness=handedness,
    )  # fmt: skip
    assert winding(image_of(spiral, survey)[0]) == handedness


def test_both_surveys_see_the_same_sky():
    galaxy = galaxy_like(lambda g: g.kind == "spiral")
    scene = draw_scene(galaxy, np.random.default_rng(5))
    truth = add_field(scene, galaxy, np.random.default_rng(6), saturated=False)
    images = [
        observe(scene.fourier(), survey, quiet(survey), np.random.default_rng(1))
        for survey in (DECALS, BASSMZLS)
    ]
    assert truth["background_galaxies"] > 20
    south, north = (image[1].ravel() for image in images)
    assert np.corrcoef(south, north)[0, 1] > 0.98
    assert north.sum() == pytest.approx(south.sum(), rel=0.05)


def test_votes_sum_to_one_and_follow_what_the_image_shows():
    seen = draw_conditions(DECALS, np.random.default_rng(0))
    spiral = galaxy_like(
        lambda g: g.arms == 2 and g.disturbance < 0.05,
        half_light_radius=8.0, mag_r=15.0, arm_strength=0.9, axis_ratio=0.8, inclination=37.0,
        pitch=20.0, bulge_fraction=0.1, young_fraction=0.5, bar_fraction=0.0, ring_fraction=0.0,
    )  # fmt: skip
    far = replace(spiral, half_light_radius=1.2, mag_r=18.5)
    near = answer_chances(spiral, seen, "")
    assert near["has-spiral-arms"]["yes"] > 0.85
    assert near["smooth-or-featured"]["featured-or-disk"] > 0.85
    assert answer_chances(far, seen, "")["smooth-or-featured"]["smooth"] > 0.8
    votes = vote_fractions(spiral, seen, "", np.random.default_rng(1))
    for question, answers in TREE.items():
        assert sum(votes[fraction(question, answer)] for answer in answers) == pytest.approx(1)
    on_edge = votes[asked("disk-edge-on")] * votes[fraction("disk-edge-on", "no")]
    assert votes[asked("bar")] == pytest.approx(on_edge)


def test_defects_come_in_the_stated_share_of_frames():
    drawn = [draw_defects(random_stream(1, i, Purpose.DEFECTS), 2) for i in range(6000)]
    for kind in DEFECTS:
        share = np.mean([defects[0] == kind for defects in drawn])
        assert share == pytest.approx(SHARE, abs=0.004)
    stars = [defects for defects in drawn if "saturated_star" in defects]
    assert all(set(defects) == {"saturated_star"} for defects in stars)


@pytest.mark.parametrize("kind", DEFECTS)
def test_each_defect_shows_in_the_pixels(kind):
    rng = np.random.default_rng(3)
    clean = rng.normal(0, 0.004, (3, SIZE, SIZE)).astype(np.float32)
    clean[:, 100:110, 140:150] += 500  # what is left of a star before it saturates
    image = clean.copy()
    spoil(image, kind, draw_conditions(DECALS, rng), (MIDDLE + 17, MIDDLE - 23), rng)
    zero = (image == 0).mean(axis=(1, 2))
    if kind == "missing_band":
        assert sorted(zero) == [0, 0, 1]
    elif kind == "half_empty":
        assert np.all((zero > 0.35) & (zero < 0.65))
    elif kind == "dead_columns":
        assert 0.01 < zero.max() < 0.12
    elif kind == "saturated_star":
        assert image.max() < 30 < clean.max()
    else:
        assert ((image - clean).max(axis=(1, 2)) > 0.02).sum() == 1


def test_a_simulated_cutout_is_read_as_a_good_one(small_run):
    truth = pd.read_parquet(small_run.truth)
    good = truth[truth.defect_decals != "missing_band"].iloc[0]
    cutout = read_cutout(small_run.images("decals") / file_name(good.ra, good.dec))
    assert cutout.survey == "decals"
    assert (cutout.ra, cutout.dec) == (good.ra, good.dec)
    assert (cutout.flux < 0).any()


def test_images_that_were_not_simulated_are_never_replaced(tmp_path, script):
    run = Run(tmp_path / "mine")
    run.images().mkdir(parents=True)
    (run.images() / "my_galaxy.fits").write_bytes(b"precious")
    done = script("data/simulate.py", run, "--galaxies", "2", "--overlap", "0")
    assert done.returncode == 1
    assert "were not simulated" in done.stderr
    assert (run.images() / "my_galaxy.fits").read_bytes() == b"precious"
