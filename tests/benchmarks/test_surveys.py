"""Claims about the protocol of several surveys: its runner, its statistics, its page."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import tyro
from conftest import says_one_line

from VAE_model.evaluation.classification import Question, set_question
from VAE_model.pipeline.files import read_json, write_json, write_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.simulation import Purpose
from VAE_model.surveys import DECALS, SURVEYS

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import (
    skies,
    survey_grid,
    survey_networks,
    survey_page,
    survey_search,
    survey_sky,
    survey_verdicts,
    surveys,
)
from benchmarks.protocol import survey_uses as uses
from benchmarks.protocol.scoring import Effort
from benchmarks.protocol.survey_uses import Latents, Pairs
from transfer import adapt

TINY = (
    "--seeds", "1", "--galaxies", "90", "--trees", "5", "--forests", "1", "--epochs", "1",
    "--min-test", "2", "--min-answer", "1", "--threads", "1", "--long", "1",
)  # fmt: skip


def start(folder: Path, others: tuple[str, ...]) -> subprocess.Popen[str]:
    """The protocol on a tiny sky, in a process group of its own; others: surveys beside DECaLS."""
    places = {"folder": "runs", "results": "results", "page": "TRANSFER.md"}
    options = [word for name, path in places.items() for word in (f"--{name}", str(folder / path))]
    path = os.pathsep.join([str(ROOT / "tests" / "offline"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks/protocol/surveys.py"), *TINY, *options,
         "--surveys", *others],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=1200)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.long
@pytest.mark.parametrize("others", [("sdss",), ("des", "sdss")])
def test_a_sky_goes_from_nothing_to_a_page_resumes_and_refuses_other_code(
    tmp_path: Path, others: tuple[str, ...]
):
    killed, result = start(tmp_path, others), tmp_path / "results" / "1.json"
    while not result.exists():
        assert killed.poll() is None, finish(killed).stderr
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    begun = read_json(result)
    begun["surveys"]["decals"]["grid"]["cells"][survey_grid.NULL]["coral"]["distance"] = 0.12345
    write_json(result, begun)

    done = finish(start(tmp_path, others))
    assert done.returncode == 0, done.stderr
    content = read_json(result)
    assert tuple(content["surveys"]) == ("decals", *others)
    cells = content["surveys"].pop("decals")["grid"]["cells"]
    assert cells[survey_grid.NULL]["coral"]["distance"] == 0.12345, "a part stays"
    assert tuple(cells) == tuple(survey_grid.GRID)
    for name, of in content["surveys"].items():
        assert set(survey_sky.PARTS) <= set(of)
        assert ("published" in of) == (name == "sdss"), "not asked of DES"
        measured = {"no_tf", "paired", "affine", uses.PER_LATENT, uses.OWN, uses.POOLED, uses.NIGHT}
        assert measured <= set(of["adaptation"])
        assert of["retrieval"]["among"] > of["retrieval"]["n"] == of["pairs"]["test"]
    published = content["surveys"]["sdss"]["published"]
    assert {"no_tf", "standardise", "coral", "affine", "mmd", uses.OWN} <= set(published)
    found = content["search"]["surveys"]
    assert tuple(found) == ("decals", *others) and content["search"]["seeds"] == [1]
    for of in found.values():  # of a single sky
        assert of["affine"]["own sky"] == of["affine"]["all skies"]
    assert not [path for path in (tmp_path / "runs").iterdir() if path.is_dir()], "no images left"
    page = (tmp_path / "TRANSFER.md").read_text()
    assert "SDSS 1 of 1 skies" in page and "### SDSS" in page and "BASS" not in page
    assert ("DES 1 of 1 skies" in page) == ("des" in others)
    assert "### SDSS, 1 skies" in page and f"| *null: {survey_grid.NULL}* | 1 |" in page
    assert (tmp_path / "transfer.png").exists()

    assert "1 of 1 skies are there" in finish(start(tmp_path, others)).stdout
    write_json(result, content | {"code": "another"})
    assert "1.json was made with other code" in says_one_line(finish(start(tmp_path, others)))
    assert read_json(result)["code"] == "another"


def test_results_of_other_constants_are_refused_and_more_surveys_are_not(tmp_path: Path):
    config = survey_sky.Config(seed=1, surveys=("des",), results=tmp_path)
    done = {key: {} for key in survey_sky.PARTS}
    write_json(survey_sky.path_of(config), survey_sky.read_result(config) | {"surveys": {
        "decals": {"grid": {}}, "des": done, "hsc": {"adaptation": {}}}})  # fmt: skip
    assert survey_sky.missing(config) == {}
    more = survey_sky.Config(seed=1, surveys=("des", "hsc", "sdss"), results=tmp_path)
    assert survey_sky.missing(more) == {
        "hsc": list(survey_sky.PARTS[1:]), "sdss": list(survey_sky.PARTS)
    }  # fmt: skip
    published = replace(config, published=("des",))
    assert survey_sky.missing(published) == {"des": ["published"]}
    with pytest.raises(survey_sky.Problem, match="other constants"):
        survey_sky.missing(survey_sky.Config(seed=1, galaxies=7, results=tmp_path))
    with pytest.raises(survey_sky.Problem, match="no survey 'lsst'"):
        survey_sky.missing(survey_sky.Config(seed=1, surveys=("lsst",), results=tmp_path))
    with pytest.raises(survey_sky.Problem, match="no survey 'lsst'"):
        survey_sky.missing(replace(config, published=("lsst",)))


def test_constants_of_the_runner_reach_every_sky():
    jobs = surveys.jobs_of(surveys.Config(seeds=(5, 6), surveys=("des", "hsc"), trees=7))
    assert [(job.seed, job.surveys, job.trees) for job in jobs] == [
        (seed, ("des", "hsc"), 7) for seed in (5, 6)
    ]
    jobs = surveys.jobs_of(surveys.Config(seeds=(5, 6), surveys=("des", "sdss"), long=1))
    assert [job.published for job in jobs] == [("sdss",), ()]
    for job in jobs:
        options = [word for one in fields(job)
                   for word in skies.words(one.name, getattr(job, one.name))]  # fmt: skip
        assert tyro.cli(survey_sky.Config, args=options) == job
    assert skies.words("min_test", 3) == ["--min-test", "3"]
    assert skies.words("surveys", ("des", "hsc")) == ["--surveys", "des", "hsc"]


# ---- statistics


def test_line_of_each_latent_undoes_its_own_change_and_uses_training_pairs_alone():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(100, 3)).astype(np.float32)
    second = (first * [2, -0.5, 1] + [3, 0, -1]).astype(np.float32)
    fit = np.arange(100) < 70
    moved = uses.per_latent(Latents(first, second), fit).second
    assert np.allclose(moved, first, atol=1e-4)
    turned = np.roll(second, 1, axis=1)  # latents that are exchanged: a line cannot undo that
    assert not np.allclose(uses.per_latent(Latents(first, turned), fit).second, first, atol=0.5)
    second[~fit] = 99
    again = uses.per_latent(Latents(first, second), fit).second
    assert np.allclose(again[fit], moved[fit])
    second[:, 0] = 7
    flat = uses.per_latent(Latents(first, second), fit).second[:, 0]
    assert np.allclose(flat, first[fit, 0].mean()), "a latent that does not vary gets the mean"


def test_maps_without_training_undo_an_affine_change_and_use_training_pairs_alone():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(400, 3)).astype(np.float32)
    second = (first @ rng.normal(size=(3, 3)) + [3, 0, -1]).astype(np.float32)
    fit = np.arange(400) < 300
    found = uses.mapped(Latents(first, second), fit)
    assert set(found) == {"no_tf", "standardise", "coral", "affine"}
    assert np.array_equal(found["no_tf"].second, second)
    assert np.allclose(found["affine"].second, first, atol=0.05)
    for of in (found["standardise"].second[fit], found["coral"].second[fit]):
        assert np.allclose(of.mean(axis=0), first[fit].mean(axis=0), atol=1e-3)
        assert np.allclose(of.std(axis=0), first[fit].std(axis=0), atol=0.05)
    second[~fit] = 99
    again = uses.mapped(Latents(first, second), fit)
    assert all(np.allclose(again[name].second[fit], found[name].second[fit]) for name in found)


def test_recall_counts_images_whose_galaxy_is_nearest():
    among = np.arange(40.0)[:, None]
    sought = np.array([[3.2], [8.0], [30.0]])  # its own is the nearest, the fifth, the 21st
    assert uses.recall(sought, np.array([3, 6, 20]), among) == {
        "recall_at_1": 0.3333, "recall_at_10": 0.6667
    }  # fmt: skip


def test_overlap_of_the_highest_scores():
    scores = np.arange(100.0)
    assert uses.overlap(scores, scores**3, 0.02) == 1
    assert uses.overlap(scores, -scores, 0.02) == 0
    other = scores.copy()
    other[[98, 0]] = 0, 1000
    assert uses.overlap(scores, other, 0.02) == 0.5
    assert uses.overlap(scores[:9], other[:9] * 0, 0.02) in (0, 1), "at least one galaxy counts"


def test_bias_and_scatter_of_known_values():
    truth = np.linspace(0, 1, 1001)
    apart = np.linspace(-1, 1, 1001)
    found = uses.bias_and_scatter(truth, truth, truth + 0.3 + 0.1 * apart)
    assert found["bias"] == pytest.approx(0.3)
    assert found["scatter_first"] == 0
    assert found["scatter_second"] == pytest.approx(0.068, abs=1e-3)  # 68 % of half the range
    assert found["error"] == pytest.approx((0.3**2 + 0.1**2 / 3) ** 0.5, abs=1e-3)


def question(labels: list[str], split: list[str]) -> Question:
    return set_question("one", ["a", "b"], labels, split, min_answer=1, min_test=1)


def test_scores_on_halves_and_changes_of_fractions():
    """Four test galaxies, a a b b: the first survey says a a b b, the second a b b b."""
    asked = question(list("ab") + list("aabb"), ["train"] * 2 + ["test"] * 4)
    first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    half = np.array([1, 1, 1, 0, 1, 0], bool)  # the first of each answer
    assert uses.half_scores([asked], [first], half) == [1, 1]
    assert uses.half_scores([asked], [second], half) == [1, 0.5]
    assert uses.fraction_changes([asked], ([first], [second])) == {"one": {"a": -0.25, "b": 0.25}}
    entry = {"fractions": {"one": {"a": -0.25, "b": 0.25}, "two": {"a": 0.0, "b": 0.0}}}
    assert survey_verdicts.shift(entry) == 0.125


@pytest.fixture
def shifted() -> Pairs:
    """Pairs whose second survey adds 3 to the latent that tells a from b."""
    rng = np.random.default_rng(1)
    count = 400
    told = rng.integers(0, 2, count)
    first = rng.normal(size=(count, 4)).astype(np.float32)
    first[:, 0] += 4 * told
    second = first + rng.normal(0, 0.1, first.shape).astype(np.float32) + np.float32([3, 0, 0, 0])
    split = np.where(np.arange(count) % 4 == 0, "test", "train")
    fit, test = split == "train", split == "test"
    before = Latents(first, second)
    latents = {name: before for name in uses.ADAPTED} | {
        uses.RECOMMENDED: Latents(first, second - np.float32([3, 0, 0, 0])),
        uses.PER_LATENT: uses.per_latent(before, fit),
    }
    night = np.where(test[:, None], first + 0.05, np.nan).astype(np.float32)
    asked = question(["ab"[code] for code in told], list(split))
    truth = pd.DataFrame({"magnitude": 2 * first[:, 0], "size": first[:, 1], "redshift": told})
    return Pairs(latents, {uses.NIGHT: night}, [asked], fit, test, truth, Effort(20, 1), 0)


def test_gap_of_a_shift_is_regained_and_another_night_has_none(shifted: Pairs):
    names = (
        "no_tf",
        uses.PER_LATENT,
        uses.RECOMMENDED,
    )  # a classifier of the survey takes a second
    few = replace(shifted, latents={name: shifted.latents[name] for name in names})
    found = uses.adaptation(few)
    gaps = {name: survey_verdicts.gap(entry) for name, entry in found.items()}
    assert gaps["no_tf"] > 0.2 and found["no_tf"]["auc"] > 0.8
    for name in (uses.PER_LATENT, uses.RECOMMENDED, uses.OWN, uses.NIGHT):
        assert gaps[name] < 0.1, name
    assert found["no_tf"]["fractions"]["one"]["b"] > 0.2, "the shift makes b of a"
    first, second = found["no_tf"]["halves"]
    assert np.mean(first) - np.mean(second) == pytest.approx(gaps["no_tf"], abs=0.05)


def test_uses_of_adaptation_on_a_shift(shifted: Pairs):
    bias = uses.regression(shifted)["methods"]
    assert bias["no_tf"]["magnitude"]["bias"] == pytest.approx(6, abs=0.1)
    assert bias[uses.RECOMMENDED]["magnitude"]["bias"] == pytest.approx(0, abs=0.1)
    rare = uses.outliers(shifted)["methods"]
    assert rare[uses.RECOMMENDED]["correlation"] > 0.9 > rare["no_tf"]["correlation"]
    near = uses.retrieval(shifted)
    assert (near["n"], near["among"]) == (100, 400)
    assert near["methods"][uses.NIGHT]["recall_at_1"] > 0.9
    assert near["methods"]["no_tf"]["recall_at_1"] < near["methods"]["paired"]["recall_at_1"]
    few = uses.few_labels(shifted)
    assert list(few) == ["20", "50", "100", "300"], "all 300 training galaxies, no more"
    assert few["20"][uses.RECOMMENDED]["labels of DECaLS"] > few["20"]["no_tf"]["labels of DECaLS"]
    assert few["300"][uses.OWN] > 0.9


def test_ratio_of_means_has_fiellers_interval():
    rng = np.random.default_rng(2)
    below = rng.normal(0.10, 0.01, 8)
    found = survey_verdicts.ratio(below / 2, below)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    above = rng.normal(0.05, 0.01, 8)
    found = survey_verdicts.ratio(above, below)
    assert found.value == pytest.approx(above.mean() / below.mean())
    assert found.low < found.value < found.high
    for limit in (found.low, found.high):  # there above - limit * below is just not clear of zero
        rest = survey_verdicts.across(above - limit * below)
        assert min(abs(rest.low), abs(rest.high)) == pytest.approx(0, abs=1e-9)
    assert survey_verdicts.ratio(above, rng.normal(0, 0.1, 8)) is None


def test_a_method_that_does_nothing_regains_nothing_of_a_gap_that_is_large_by_chance():
    """Halves vary with 0.03; only skies whose first half has a large gap are looked at."""
    rng = np.random.default_rng(3)
    skies = []
    for _ in range(4000):
        gap, closed = 0.02 + rng.normal(0, 0.03, 2), rng.normal(0, 0.03, 2)
        of = {"halves": [[0.8, 0.8], list(0.8 - gap)]}
        after = {"halves": [[0.8, 0.8], list(0.8 - 0.02 + closed)]}
        skies.append({"no_tf": of, "nothing": after})
    large = [sky for sky in skies if 0.8 - sky["no_tf"]["halves"][1][0] > 0.05]
    assert len(large) > 300
    found = survey_verdicts.share_closed(large, "nothing")
    assert found.low < 0 < found.high and abs(found.value) < 0.1


# ---- the grid of seeing and depth


def test_cells_of_the_grid_are_decals_in_worse_conditions_under_the_same_sky():
    assert survey_grid.GRID[survey_grid.NULL] == DECALS and len(survey_grid.GRID) == 9
    for survey in survey_grid.GRID.values():
        light = [g * s**2 for g, s in zip(survey.gain, survey.noise, strict=True)]
        usual = [g * s**2 for g, s in zip(DECALS.gain, DECALS.noise, strict=True)]
        assert light == pytest.approx(usual), "the light of the sky in a pixel"
    worst = survey_grid.worse(2, 2)
    assert worst.fwhm[1] == 2 * DECALS.fwhm[1]
    assert worst.noise[1] / DECALS.noise[1] == pytest.approx(6.31, abs=0.01)
    taken = {survey.stream for survey in SURVEYS.values()} | {int(one) for one in Purpose}
    assert survey_grid.STREAM not in taken


def test_exposures_of_the_grid_differ_in_seeing_and_depth_alone():
    images = dict(zip(survey_grid.GRID, survey_grid.exposures(7, 3), strict=True))
    name = survey_grid.name_of
    noise = {cell: np.median(np.abs(np.diff(of[1], axis=0))) for cell, of in images.items()}
    for seeing in survey_grid.SEEING:
        assert 2 < noise[name(seeing, 1)] / noise[name(seeing, 0)] < 2.7  # 2.5; light adds less
    middle = {cell: of[1, 124:132, 124:132].mean() for cell, of in images.items()}
    assert middle[name(1, 0)] > middle[name(1.4, 0)] > middle[name(2, 0)], "seeing spreads light"
    steps = [images[name(1, d + 1)][1] - images[name(1, d)][1] for d in (0, 1)]
    assert np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1] > 0.9, "the same random numbers"


def test_grid_finds_the_gap_of_a_cell_and_its_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shifted: Pairs
):
    """A sky whose latents are made up: the worst cell adds 3 to the latent that tells a from b."""
    first = np.pad(shifted.latents["no_tf"].first, ((0, 0), (0, 36)))
    count, cells = len(first), list(survey_grid.GRID)
    split = np.where(shifted.test, "test", "train")
    names = [f"J{number}" for number in range(count)]
    index = pd.DataFrame({"iauname": names, "path": names, "split": split})
    defects = ["" if number % 10 else "satellite" for number in range(count)]
    run = Run(tmp_path)
    truth = pd.DataFrame({"iauname": names, "index": range(count), "defect_decals": defects})
    write_parquet(run.truth, truth)
    rng = np.random.default_rng(4)

    def observed(number: int, seed: int) -> np.ndarray:
        assert seed == 5 and number % 10, "frames with a defect are left out"
        of = first[number] + rng.normal(0, 0.05, (len(cells), first.shape[1]))
        of[-1, 0] += 3
        return of.astype(np.float32)

    class Model:
        device = "cpu"

        def encode_inputs(self, inputs: torch.Tensor) -> tuple[torch.Tensor, None]:
            return inputs, None

    monkeypatch.setattr(survey_grid.Packed, "of", lambda run: SimpleNamespace(index=index))
    monkeypatch.setattr(survey_grid.pretrained, "load", lambda precision: Model())
    monkeypatch.setattr(survey_grid, "extract_means", lambda *_: first)
    monkeypatch.setattr(survey_grid, "each", lambda of, items, label: map(of, items))
    monkeypatch.setattr(survey_grid, "prepared", observed)
    labels = pd.DataFrame({"one": np.array(["a", "b"])[shifted.truth["redshift"]]}, index=names)
    answers = {"one": ["a", "b"]}
    monkeypatch.setattr(uses.tasks, "sky_labels", lambda run: (answers, labels))
    monkeypatch.setattr(survey_grid, "TRAINING", 150)
    kept = survey_search.path_of(tmp_path, 5, "decals")
    least = {"min_test": 10, "min_answer": 5}
    found = survey_grid.measure(run, 5, Effort(20, 1), least, kept)
    assert found["pairs"] == {
        "train": 150,
        "test": int(shifted.test[np.array(defects) == ""].sum()),
    }
    assert found["questions"]["one"]["n_train"] > 150, "DECaLS labels of all training galaxies"
    gaps = {cell: survey_verdicts.gap(of["no_tf"]) for cell, of in found["cells"].items()}
    assert gaps.pop(cells[-1]) > 0.2 and max(gaps.values()) < 0.1
    assert survey_verdicts.gap(found["cells"][cells[-1]]["affine"]) < 0.1
    arrays = survey_search.read(tmp_path, 5, "decals")
    assert np.allclose(arrays["every"], first, atol=0.01)
    assert np.allclose(arrays["no_tf"], first[arrays["own"]], atol=0.3)


# ---- the search among all skies


def test_search_among_all_skies_finds_what_another_sky_hides(tmp_path: Path):
    """An image at 4.4 is of the galaxy at 4; the other sky has galaxies at 4.3, and nothing else.

    After the map it lies at 4.
    """
    for seed, every in ((1, np.arange(20.0)), (2, np.full(12, 4.3))):
        path = survey_search.path_of(tmp_path, seed, "decals")
        pairs = {name: Latents(every[:, None], every[:, None]) for name in survey_search.MOVED}
        test, rows = np.arange(len(every)) == 0, np.arange(len(every))
        survey_search.keep(path, pairs, test, rows, every=every[:, None], unit=np.ones(1))
    own, test = np.array([9, 4]), np.array([False, True])
    moved = {
        name: Latents(np.zeros((2, 1)), np.array([[0.0], [place]]))
        for name, place in zip(survey_search.MOVED, (4.4, 4.0), strict=True)
    }
    survey_search.keep(survey_search.path_of(tmp_path, 1, "sdss"), moved, test, own)
    survey_search.keep(survey_search.path_of(tmp_path, 2, "sdss"), moved, test, own)
    found = survey_search.search(tmp_path, (1, 2), ("sdss",))
    assert found[1]["among"] == {"own sky": 20, "all skies": 32}
    of = found[1]["surveys"]["sdss"]
    assert of["no_tf"]["own sky"] == {"recall_at_1": 1, "recall_at_10": 1}
    assert of["no_tf"]["all skies"] == {"recall_at_1": 0, "recall_at_10": 0}
    assert of["affine"]["all skies"] == {"recall_at_1": 1, "recall_at_10": 1}
    assert found[1]["surveys"]["decals"]["no_tf"]["all skies"]["recall_at_1"] == 1
    with pytest.raises(survey_search.Problem, match=r"3_decals.npz is missing: delete 3.json"):
        survey_search.search(tmp_path, (1, 3), ("sdss",))


def test_search_is_added_to_every_sky_and_again_when_there_are_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def searched(folder: Path, seeds: list[int], others: tuple[str, ...]) -> dict[int, dict]:
        calls.append(seeds)
        return {seed: {"seeds": seeds, "surveys": dict.fromkeys(others)} for seed in seeds}

    monkeypatch.setattr(survey_search, "search", searched)
    for seeds in ((1, 2), (1, 2), (1, 2, 3)):
        jobs = surveys.jobs_of(surveys.Config(seeds=seeds, surveys=("des",), results=tmp_path))
        surveys.search(jobs)
    assert calls == [[1, 2], [1, 2, 3]]
    assert read_json(tmp_path / "1.json")["search"]["seeds"] == [1, 2, 3]


# ---- the published network


def test_published_network_is_adapted_with_the_constants_of_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = []

    class Trainer:
        def __init__(self, task: tuple, files: object) -> None:
            trained.append(task)

        def run(self, label: str) -> None:
            assert "sdss" in label

    monkeypatch.setattr(survey_networks, "PairTask", lambda *task: task)
    monkeypatch.setattr(survey_networks, "Trainer", Trainer)
    monkeypatch.setattr(survey_networks, "read_pairs", lambda run: None)
    run, both = Run(tmp_path), (None, SimpleNamespace(survey="sdss"))
    write_json(run.pairs, {})
    base = tmp_path / "one.safetensors"
    assert survey_networks.adapted_by_images(run, both, base, 0).name == "one_mmd_sdss.safetensors"
    survey_networks.adapted_by_images(run, both, base, 7)
    (*_, own, _, _), (*_, fewer, _, _) = trained
    assert (own.method, own.mmd, own.pair, own.epochs) == ("mmd", 1, 0, adapt.Config.epochs)
    assert fewer == replace(own, epochs=7)


# ---- the page


def sky_with(seed: int, gap: float, closed: float) -> dict:
    """The result of a sky with SDSS and DES: SDSS loses `gap`, of which `paired` regains some."""
    names = ("no_tf", "coral", "affine", "paired", uses.OWN, uses.NIGHT, uses.NOISE)

    def entry(second: float) -> dict:
        return {
            "first": [0.8] * 7, "second": [second] * 7, "halves": [[0.8, 0.8], [second, second]],
            "fractions": {"merger": {"merger": 0.8 - second, "none": second - 0.8}},
            "n": 50, "distance": 0.2, "recall_at_1": 0.9, "auc": 0.7,
        }  # fmt: skip

    def survey(gap: float, closed: float) -> dict:
        seconds = dict.fromkeys(names, 0.8 - gap)
        seconds |= {"paired": 0.8 - gap + closed, uses.NIGHT: 0.8, uses.NOISE: 0.8, uses.OWN: 0.79}
        value = {"bias": gap, "scatter_first": 0.1, "scatter_second": 0.2, "error": 0.2}
        return {
            "pairs": {"train": 90, "test": 30},
            "adaptation": {name: entry(seconds[name]) for name in names},
            "preparation": {name: entry(0.8 - 2 * gap) for name in survey_page.NUMBERS},
            "few labels": {"20": {"questions": 7, uses.OWN: 0.5, **{
                name: {"labels of DECaLS": 0.7, "pooled": 0.7} for name in uses.ADAPTED}}},
            "outliers": {"methods": {key: {"overlap": 0.5, "correlation": 0.9} for key in names}},
            "retrieval": {"methods": {key: {"recall_at_1": 0.9} for key in names}},
            "regression": {"methods": dict.fromkeys(names, dict.fromkeys(uses.QUANTITIES, value))},
        }  # fmt: skip

    null = {method: entry(0.8) for method in ("no_tf", *survey_page.MAPS)}
    cells = dict.fromkeys(survey_grid.GRID, null)
    lost = {**entry(0.8 - 3 * gap), "halves": [[0.8, 0.8], [0.8 - 3 * gap] * 2]}
    cells[survey_grid.name_of(2, 2)] = {**cells[survey_grid.NULL], "no_tf": lost}
    recall = {"recall_at_1": 0.5, "recall_at_10": 0.7}
    places = dict.fromkeys(("own sky", "all skies"), recall)
    better = places | {"all skies": {"recall_at_1": 0.5 + gap, "recall_at_10": 0.8}}
    search = {"seeds": [seed], "among": {"own sky": 1500, "all skies": 12000},
              "surveys": {"decals": {"no_tf": places, "affine": places},
                          "sdss": {"no_tf": places, "affine": better}}}  # fmt: skip
    by = {"sdss": survey(gap, closed), "des": survey(0.001 * (seed % 3 - 1), 0)}
    by["sdss"]["published"] = {
        name: entry(second) for name, second in
        {"no_tf": 0.8 - 2 * gap, "affine": 0.8 - gap, "mmd": 0.8 - 1.5 * gap, uses.OWN: 0.8}.items()
    }  # fmt: skip
    return {
        "code": "c0de", "constants": {"seed": seed, "galaxies": 1600}, "versions": {"torch": "2"},
        "surveys": {"decals": {"grid": {"cells": cells}}, **by}, "search": search,
    }  # fmt: skip


def test_page_says_what_the_skies_show(tmp_path: Path):
    folder, page = tmp_path / "results", tmp_path / "TRANSFER.md"
    gaps = (0.04, 0.05, 0.06)
    for number, gap in enumerate(gaps):
        write_json(folder / f"{301 + number}.json", sky_with(301 + number, gap, gap / 2))
    survey_page.write(folder, page, 8)
    text = page.read_text()
    assert "SDSS 3 of 8 skies" in text and "DES 3 of 8 skies" in text
    half = 4.302653 * 0.01 / 3**0.5  # t of two degrees of freedom
    assert (
        f"SDSS: gap before adaptation +0.050 [+{0.05 - half:.3f}, +{0.05 + half:.3f}] (n = 3 skies)"
        ": there is a gap. It is the positive control: as expected." in text
    )
    assert "no gap is shown; one of 0.002 would have shown. It is the null: as expected." in text
    assert "SDSS: share of the gap regained: paired 0.50 [0.50, 0.50]" in text
    assert "DES: share" not in text
    assert "components of the pixels: DES" in text and "SDSS +0.100" in text
    assert "SDSS, score of DECaLS's forest +0.025" in text and "It harms" not in text
    assert "Published network, SDSS: gap before adaptation +0.100" in text
    assert (
        "Published network, SDSS: share of the gap regained: affine 0.50 [0.50, 0.50], mmd 0.25"
        in text
    )
    assert "SDSS: score in the survey by mmd minus affine -0.025" in text
    assert "+0.000 [+0.000, +0.000], no gap is shown; one of 0.000 would have shown; a gap" in text
    assert "a gap clear of zero in 1 of 8 worse cells: seeing x 2, 2 mag +0.150" in text
    assert "Share regained by affine: seeing x 2, 2 mag 1.00 [1.00, 1.00]." in text
    assert "is the nearest of 12,000 DECaLS images of all skies" in text
    assert f"SDSS 0.500 [0.500, 0.500], 0.550 [{0.55 - half:.3f}" in text
    assert "| SDSS | magnitude (mag) | before | 3 | +0.0500" in text

    write_json(folder / "302.json", sky_with(302, 0.05, 0.0) | {"code": "other"})
    with pytest.raises(survey_page.Problem, match="different code are not mixed"):
        survey_page.write(folder, page, 8)


def test_page_admits_a_missing_gap_and_no_use(tmp_path: Path):
    folder, page = tmp_path / "results", tmp_path / "TRANSFER.md"
    for number, gap in enumerate((-0.01, 0.0, 0.01)):
        write_json(folder / f"{301 + number}.json", sky_with(301 + number, gap, 0.0))
    survey_page.write(folder, page, 8)
    text = page.read_text()
    assert "would have shown. It is the positive control: against what was expected." in text
    assert "none is shown; the table of uses says" in text
    with pytest.raises(survey_page.Problem, match="no measured sky: run make surveys"):
        survey_page.write(tmp_path / "empty", page, 8)
