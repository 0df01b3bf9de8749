"""Claims about the feature benchmark: its scores, its views, and the command itself."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import draw_galaxy, load_script
from PIL import Image

from VAE_model.evaluation import classification
from VAE_model.evaluation.classification import Question, set_question
from VAE_model.pipeline.run import ROOT, Run

features, resnet = (
    load_script("benchmarks/experiments/features.py"),
    load_script("benchmarks/protocol/resnet.py"),
)


def question(name: str, labels: list[str], split: list[str]) -> Question:
    return set_question(name, ["a", "b"], labels, split, min_answer=1, min_test=1)


def run_features(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The command, which names its runs itself."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/experiments/features.py"), *arguments],
        capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1",
             "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "offline"), str(ROOT)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_scores_of_known_answers():
    """Eight a and two b, all called a: accuracy 0.8, balanced accuracy one half; a second seed
    without a mistake; a second question weighs as much as the first."""
    labels, split = ["a", "b"] + ["a"] * 8 + ["b"] * 2, ["train"] * 2 + ["test"] * 10
    asked = question("one", labels, split)
    said = [{"one": [0] * 10}, {"one": [0] * 8 + [1] * 2}]
    assert features.score([asked], said, classification.accuracy).seeds == pytest.approx((0.8, 1.0))
    found = features.score([asked], said, classification.balanced_accuracy)
    assert found.seeds == pytest.approx((0.5, 1.0))
    assert found.estimate.value == pytest.approx(0.75)
    both = [{**answers, "two": [1] * 8 + [0] * 2} for answers in said]
    again = [asked, question("two", labels, split)]
    assert features.score(again, both, classification.accuracy).seeds == pytest.approx((0.4, 0.5))


def test_interval_is_that_of_a_share():
    """Half of 400 right: the 95 % interval of a binomial share."""
    labels, split = ["a", "b"] * 201, ["train"] * 2 + ["test"] * 400
    answers = [{"one": [0] * 400}]
    found = features.score([question("one", labels, split)], answers, classification.accuracy)
    assert found.estimate.high - found.estimate.low == pytest.approx(
        2 * 1.96 * math.sqrt(0.25 / 400), rel=0.1
    )


def test_view_of_the_supervised_mark_turns_and_mirrors():
    image = torch.zeros(1, 1, 128, 128)
    image[0, 0, 60:68, 90:98] = 1  # to the right of the centre
    quarter = resnet.transformed(image, torch.tensor([math.pi / 2]), torch.ones(1))[0, 0]
    mirrored = resnet.transformed(image, torch.zeros(1), -torch.ones(1))[0, 0]
    y, x = (int(axis) for axis in np.unravel_index(int(quarter.argmax()), quarter.shape))
    assert abs(x - resnet.SIDE / 2) < 8 and abs(y - resnet.SIDE / 2) > 15
    _, x = np.unravel_index(int(mirrored.argmax()), mirrored.shape)
    assert x < resnet.SIDE / 2 - 15


def test_command_goes_from_images_to_a_table_and_keeps_its_results(tmp_path, monkeypatch, capsys):
    rng, images = np.random.default_rng(0), tmp_path / "real" / "gzdecals_ring" / "images"
    images.mkdir(parents=True)
    rows = []
    for number in range(64):
        kind = ("round", "edge-on")[number % 2]
        flux = np.clip(draw_galaxy(kind, rng.uniform(0, np.pi), rng)[::-1] * 400 + 12, 0, 255)
        name = f"g{number:02d}.png"
        Image.fromarray(flux.astype(np.uint8).transpose(1, 2, 0)).save(images / name)
        rows.append((name, number % 2, "test" if number % 4 > 1 and number < 40 else "train"))
    table = pd.DataFrame(rows, columns=["file", "ring", "split"])
    table.to_csv(images.parent / "labels.csv", index=False)
    arguments = [
        "--real", str(tmp_path / "real"), "--folder", str(tmp_path / "runs"), "--sets",
        "gzdecals_ring", "--variants", "pixels", "structured", "--seeds", "0", "--min-test", "10",
        "--quick", "--n-bootstrap", "50",
    ]  # fmt: skip
    done = run_features(arguments)
    assert "| **default network** | 1 | forest |" in done.stdout
    results = tmp_path / "runs" / "results" / "gzdecals_ring"
    kept = json.loads((results / "structured_0.json").read_text())
    assert len(kept["answers"]["forest"]["ring"]) == 20
    assert np.mean(np.array(kept["answers"]["forest"]["ring"]) == table["ring"][
        table["split"] == "test"]) > 0.9  # fmt: skip
    pixels = json.loads((results / "pixels_0.json").read_text())
    (results / "pixels_0.json").write_text(json.dumps({**pixels, "same_label": 0.123}))
    monkeypatch.setattr(features, "import_set", lambda config, name: Run(config.folder / name))
    features.main(features.Config(folder=tmp_path / "runs", sets=("gzdecals_ring",), seeds=(0,),
                                  variants=("pixels", "structured"), min_test=10, quick=True,
                                  n_bootstrap=50))  # fmt: skip
    said = capsys.readouterr().out
    assert "structured, seed 0" not in said
    assert "| 0.123 |" in said
