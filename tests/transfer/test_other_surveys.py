"""Pairs of DECaLS with a survey that the demo does not have, as a user simulates and makes them."""

import pandas as pd
import pytest
from conftest import succeeded

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import read_cutout
from VAE_model.pipeline.run import Run
from VAE_model.transfer.audit import check
from VAE_model.transfer.pair_latents import read_sides


@pytest.fixture(scope="module")
def with_sdss(tmp_path_factory, script) -> Run:
    """24 galaxies in DECaLS and SDSS, their pairs, and the latents of both sides."""
    run = Run(tmp_path_factory.mktemp("sdss") / "run")
    for stage, *constants in (
        ("data/simulate.py", "--galaxies", "24", "--overlap", "24", "--surveys", "decals", "sdss"),
        ("make_datatxt.py",),
        ("Galaxy_VAE_n.py", "--epochs", "1"),
        ("transfer/make_pairs.py", "--other", "sdss"),
        ("transfer/encode_pairs.py",),
    ):
        done = script(stage, run, *constants)
        assert done.returncode == 0, f"{stage}: {done.stderr}"
    return run


def test_images_of_the_run_are_those_of_its_surveys(with_sdss):
    folders = {path.name for path in with_sdss.images().parent.iterdir() if path.is_dir()}
    assert folders == {"decals", "sdss"}
    truth = pd.read_parquet(with_sdss.truth)
    assert {"defect_decals", "defect_sdss", "fwhm_r_sdss"} <= set(truth)
    assert not [name for name in truth if "bassmzls" in name]
    versions = {read_cutout(path).release for path in with_sdss.images("sdss").glob("*.fits")}
    assert versions == {"SDSS-DR16"}


def test_decals_is_paired_and_encoded_with_sdss(with_sdss):
    pairs = pd.read_parquet(with_sdss.pairs)
    assert len(pairs) >= 20 and set(pairs["other_survey"]) == {"sdss"}
    assert pairs.loc[pairs["usable"], "offset_pixels"].median() < 1
    sides = read_sides(with_sdss, with_sdss.pair_latents("no_tf"), 40)
    assert sides.surveys == ("decals", "sdss") and len(sides.pairs) == len(pairs)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("unknown", ""),  # a real image of SDSS: its header has no VERSION
        ("SDSS-DR16", ""),
        ("DR9-south", "wrong survey: VERSION 'DR9-south' is decals, not sdss"),
        ("HSC-PDR3", "wrong survey: VERSION 'HSC-PDR3' is hsc, not sdss"),
    ],
)
def test_images_of_another_survey_are_refused_and_imported_ones_are_not(
    with_sdss, tmp_path, version, words
):
    flux = read_cutout(next(with_sdss.images("sdss").glob("*.fits"))).flux
    path = tmp_path / "image.fits"
    write_cutout(path, flux, 150.0, 2.0, version)
    assert check((path, "sdss"))[3] == words


def test_a_simulation_of_other_surveys_leaves_no_images_of_the_last(tmp_path, script):
    run = Run(tmp_path / "run")
    for surveys in (("decals", "des"), ("decals",)):
        options = ("--galaxies", "2", "--overlap", "2", "--surveys", *surveys)
        succeeded(script("data/simulate.py", run, *options))
    left = {path.name for path in run.images().parent.iterdir()}
    assert left == {"decals", "decals.json"}
