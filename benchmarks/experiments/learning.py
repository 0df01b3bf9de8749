"""Learning curves of the default network, and ablations, on a development sky.

Every variant starts from random weights and takes at least so many steps, in whole passes, on the
galaxies of data/simulate_exposures.py. Every few hundred steps the latents of another sky are
scored: balanced accuracy of logistic regression (five folds, standardised, balanced class weights),
the mean of the seven questions. The baseline `structure`, which does not learn, is scored on the
same galaxies.

Reads:  images, train.txt and exposures of --run and the exposures of --development
        (both are made where they are missing)
Writes: <results>/<variant>.json, <page> and, beside it, learning.png

Example: python benchmarks/experiments/learning.py --steps 800
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from VAE_model import models
from VAE_model.data.galaxy_zoo import questions
from VAE_model.data.packed import Packed
from VAE_model.pipeline.files import read_json, sha256, write_json, write_text
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.preparation.stretch import Stretch
from VAE_model.report.figures import new_figure, save_figure
from VAE_model.report.tables import Table
from VAE_model.training import exposure_task
from VAE_model.training.device import choose_device
from VAE_model.training.exposure_task import Exposures, ExposureTask
from VAE_model.training.loop import Files, Trainer

sys.path.insert(0, str(ROOT))
import Galaxy_VAE_n as training
from benchmarks import train_weights
from benchmarks.experiments.sky_checks import votes

LATENTS, BATCH = 40, 128


@dataclass(frozen=True)
class Config:
    """Constants of the experiment."""

    run: Path = train_weights.Config.run
    """Run with the galaxies that train, of benchmarks/train_weights.py."""
    galaxies: int = train_weights.Config.galaxies
    """Galaxies that train, at most."""
    development: Path = Path("data/development")
    """Run with the galaxies that are scored."""
    scored: int = 3000
    """Galaxies that are scored."""
    seed: int = 31
    """Seed of these; a development seed."""
    steps: int = 800
    """Steps of 128 galaxies of every variant, rounded up to whole passes."""
    every: int = 200
    """Steps between scores."""
    results: Path = Path("data/learning")
    """Folder of the results."""
    page: Path = Path("docs/LEARNING.md")
    """The page; its figure lies beside it."""


class Sky:
    """The first DECaLS exposures of the development sky, and the labels of its galaxies."""

    def __init__(self, config: Config) -> None:
        self.length = sum(models.ResidualVAE(1).parts)
        self.exposures = Exposures.simulated(Run(config.development).exposures, self.length)
        table = votes(config.seed, len(self.exposures.table))
        self.labels = []
        for cuts in questions().values():
            code = np.full(len(table), -1)
            for number, cut in enumerate(cuts.values()):
                code[cut.select(table)] = number
            self.labels.append(code)

    @cached_property
    def inputs(self) -> Tensor:
        """Prepared inputs of the first exposures, (N, D)."""
        return prepared(self.exposures, self.length)

    def score(self, encode: Callable[[Tensor], tuple[Tensor, Tensor]]) -> float:
        """Return the mean balanced accuracy of the questions."""
        with torch.no_grad():
            latents = torch.cat([encode(part)[0] for part in self.inputs.split(250)]).numpy()
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)
        )
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        found = []
        for code in self.labels:
            known = np.flatnonzero(code >= 0)
            answers = cross_val_predict(classifier, latents[known], code[known], cv=folds)
            found.append(balanced_accuracy_score(code[known], answers))
        return float(np.mean(found))


def prepared(exposures: Exposures, length: int, column: int = 0) -> Tensor:
    """Return the inputs of one exposure of each of the first 4,096 galaxies, (N, length)."""
    rows = exposures.table[:4096, column]
    return torch.from_numpy(exposures.files[0][rows][:, :length])


class OneExposure(Exposures):
    """Galaxies of each of which one exposure is drawn, which must predict itself."""

    def draw(self, galaxies: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return one exposure of each galaxy four times, (N, 4)."""
        return super().draw(galaxies)[:, [0, 0, 0, 0]]

    def shares(self, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return zeros: one exposure has no scatter."""
        return np.zeros(pairs.shape, np.float32)


class Variant(NamedTuple):
    """A variant of the training.

    words: its name; galaxies: the number that trains; structure: the encoder sees the structure
    vector; other: another exposure is predicted; contrast: exposures of one galaxy are drawn
    together and galaxies apart.
    """

    words: str
    galaxies: int
    structure: bool = True
    other: bool = True
    contrast: bool = True


def variants(most: int) -> dict[str, Variant]:
    """Return the variants, by the names of their files."""
    few, more = min(1400, most), min(6000, most)
    return {
        "1400": Variant(f"{few:,} galaxies", few),
        "6000": Variant(f"{more:,} galaxies", more),
        "24000": Variant(f"{most:,} galaxies", most),
        "no_structure": Variant("without the structure vector", most, structure=False),
        "no_other": Variant("without another exposure", most, other=False),
        "no_contrast": Variant("without the contrast", most, contrast=False),
    }


class ScoringTrainer(Trainer):
    """A trainer that scores the development sky every so many steps and at the end."""

    task: ExposureTask

    def __init__(
        self, task: ExposureTask, files: Files, sky: Sky, variant: Variant, every: int
    ) -> None:
        super().__init__(task, files)
        self.sky, self.variant, self.every = sky, variant, every
        self.steps = 0
        self.curve: list[dict[str, float]] = []

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Train, then score where another `every` steps are complete."""
        record = super().train_epoch(epoch)
        before, self.steps = self.steps, self.steps + record["steps"]
        last = epoch + 1 == self.settings.epochs
        if before // self.every < self.steps // self.every or last:
            self.task.network.eval()
            score = self.sky.score(self.encode)
            self.curve.append({"steps": self.steps, "score": score})
            print(f"  {self.variant.words}: {self.steps} steps, {score:.4f}", flush=True)
        return record

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior as the variant sees the galaxies."""
        use = torch.full((len(inputs),), float(self.variant.structure))
        return cast(models.ResidualVAE, self.task.network).encode(inputs, use)


def train(config: Config, variant: Variant, sky: Sky, path: Path) -> list[dict[str, float]]:
    """Train a variant and return its scores."""
    run = Run(config.run)
    epochs = -(-config.steps * BATCH // variant.galaxies)
    constants = training.Config(
        start="random", epochs=epochs, batch_size=BATCH,
        learning_rate=train_weights.Config.learning_rate,
    )  # fmt: skip
    stretch = Stretch()
    settings = training.settings_of(constants, LATENTS, stretch)
    task = ExposureTask(
        Packed.of(run), sha256(run.train_txt), settings, choose_device(), None, [run.exposures]
    )
    images = len(task.inputs.packed.index)
    task.train_rows = task.train_rows[task.train_rows >= images][: variant.galaxies]
    task.validation_rows = task.validation_rows[-BATCH:]  # a variant ends with its last step
    if not variant.other:
        task.exposures = OneExposure(*task.exposures)._replace(
            deep=np.full(len(task.exposures.table), -1)
        )
    if not variant.contrast:
        weights = dict(zip(task.terms, task.loss.WEIGHTS, strict=True)) | {"contrast": 0.0}
        task.loss.WEIGHTS = tuple(weights.values())
    usual = exposure_task.WITHOUT_STRUCTURE
    exposure_task.WITHOUT_STRUCTURE = usual if variant.structure else 2.0
    files = Files.of(path.with_suffix(".safetensors"))
    files.forget()
    trainer = ScoringTrainer(task, files, sky, variant, config.every)
    trainer.run(variant.words)
    exposure_task.WITHOUT_STRUCTURE = usual
    return trainer.curve


def baseline(config: Config, sky: Sky) -> float:
    """Return the score of the baseline, whose maps are fitted on training galaxies."""
    exposures = Exposures.simulated(Run(config.run).exposures, sky.length)
    first, second = (prepared(exposures, sky.length, column) for column in (0, 1))
    network = models.build("structure", LATENTS)
    network.initialise(first, second[:512])
    return sky.score(network.encode)


def make_missing(config: Config) -> None:
    """Run the stages that draw the galaxies, where their files are missing."""
    run, development = Run(config.run), Run(config.development)
    stages = train_weights.stages(train_weights.Config(galaxies=config.galaxies))
    for script, made in {
        "data/simulate.py": run.truth, "make_datatxt.py": run.train_txt,
        "data/simulate_exposures.py": run.exposures,
    }.items():  # fmt: skip
        if not made.exists():
            train_weights.run_stage(script, config.run, stages[script])
    if not development.exposures.exists():
        options = {"galaxies": config.scored, "seed": config.seed}
        train_weights.run_stage("data/simulate_exposures.py", config.development, options)


def write_page(config: Config, found: dict[str, dict[str, Any]]) -> None:
    """Write the page and its figure."""
    level = found.pop("baseline")["score"]
    figure = new_figure(7, 4.2, layout="constrained")
    axes = figure.subplots()
    rows = []
    for one in found.values():
        curve = one["curve"]
        axes.plot(
            [point["steps"] for point in curve], [point["score"] for point in curve],
            marker="o", markersize=3, label=one["words"],
        )  # fmt: skip
        last = curve[-1]
        half = min(curve, key=lambda point: abs(point["steps"] - last["steps"] / 2))
        found_here = (f"{point['score']:.3f} ({point['steps']})" for point in (half, last))
        rows.append([one["words"], *found_here])
    axes.axhline(level, color="black", linestyle="--", linewidth=1, label="baseline `structure`")
    axes.set_xlabel(f"steps of {BATCH} galaxies")
    axes.set_ylabel("balanced accuracy")
    axes.legend(fontsize=8)
    save_figure(figure, config.page.with_name("learning.png"), dpi=130)
    rows.append(["baseline `structure`, which does not learn", "–", f"{level:.3f}"])
    table = Table(("training", "halfway (steps)", "at the end (steps)"), rows)
    text = PAGE.format(
        steps=config.steps, batch=BATCH, scored=config.scored, seed=config.seed,
        table=table.markdown(),
    )  # fmt: skip
    write_text(config.page, text)


PAGE = """# Learning curves and ablations

Written by `python benchmarks/experiments/learning.py`. Each row is one training from random \
weights, as many passes over its galaxies as give {steps} steps of {batch} galaxies or more. The \
score is that of logistic regression on the 40 latents of {scored:,} galaxies of another simulated \
sky (seed {seed}, a development seed; five folds, mean balanced accuracy of the seven questions). \
Standard error of a score about 0.007; differences between rows have less, because the galaxies \
are the same, but a training that is repeated with another seed changes too. The ablations have \
all galaxies.

{table}

![learning curves](learning.png)
"""


def main(config: Config) -> None:
    """Train and score what is missing, and write the page."""
    make_missing(config)
    config.results.mkdir(parents=True, exist_ok=True)
    sky = Sky(config)
    found = {"baseline": {"score": baseline(config, sky)}}
    print(f"  baseline: {found['baseline']['score']:.4f}", flush=True)
    for name, variant in variants(config.galaxies).items():
        path = config.results / f"{name}_{config.steps}.json"
        if not path.exists():
            curve = train(config, variant, sky, path)
            write_json(path, {"words": variant.words, "curve": curve})
        found[name] = read_json(path)
    write_page(config, found)
    print(f"{config.page}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
