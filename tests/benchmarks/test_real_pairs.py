"""Claims about the measurement on real images of two surveys: leave-one-out, and the command."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ENVIRONMENT

from VAE_model.evaluation.bootstrap import Estimate, weighted_auc
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import leave_one_out, real_pairs, real_pairs_page, real_sets
from benchmarks.protocol.leave_one_out import METHODS, match

REAL = Path(os.environ.get("GALAXY_VAE_REAL") or ROOT.parent / "shared" / "real")
GALAXIES, UNANSWERED = 6, 10  # of the real sets in the test of the command


def fixed(first: object, second: object) -> leave_one_out.Source:
    sides = np.array(first, float), np.array(second, float)
    return lambda _: sides


def test_three_galaxies_by_hand():
    """The unit is the standard deviation of the two other galaxies, and a tie counts against."""
    found = match(fixed([[0], [1], [3]], [[0.5], [1.5], [3.5]]), 3)
    assert found.rank.tolist() == [1, 0, 0]
    assert found.nearest.tolist() == [0, 1, 2]
    assert found.distance == pytest.approx([0.5, 1 / 3, 1])
    assert found.other == pytest.approx([1.5, 1, 6])


@pytest.mark.parametrize("name", METHODS)
def test_map_of_a_galaxy_does_not_know_it(name):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 12, 3))
    before = match(fixed(first, second), 12, METHODS[name])
    other_first = first.copy()
    other_first[4] += 100  # its own first image must not change where its second image is moved
    after = match(fixed(other_first, second), 12, METHODS[name])
    assert after.moved[4] == pytest.approx(before.moved[4])


def test_numbers_are_fitted_without_the_galaxy():
    asked = []

    def source(others):
        asked.append(others.tolist())
        return np.eye(4), np.eye(4)

    match(source, 4)
    assert asked == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_maps_undo_what_they_can_undo():
    rng = np.random.default_rng(1)
    first = rng.standard_normal((40, 5))
    scaled = 3 * first + 10
    mixed = first @ rng.standard_normal((5, 5)) + 1
    share = {
        (name, kind): np.mean(match(fixed(first, second), 40, METHODS[name]).rank < 1)
        for kind, second in (("scaled", scaled), ("mixed", mixed))
        for name in METHODS
    }
    assert share["none", "scaled"] < 0.2 and share["none", "mixed"] < 0.5
    assert all(share[name, "scaled"] == 1 for name in METHODS if name != "none")
    assert share["ridge", "mixed"] == 1 > share["per latent", "mixed"]


def test_unrelated_images_are_found_by_chance():
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((2, 100, 8))
    for method in METHODS.values():
        assert np.mean(match(fixed(first, second), 100, method).rank < 1) < 0.06
    of = match(fixed(first, second), 100)
    assert np.median(of.distance) == pytest.approx(np.sqrt(2), rel=0.1)


def test_numbers_that_do_not_vary_are_left_out():
    first = np.c_[[0.0, 1, 3, 7], np.full(4, 5.0)]
    second = first + np.array([0.1, 1000])
    assert match(fixed(first, second), 4).rank.tolist() == [0, 0, 0, 0]


def test_survey_is_told_apart_only_where_it_differs():
    rng = np.random.default_rng(3)
    first, second = rng.standard_normal((2, 100, 4))
    survey = np.arange(200) >= 100
    for shift, low, high in ((0, 0.35, 0.65), (5, 0.99, 1)):
        scores = leave_one_out.survey_scores(first, second + shift)
        assert low <= weighted_auc(scores.ravel(), survey, np.ones((1, 200)))[0] <= high


def test_components_of_images_in_their_span_are_those_of_the_pixels():
    pixels = np.random.default_rng(4).standard_normal((9, 50))
    short, fit = real_pairs.in_their_span(pixels), np.arange(6)
    one, two = (real_pairs.components(of, fit) for of in (pixels, short))
    assert one.shape == (9, 5)
    assert np.abs(one) == pytest.approx(np.abs(two))


def test_blue_is_g_and_red_is_z_in_both_surveys():
    rows = [
        (f"{galaxy}_dss{n}{band}.fits.fz", 1.5, 2.5, survey, band)
        for galaxy in ("1.5_+2.5", "3.5_+2.5")
        for n, survey in enumerate(("POSS-I", "POSS-II"), start=1)
        for band in ("blue", "red", "ir")[: n + 1]
    ]  # fmt: skip
    rows.remove(rows[-2])  # the second galaxy has no red plate of POSS-II
    columns = ["file", "ra", "dec", "survey", "band"]
    table = real_pairs.plate_table(pd.DataFrame(rows, columns=columns))
    assert table.to_numpy().tolist() == [
        ["POSS-II_1.5_+2.5", 1.5, 2.5, "1.5_+2.5_dss2blue.fits.fz", "1.5_+2.5_dss2red.fits.fz"],
        ["POSS-I_1.5_+2.5", 1.5, 2.5, "1.5_+2.5_dss1blue.fits.fz", "1.5_+2.5_dss1red.fits.fz"],
    ]  # fmt: skip


def test_scores_of_the_page_are_means_of_the_seeds():
    one = {"rank": [0, 0, 0, 5], "distance": [1, 2, 3, 4], "other": [5, 5, 5, 5],
           "survey": [[0, 0, 0, 0], [1, 1, 1, 1]]}  # fmt: skip
    two = {**one, "rank": [0, 5, 5, 5]}
    of = real_pairs_page.measures([one, two], 100)
    assert of["found"][0] == 0.5 and of["rank"][0] == 3.5  # medians 1 and 6
    assert of["distance"][0] == 2.5 and of["auc"][0] == 1
    assert Estimate.of(of["found"]).low < 0.5 < Estimate.of(of["found"]).high


def test_missing_sets_are_named(tmp_path):
    config = real_pairs.Config(real=tmp_path, folder=tmp_path, results=tmp_path)
    with pytest.raises(Problem, match="poss_pairs is missing: give the folder of the sets"):
        real_pairs.measure_all(config)
    with pytest.raises(Problem, match="unknown: plates"):
        real_pairs.measure_all(real_pairs.Config(sets=("plates",)))
    with pytest.raises(Problem, match="holds no result"):
        real_pairs_page.page(tmp_path, (0,), 10)


# ---- the command


def few_of_both(folder: Path) -> None:
    """Copy the plates of some galaxies, and the images of gz_examples that answer a question."""
    plates = pd.read_csv(REAL / "poss_pairs" / "plates.csv")
    plates = plates[plates["ra"].isin(plates["ra"].unique()[:GALAXIES])]
    rows = pd.read_csv(REAL / "gz_examples" / "labels.csv")
    wide = real_sets.examples_table(rows)
    answered = wide[list(real_sets.EXAMPLE_QUESTIONS)].notna().any(axis=1)
    others = wide[~answered].groupby("split").head(UNANSWERED)
    files = {*wide.loc[answered, "file"], *others["file"]}
    chosen = {"poss_pairs": ("plates", "plates.csv", plates),
              "gz_examples": ("images", "labels.csv", rows[rows["file"].isin(files)])}  # fmt: skip
    for name, (inside, csv, table) in chosen.items():
        (folder / name / inside).mkdir(parents=True)
        for file in table["file"].unique():
            shutil.copy(REAL / name / inside / file, folder / name / inside / file)
        table.to_csv(folder / name / csv, index=False)


@pytest.mark.skipif(
    not (REAL / "poss_pairs").is_dir(),
    reason="real sets are absent: set GALAXY_VAE_REAL to the folder that holds poss_pairs/",
)
def test_command_goes_from_plates_to_tables_and_resumes(tmp_path, monkeypatch):
    few_of_both(tmp_path / "real")
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/protocol/real_pairs.py"), "--trees", "10",
         "--real", str(tmp_path / "real"), "--folder", str(tmp_path / "runs"),
         "--results", str(tmp_path / "results"), "--seeds", "0", "--n-bootstrap", "20"],
        capture_output=True, text=True, timeout=1200, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = tmp_path / "results"
    results = {
        path.relative_to(kept).with_suffix("").as_posix(): json.loads(path.read_text())
        for path in kept.rglob("*.json")
    }
    assert set(results) == {
        *(f"poss_pairs/{row}_0" for row in real_pairs_page.ROWS), "poss_pairs/set",
        *(f"gz_examples/{row}_0" for row in real_pairs_page.ROWS if row != "pixels"),
        "gz_examples/set",
    }  # fmt: skip
    of = results["poss_pairs/weights_0"]["methods"]
    assert list(of) == list(METHODS)
    assert all(len(one["rank"]) == GALAXIES for one in of.values())
    assert list(results["poss_pairs/pixels_0"]["methods"]) == ["none"]
    assert "## POSS-I and POSS-II" in done.stdout and "## gz_examples" in done.stdout

    config = real_pairs.Config(
        real=tmp_path / "real", folder=tmp_path / "runs", results=tmp_path / "results",
        seeds=(0,), trees=10,
    )  # fmt: skip
    measured = []
    monkeypatch.setattr(real_pairs, "measure_plates", lambda row, *_: measured.append(row) or {})
    monkeypatch.setattr(real_pairs, "measure_examples", lambda row, *_: measured.append(row) or {})
    (tmp_path / "results" / "poss_pairs" / "random_0.json").unlink()
    real_pairs.measure_all(config)
    assert measured == ["random"]
