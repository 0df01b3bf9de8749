"""Unusual images rank high, broken ones are flagged; the stage that reports them."""

import json
import re
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import load_script, run_script, says_one_line
from latents_of_tiny_run import DEFECTS, NUM_VAR, with_latents
from matplotlib.image import imread

from VAE_model.evaluation import outliers
from VAE_model.pipeline.files import read_parquet, write_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import Run
from VAE_model.preparation.defects import FLAGS
from VAE_model.report.gallery import Card, Kind, gallery_page

STAGE = "analysis/decals_4.py"
ARGUMENTS = ("--num-var", str(NUM_VAR), "--rare-share", "0.2")
decals_4 = load_script(STAGE)


def cloud(n: int, dimensions: int = 40, seed: int = 0) -> np.ndarray:
    """Correlated latents, among them two that the network does not use."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dimensions, dimensions)) / dimensions**0.5
    latents = rng.normal(size=(n, dimensions)) @ mixing
    latents[:, :2] *= 1e-4
    return latents.astype(np.float32)


def shares(n: int) -> np.ndarray:
    return np.arange(n) % 10 < 7


def test_a_galaxy_far_from_all_has_the_largest_distance_and_isolation():
    latents, train = cloud(1000), shares(1000)
    latents[123, 2:] += 3
    for scores in (outliers.mahalanobis(latents, train), outliers.isolation(latents, train)):
        assert np.argmax(scores) == 123
        assert outliers.rank(scores)[123] == 1


@pytest.mark.parametrize("n", [70, 200, 2000])
def test_training_galaxies_are_no_nearer_than_others_like_them(n):
    latents, train = cloud(n), shares(n)
    distance = outliers.mahalanobis(latents, train)
    assert np.isfinite(distance).all()
    assert np.median(distance[train]) == pytest.approx(np.median(distance[~train]), rel=0.12)


def test_a_twentieth_of_outliers_does_not_widen_the_cloud():
    latents, train = cloud(2000), shares(2000)
    odd = np.arange(0, 2000, 25)
    latents[odd, 5:9] += 12
    distance = outliers.mahalanobis(latents, train)
    others = np.setdiff1d(np.arange(2000), odd)
    assert distance[odd].min() > np.percentile(distance[others], 99.9)


def test_the_distance_within_the_class_counts():
    """Between two classes is the middle of all galaxies, and far from both."""
    latents, train = cloud(600, 4), shares(600)
    latents[:300, 3] += 6
    latents[300:, 3] -= 6
    latents[17, 3] = 0
    members = np.zeros((600, 3), bool)
    members[:300, 0], members[300:580, 1], members[580:, 2] = True, True, True
    within = outliers.class_distance(latents, members, train)
    assert np.nanargmax(within) == 17
    assert outliers.mahalanobis(latents, train)[17] < 2
    assert np.isnan(within[580:]).all(), "a class of 14 training members counts as none"
    assert np.isfinite(within[:580]).all()


def test_a_galaxy_in_two_classes_has_the_distance_from_the_nearer():
    latents, train = cloud(400, 4), shares(400)
    latents[200:, 2] += 30
    members = np.zeros((400, 2), bool)
    members[:200, 0], members[200:, 1] = True, True
    alone = outliers.class_distance(latents, members, train)
    members[250, 0] = True
    both = outliers.class_distance(latents, members, train)
    assert both[250] == pytest.approx(alone[250], rel=0.2)


def test_percentiles_are_shares_with_ties_in_the_middle():
    np.testing.assert_allclose(outliers.percentile([3, 1, 2]), [1, 0, 0.5])
    np.testing.assert_allclose(outliers.percentile([1, 1, 5, np.nan]), [0.25, 0.25, 1, np.nan])
    assert outliers.percentile([4.0]) == [0]


def test_the_combined_rank_leaves_out_what_is_not_known():
    scores = outliers.combined([1, 2, 3], [np.nan, 5, 6])
    np.testing.assert_allclose(scores, [0, 0.25, 1])
    assert outliers.rank(scores).tolist() == [3, 2, 1]
    assert outliers.rank([np.nan, 1, 1]).tolist() == [3, 1, 2]


def test_what_stands_out_is_far_above_the_middle_whatever_the_unit():
    values = np.exp(np.random.default_rng(0).normal(size=2000))
    values[:100] = np.exp(4)
    for unit in (1e-5, 1e5):
        out = outliers.stands_out(unit * np.append(values, [np.nan, 0.0]), 3)
        assert out[:100].all() and out[100:].sum() < 10
    assert not outliers.stands_out(np.ones(5), 3).any()


def test_memory_beyond_the_latents_is_bounded():
    latents, train = cloud(200_000), shares(200_000)
    tracemalloc.start()
    outliers.mahalanobis(latents, train)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250e6


def test_the_page_escapes_what_comes_from_outside_and_needs_no_other_file():
    kinds = (Kind("rare", "rare", "so & so", "#123456"),)
    nasty = '<script>alert("1")</script>'
    card = Card("rare", nasty, "data:,", "javascript:alert(1)", (nasty,), {nasty: nasty}, (nasty,))
    page = gallery_page(nasty, [nasty], kinds, [card], {"labels": [nasty]})
    assert page.count("<script") == 2 and "<script>alert" not in page and "javascript:" not in page
    assert "&lt;script&gt;" in page and "default-src 'none'" in page
    with pytest.raises(ValueError, match="without a button: odd"):
        gallery_page("t", [], kinds, [Card("odd", "x", "data:,")], {})


@pytest.fixture(scope="module")
def whole(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny run with latents, and what the stage makes of it."""
    run = with_latents(tiny_run, tmp_path_factory.mktemp("outliers") / "run")
    done = run_script(STAGE, run, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    assert "of 3 injected defects" in done.stdout
    return run


@pytest.fixture
def copy(whole: Run, tmp_path: Path) -> Run:
    """The same run before the stage, for a test of its own; images are links."""
    place = shutil.copytree(whole.folder, tmp_path / "run", symlinks=True,
                            ignore=shutil.ignore_patterns("outliers_*"))  # fmt: skip
    return Run(place)


def test_flagged_images_are_broken_and_none_is_lost(whole):
    table = read_parquet(whole.outliers(NUM_VAR))
    latents = read_parquet(whole.latents(NUM_VAR))
    assert table["path"].tolist() == latents["path"].tolist()
    assert sorted(table["rank"]) == list(range(1, len(table) + 1))
    assert np.flatnonzero(table["kind"] == "broken").tolist() == sorted(DEFECTS)
    assert (table.loc[table["kind"] == "broken", list(FLAGS)].any(axis=1)).all()
    suspect, rare = (table[table["kind"] == kind] for kind in ("suspect", "rare"))
    assert not pd.concat([suspect, rare])[list(FLAGS)].any(axis=None)
    assert len(suspect) < 5 and 0 < len(rare) <= 10
    assert rare["rank"].max() <= 10


def test_images_are_ranked_by_their_flags_then_by_the_unevenness_of_their_sky(whole):
    table = read_parquet(whole.outliers(NUM_VAR))
    assert sorted(table["image_rank"]) == list(range(1, len(table) + 1))
    broken = table[list(FLAGS)].any(axis=1)
    assert sorted(table.loc[broken, "image_rank"]) == [1, 2, 3]
    rest = table[~broken].sort_values("image_rank")
    assert rest["background_rms_over_flux"].is_monotonic_decreasing
    suspect = rest["kind"].eq("suspect").to_numpy()
    assert (np.diff(suspect.astype(int)) <= 0).all()  # they come first


def test_the_recovery_of_injected_defects_is_reported(whole):
    content = json.loads(whole.result(f"outliers_{NUM_VAR}.json").read_text())
    found = content["recovery"]
    assert found["injected"]["n"] == found["injected"]["either"] == 3
    assert found["by_kind"]["half_empty"]["flagged"] == 1
    assert found["clean"] == {"n": 45, "flagged": 0}
    numbers = json.loads(sidecar(whole.outliers(NUM_VAR)).read_text())["numbers"]
    assert numbers["recovery"] == found and numbers["broken"] == 3


def test_the_figures_can_be_read(whole):
    assert imread(whole.figure(f"outliers_{NUM_VAR}.png")).shape[1] > 1000
    page = whole.outliers_page(NUM_VAR).read_text()
    assert page.count("<article") == len(read_parquet(whole.outliers(NUM_VAR)))
    addresses = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    viewer = "https://www.legacysurvey.org/viewer?ra="
    assert all(a.startswith(("data:image/jpeg;base64,", viewer)) for a in addresses)


def test_a_second_run_does_nothing(whole):
    done = run_script(STAGE, whole, *ARGUMENTS)
    assert done.returncode == 0 and "nothing to do" in done.stdout


def test_without_classes_and_truth_it_goes_on_and_says_so(copy):
    copy.class_latents(NUM_VAR).unlink()
    copy.truth.unlink()
    done = run_script(STAGE, copy, *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    assert f"class_latents_{NUM_VAR}.parquet is missing" in done.stdout
    assert "injected" not in done.stdout
    assert read_parquet(copy.outliers(NUM_VAR))["class_distance"].isna().all()


def test_missing_latents_name_the_command(copy):
    copy.latents(NUM_VAR).unlink()
    line = says_one_line(run_script(STAGE, copy, *ARGUMENTS))
    assert "is missing: run python analysis/extract_latents.py" in line


def change(run: Run, what: str) -> None:
    """Spoil the latents of a run in one way."""
    path = run.latents(NUM_VAR)
    table = read_parquet(path)
    if what == "dimension":
        table = table.drop(columns="mu_04")
    elif what == "nan":
        table.loc[5, "mu_02"] = np.nan
    elif what == "flag":
        table = table.drop(columns="flag_streak")
    elif what == "order":
        table = table.iloc[::-1]
    elif what == "rows":
        table = table.iloc[:0]
    elif what == "train":
        table["split"] = "test"
    write_parquet(path, table)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("dimension", "holds 4 latent variables, not 5: run python"),
        ("nan", "has 1 rows with latents that are not finite"),
        ("flag", "has no column flag_streak: run python"),
        ("order", "is not of the images in train.txt: run python"),
        ("rows", "has no rows"),
        ("train", "has 0 training galaxies, and 10 are needed"),
    ],
)
def test_bad_latents_get_one_clear_line(copy, what, message):
    change(copy, what)
    with pytest.raises(Problem, match=f"latents_{NUM_VAR}.parquet .*{message}"):
        decals_4.main(decals_4.Config(copy.folder, NUM_VAR))


def test_a_truth_without_defects_is_named(copy):
    write_parquet(copy.truth, pd.DataFrame({"iauname": ["J1"]}))
    with pytest.raises(Problem, match=r"truth.parquet has no column defect_decals"):
        decals_4.main(decals_4.Config(copy.folder, NUM_VAR))


def test_ten_training_galaxies_are_enough_for_a_distance():
    """The least that decals_4.py takes: of folds of eight there is nothing to trim."""
    latents = np.random.default_rng(0).normal(size=(16, 3))
    distance = outliers.mahalanobis(latents, np.arange(16) < 10)
    assert np.isfinite(distance).all() and (distance > 0).all()
