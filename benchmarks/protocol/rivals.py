"""The rivals of the protocols: each turns all images of a task into numbers, or answers.

Principal components of the pixels and of the prepared images (aligned, contaminants masked), all
structure numbers, random projections, the default network before and after training, the published
network, statmorph's parameters, and ResNet-18, which is supervised. Nothing is fitted on test
images.
"""

import math
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from VAE_model import models, pretrained
from VAE_model.evaluation.pca import pixel_components
from VAE_model.extraction.extract import extract_means
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import sha256
from VAE_model.pipeline.run import ROOT
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.training.device import choose_device
from VAE_model.training.exposure_task import task_of
from VAE_model.training.loop import Files, Trainer
from VAE_model.training.model_file import TrainedVAE

sys.path.insert(0, str(ROOT))
import Galaxy_VAE_n as training
from benchmarks.protocol import morphology, resnet
from benchmarks.protocol.tasks import LATENTS, Task


class Computed(NamedTuple):
    """Numbers of all images, (N, d), and, of a supervised rival, its answers by question."""

    features: NDArray[np.float32]
    answers: dict[str, NDArray[np.int64]] | None = None


@dataclass(frozen=True)
class Rival:
    """A rival.

    words: its name in tables; compute: from a task, a seed and a number of epochs (0: its own) to
    the numbers of all images; modules: further files of code that its numbers depend on.
    """

    words: str
    compute: Callable[[Task, int, int], Computed]
    modules: tuple[Path, ...] = ()

    @property
    def code(self) -> str:
        """The version of the code that computes its numbers."""
        own = [Path(__file__), Path(__file__).with_name("tasks.py"), Path(training.__file__)]
        return code_version(*own, *self.modules)


# ---- without a network


def pixels(task: Task, seed: int, _: int) -> Computed:
    """Return principal components of the stretched pixels."""
    every = np.arange(len(task))
    return Computed(
        pixel_components(
            task.packed.images, task.rows, every, LATENTS, seed=seed, stretch=task.stretch
        )
    )


def prepared(task: Task) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the default network's input: aligned images, (N, pixels), and structure numbers."""
    network = models.build("structure", LATENTS)
    inputs = PreparedInputs(task.packed, network, task.stretch, torch.device("cpu"))
    parts = [part.numpy() for _, part, _ in inputs.batches(np.arange(len(task)), 256)]
    every = np.concatenate(parts)
    return every[:, : network.PIXELS], every[:, network.PIXELS :]


def aligned(task: Task, seed: int, _: int) -> Computed:
    """Return principal components of the aligned images."""
    images, _ = prepared(task)
    solver = PCA(LATENTS, svd_solver="randomized", random_state=seed).fit(images[task.rows])
    return Computed(solver.transform(images).astype(np.float32))


def random(task: Task, seed: int, _: int) -> Computed:
    """Return random projections of the aligned images."""
    images, _ = prepared(task)
    directions = np.random.default_rng(seed).standard_normal((images.shape[1], LATENTS))
    centred = images - images[task.rows].mean(axis=0)
    return Computed((centred @ directions).astype(np.float32))


def structure(task: Task, _seed: int, _epochs: int) -> Computed:
    """Return all structure numbers."""
    return Computed(prepared(task)[1])


def statmorph(task: Task, _seed: int, _epochs: int) -> Computed:
    """Return the parameters of statmorph in the r band."""
    every = np.arange(len(task))
    return Computed(morphology.parameters(task.run, every, task.rows))


# ---- networks


class HalfwayTrainer(Trainer):
    """A trainer that keeps the best model of the first half of the epochs, too."""

    def _save(self, record: dict[str, Any]) -> None:
        super()._save(record)
        if record["epoch"] == math.ceil(self.settings.epochs / 2):
            shutil.copyfile(self.files.best, halfway(self.files.best))


def halfway(best: Path) -> Path:
    """Return the file of the best model of the first half of the epochs."""
    return best.with_name(f"{best.stem}_halfway{best.suffix}")


def train(
    task: Task, seed: int, constants: Mapping[str, Any], epochs: int = 0, half: bool = False
) -> Path:
    """Train a network with the defaults of Galaxy_VAE_n.py except for `constants`.

    Return its model file. epochs: in place of those of the constants; 0: those; half: the best
    model of the first half of the epochs.
    """
    constants = {**constants, **({"epochs": epochs} if epochs else {}), "seed": seed}
    name = "_".join(f"{key}_{value}" for key, value in constants.items())
    code = code_version(Path(training.__file__))
    files = Files.of(task.run.folder / "model" / "rivals" / code / f"{name}.safetensors")
    settings = training.settings_of(training.Config(**constants), LATENTS, task.stretch)
    images = task_of(task.packed, sha256(task.run.train_txt), settings, choose_device())
    HalfwayTrainer(images, files).run(name)
    return halfway(files.best) if half else files.best


def load(model: Path) -> TrainedVAE:
    """Return a trained network."""
    return TrainedVAE.load(model, LATENTS, precision="auto")


def network(
    task: Task, seed: int, epochs: int, constants: Mapping[str, Any], half: bool = False
) -> Computed:
    """Return the posterior means of a network; see `train`."""
    return means(task, load(train(task, seed, constants, epochs, half)))


def default(task: Task, seed: int, epochs: int) -> Computed:
    """Return the posterior means of the default network: the task's own, or trained here."""
    return means(task, load(task.model or train(task, seed, {}, epochs)))


def means(task: Task, model: TrainedVAE) -> Computed:
    """Return the posterior means of all images."""
    return Computed(extract_means(task.packed, model, 64, np.arange(len(task))))


def published(rate: float, half: bool) -> Rival:
    """Return the published network, trained 20 epochs (half: its state after ten of them)."""
    constants = {"network": "published", "learning_rate": rate, "epochs": 20}
    words = "10 of 20 epochs" if half else "20 epochs"
    compute = partial(network, constants=constants, half=half)
    return Rival(f"published network, rate {rate:g}, {words}", compute)


def supervised(task: Task, seed: int, epochs: int) -> Computed:
    """Return the answers of ResNet-18, and its last features."""
    images, questions = task.packed.images, task.questions
    found, features = resnet.fit_resnet(
        images, task.stretch, questions, epochs or resnet.EPOCHS, seed
    )
    return Computed(features, {q.name: found[q.name][q.test].argmax(axis=1) for q in questions})


def weights(task: Task, _seed: int, _epochs: int) -> Computed:
    """Return the posterior means of the weights that travel with the project, as they are."""
    model = pretrained.load(precision="auto")
    return means(task, model.for_images(task.packed.index["display"].to_numpy(bool)))


UNTRAINED = {"start": "random", "epochs": 1, "learning_rate": 0.0}
BASELINE = {"network": "structure", "epochs": 1}
RIVALS = {
    "pixels": Rival("PCA-40 of the pixels", pixels),
    "aligned": Rival("PCA-40 of the aligned images", aligned),
    "random": Rival("40 random projections of the aligned images", random),
    "structure": Rival("all structure numbers", structure),
    "baseline": Rival(
        "baseline `structure`, which does not learn", partial(network, constants=BASELINE)
    ),
    "untrained": Rival("default network, untrained", partial(network, constants=UNTRAINED)),
    "weights": Rival("its weights as they travel with the project", weights),
    "unmasked": Rival(
        "default network, contaminants not masked",
        partial(network, constants={"contaminants": "kept"}),
    ),
    "default": Rival("**default network**", default),
    "published_1e-3_10": published(1e-3, half=True),
    "published_1e-3_20": published(1e-3, half=False),
    "published_3e-4_10": published(3e-4, half=True),
    "published_3e-4_20": published(3e-4, half=False),
    "statmorph": Rival(
        f"statmorph, {len(morphology.PARAMETERS)} parameters in r",
        statmorph,
        (Path(morphology.__file__),),
    ),
    "resnet": Rival("ResNet-18, supervised", supervised, (Path(resnet.__file__),)),
}
