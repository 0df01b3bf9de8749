"""Claims about the protocol of the skies: its runner, its intervals, its page, and the demo's."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import load_script, run_command, says_one_line
from scipy.stats import ttest_1samp

from VAE_model.data import galaxy_zoo
from VAE_model.evaluation.classification import set_question
from VAE_model.pipeline.files import read_json, write_json
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.report import skies as shown
from VAE_model.report.run_outputs import RunOutputs
from VAE_model.transfer.pair_latents import Sides

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import results, sky

TINY = (
    "--seeds", "1", "--long", "0", "--galaxies", "90", "--overlap", "80", "--trees", "5",
    "--forests", "1", "--epochs", "1", "--min-test", "2", "--min-answer", "1", "--threads", "1",
)  # fmt: skip
QUESTIONS = list(galaxy_zoo.questions())


def command_in(folder: Path) -> list[str]:
    """The protocol on a tiny sky."""
    places = {"folder": "runs", "results": "results", "page": "RESULTS.md"}
    options = [word for name, path in places.items() for word in (f"--{name}", str(folder / path))]
    return [str(ROOT / "benchmarks/protocol/skies.py"), *TINY, *options]


def start(folder: Path) -> subprocess.Popen[str]:
    """The protocol in a process group of its own."""
    path = os.pathsep.join([str(ROOT / "tests" / "offline"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, *command_in(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=1200)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.long
def test_protocol_goes_from_nothing_to_a_page_resumes_and_refuses_other_code(tmp_path: Path):
    killed, first = start(tmp_path), tmp_path / "results" / "1.json"
    while not first.exists():
        assert killed.poll() is None, finish(killed).stderr
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    begun = read_json(first)
    part = next(iter(begun["rivals"]))
    write_json(first, begun | {"rivals": {part: begun["rivals"][part] | {"minutes": 12345}}})

    done = finish(start(tmp_path))
    assert done.returncode == 0, done.stderr
    content = read_json(first)
    assert content["rivals"][part]["minutes"] == 12345, "a measured part stays"
    assert [*content["rivals"], "transfer"] == list(sky.TIERS[1])
    assert set(content["transfer"]["floor"]) == {"same night", "another night"}
    assert not [path for path in (tmp_path / "runs").iterdir() if path.is_dir()], "no images left"
    page = (tmp_path / "RESULTS.md").read_text()
    assert "1 of 1 skies of 90 galaxies" in page and "| affine | 1 |" in page
    assert (tmp_path / "results.png").exists()

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert "1 of 1 parts are there" in run_command(command_in(tmp_path)).stdout
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}

    write_json(first, content | {"code": "another"})
    assert "1.json was made with other code" in says_one_line(run_command(command_in(tmp_path)))
    assert read_json(first)["code"] == "another"


def test_results_of_other_constants_are_refused(tmp_path: Path):
    config = sky.Config(seed=1, results=tmp_path, epochs=1)
    write_json(sky.path_of(config), sky.read_result(config))
    assert sky.missing(config) == list(sky.TIERS[1])
    other = sky.Config(seed=1, results=tmp_path, epochs=2)
    with pytest.raises(sky.Problem, match="other constants"):
        sky.missing(other)


def test_where_a_sky_is_measured_does_not_count_as_a_constant(tmp_path: Path):
    one, two = sky.Config(tier=1), sky.Config(tier=2, folder=tmp_path, results=tmp_path)
    assert sky.constants_of(one) == sky.constants_of(two)
    assert sky.constants_of(one) != sky.constants_of(sky.Config(seed=102))


def test_interval_of_skies_is_that_of_students_t():
    values = np.random.default_rng(3).normal(0.8, 0.02, 10)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    found = shown.across(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(values.mean())
    assert np.isnan(shown.across([0.8]).low), "one sky has no interval"


def test_affine_map_undoes_an_affine_change_and_uses_training_pairs_alone():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(200, 5)).astype(np.float32)
    second = (first @ rng.normal(size=(5, 5)) + 3).astype(np.float32)
    fit = np.arange(200) < 150
    moved = sky.affine(Sides(None, first, second, ("a", "b")), fit).second
    assert np.allclose(moved, first, atol=0.1)
    second[~fit] = 99
    assert np.array_equal(
        sky.affine(Sides(None, first, second, ("a", "b")), fit).second[fit], moved[fit]
    )


def test_scores_of_known_answers():
    """Eight a and two b, all called a: balanced accuracy one half, accuracy 0.8."""
    labels, split = ["a", "b"] + ["a"] * 8 + ["b"] * 2, ["train"] * 2 + ["test"] * 10
    asked = set_question("one", ["a", "b"], labels, split, min_answer=1, min_test=1)
    found = sky.metrics([asked, asked], [[0] * 10, [0] * 8 + [1] * 2])
    assert found["balanced_accuracy"] == [0.5, 1.0]
    assert found["accuracy"] == [0.8, 1.0]
    assert found["macro_f1"] == [pytest.approx(4 / 9, abs=1e-4), 1.0]


def measured(seed: int, default: float, untrained: float, gap: float = 0.0) -> dict:
    """The result of a sky with these scores in every question."""
    counts = {"answers": 2, "n_train": 90, "n_test": 30, "majority": 0.6}

    def scores(value: float) -> dict:
        metrics = ("balanced_accuracy", "macro_f1", "accuracy")
        of = {name: [value] * len(QUESTIONS) for name in metrics}
        return {"numbers": 40, "minutes": 1.0, "scores": {"forest": of, "logistic": of}}

    def route(second: float, distance: float) -> dict:
        return {"first": [0.8] * 7, "second": [second] * 7, "n": 50, "distance": distance,
                "recall_at_1": 0.9, "auc": 0.7}  # fmt: skip

    methods = {
        "no_tf": route(0.8 - gap, 0.15),
        "paired": route(0.8, 0.1),
        "affine": route(0.8, 0.1),
    }
    return {
        "code": "c0de", "constants": {"seed": seed, "galaxies": 3000, "overlap": 2250},
        "versions": {"torch": "2"}, "questions": dict.fromkeys(QUESTIONS, counts),
        "rivals": {"untrained": scores(untrained), "default": scores(default)},
        "transfer": {"methods": methods, "floor": {"same night": route(0, 0.05)}},
    }  # fmt: skip


@pytest.fixture
def three_skies(tmp_path: Path) -> Path:
    """Three skies: the default network 0.77, 0.80, 0.83, the untrained one 0.02 below."""
    folder = tmp_path / "results"
    for number, default in enumerate((0.77, 0.80, 0.83)):
        found = measured(101 + number, default, default - 0.02, (0.01, 0.02, 0.03)[number])
        write_json(folder / f"{101 + number}.json", found)
    return folder


def test_page_has_paired_differences_gaps_and_every_sky(three_skies: Path, tmp_path: Path):
    results.write(three_skies, tmp_path / "RESULTS.md", 10)
    page = (tmp_path / "RESULTS.md").read_text()
    assert "3 of 10 skies of 3,000 galaxies" in page
    half = 4.302653 * 0.03 / 3**0.5  # t of two degrees of freedom
    assert f"0.800 [{0.8 - half:.3f}, {0.8 + half:.3f}]" in page
    assert "+0.020 [+0.020, +0.020]" in page, "pairing removes what the skies share"
    assert (
        "Gap between the surveys before adaptation: +0.020 [-0.005, +0.045]: no gap is shown"
        in page
    )
    assert "untrained (forest) is" not in page, "it is worse on every sky"
    assert "| default network, untrained | forest | 3 | 0.780 [0.705, 0.855] | +0.020 [" in page
    assert "| 102 | 0.780 | 0.800 | +0.020 | +0.000 |" in page


def test_page_says_when_a_rival_is_not_worse(three_skies: Path, tmp_path: Path):
    path = three_skies / "103.json"
    write_json(path, measured(103, 0.80, 0.86))
    results.write(three_skies, tmp_path / "RESULTS.md", 10)
    page = (tmp_path / "RESULTS.md").read_text()
    assert "default network, untrained (forest) is not shown to be worse than the default" in page
    write_json(path, json.loads(path.read_text()) | {"code": "other"})
    with pytest.raises(results.Problem, match="different code are not mixed"):
        results.write(three_skies, tmp_path / "RESULTS.md", 10)


@pytest.mark.parametrize(
    ("score", "place"), [(0.79, "lies within"), (0.85, "lies outside"), (None, "0.830.")]
)
def test_demo_says_where_its_score_lies_among_the_skies(three_skies: Path, score, place: str):
    words = shown.demonstration(score, shown.read_skies(three_skies))
    assert "On 3 skies of 3,000 galaxies" in words and "is 0.800, from 0.770 to 0.830" in words
    assert place in words


def test_report_of_a_simulated_sky_shows_the_range_and_of_others_does_not(
    three_skies: Path, tmp_path: Path, monkeypatch
):
    report = load_script("analysis/report.py")
    run = Run(tmp_path / "run")
    write_json(run.classification(40), {"mean": {"latents": {"value": 0.79}}})
    outputs = RunOutputs(run, 40)
    monkeypatch.setattr(shown, "files", lambda *_: sorted(three_skies.glob("*.json")))
    assert report.demonstration(outputs) == []
    run.truth.touch()
    assert "the 0.790 of this sky lies within that range" in report.demonstration(outputs)[0]
    monkeypatch.setattr(shown, "files", lambda *_: [])
    assert "not measured yet: make skies" in report.demonstration(outputs)[0]
