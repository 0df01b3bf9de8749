"""Claims about the rivals of the protocols."""

import math
import sys

import numpy as np
import pytest
import torch

from VAE_model.data.packed import Packed
from VAE_model.evaluation.classification import set_question
from VAE_model.pipeline.run import ROOT
from VAE_model.preparation.stretch import Stretch
from VAE_model.training import checkpoint

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import morphology, resnet, rivals, scoring
from benchmarks.protocol.tasks import Task


def test_view_of_the_supervised_mark_turns_and_mirrors():
    image = torch.zeros(1, 1, 128, 128)
    image[0, 0, 60:68, 90:98] = 1  # to the right of the centre
    quarter = resnet.transformed(image, torch.tensor([math.pi / 2]), torch.ones(1))[0, 0]
    mirrored = resnet.transformed(image, torch.zeros(1), -torch.ones(1))[0, 0]
    y, x = (int(axis) for axis in np.unravel_index(int(quarter.argmax()), quarter.shape))
    assert abs(x - resnet.SIDE / 2) < 8 and abs(y - resnet.SIDE / 2) > 15
    _, x = np.unravel_index(int(mirrored.argmax()), mirrored.shape)
    assert x < resnet.SIDE / 2 - 15


@pytest.fixture(scope="module")
def task(make_tiny_run, tmp_path_factory, script) -> Task:
    """Simple galaxies with one question."""
    run = make_tiny_run(tmp_path_factory.mktemp("rivals") / "run")
    assert script("make_datatxt.py", run).returncode == 0
    packed = Packed.of(run)
    split = np.where(np.arange(len(packed.index)) % 4 == 0, "test", "train")
    label = np.where(np.arange(len(split)) % 7 > 1, "long", "round")
    asked = set_question("long", ["round", "long"], label, split, min_answer=1, min_test=1)
    stretch = Stretch.of(packed.index["display"])
    return Task("tiny", run, packed, stretch, (asked,), np.flatnonzero(split == "train"))


def test_structure_numbers_and_aligned_images_are_the_two_parts_of_the_networks_input(task: Task):
    images, numbers = rivals.prepared(task)
    network = rivals.models.build("residual", 40)
    assert images.shape == (len(task), network.PIXELS)
    assert numbers.shape == (len(task), network.FEATURES)
    flux = task.stretch(torch.from_numpy(task.packed.images[[3]]))
    assert np.allclose(network.prepare(flux)[0][0], [*images[3], *numbers[3]], atol=1e-4)


def test_random_projections_differ_with_the_seed_alone(task: Task):
    one, again, other = (rivals.random(task, seed, 0).features for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.allclose(one, other)
    assert np.abs(one[task.rows].mean(axis=0)).max() < 1e-3 * one.std()


def test_best_model_of_the_first_half_of_the_epochs_has_seen_no_more(task: Task):
    constants = {"epochs": 3, "batch_size": 16}
    best, half = (rivals.train(task, 0, constants, half=half) for half in (False, True))
    assert half.stem == f"{best.stem}_halfway"
    epochs = [line["epoch"] for line in checkpoint.load(half)["history"]]
    assert epochs in ([1], [1, 2])
    assert rivals.load(half).config == rivals.load(best).config


def test_supervised_network_answers_itself_and_others_by_forest_and_regression(
    task: Task, tmp_path
):
    effort = scoring.Effort(trees=5, forests=1, epochs=1)
    supervised = scoring.measure(task, "resnet", 0, tmp_path, effort)
    random = scoring.measure(task, "random", 0, tmp_path, effort)
    assert set(supervised["answers"]) == {"network"}
    assert set(random["answers"]) == {"forest", "logistic"}
    assert random["numbers"] == 40
    assert len(random["answers"]["forest"]["long"]) == len(task.questions[0].test)
    path = tmp_path / "tiny" / "random_0.json"
    path.write_text(path.read_text().replace('"numbers": ', '"numbers": 7'))
    assert scoring.measure(task, "random", 0, tmp_path, effort)["numbers"] == 740, "kept"
    again = scoring.measure(task, "random", 0, tmp_path, scoring.Effort(6, 1, 1))
    assert again["numbers"] == 40, "other constants: measured again"


def test_statmorph_tells_a_round_galaxy_from_a_long_one(make_tiny_run, tmp_path):
    pytest.importorskip("statmorph")
    run = make_tiny_run(tmp_path / "run", count=3)
    run.train_txt.write_text(
        "".join(f"images/decals/{path.name}\n" for path in sorted(run.images().glob("*.fits")))
    )
    found = morphology.parameters(run, np.arange(3), np.arange(3))
    assert found.shape == (3, len(morphology.PARAMETERS)) and np.isfinite(found).all()
    ellipticity = found[:, morphology.PARAMETERS.index("sersic_ellip")]
    assert ellipticity == pytest.approx([0, 7 / 16, 3 / 4], abs=0.05)
