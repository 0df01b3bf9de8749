"""Morphology in forty unsupervised features, compared with simple and supervised rivals.

Sets: real colour images with a label (gz2_spiral, gzdecals_ring), imported as a user would; the
simulated sky of `make run` with the seven questions of analysis/classify.py; and real broken images
(gz2_defect), which are ranked without labels. Variants: principal components of the pixels and of
the aligned images that are the input of the default network, a random projection of these, the
default network before and after training, and without masking contaminants, the published network,
and ResNet-18, which is supervised. No network is trained on test images. Forests, logistic
regression and ResNet-18 are trained on the labels of all images outside the test split. Each result
is kept in a file of its own, so that the same command resumes. About three hours on 2 cores, 10 GB
on disk.

Reads:  <real>/<set>/images and labels.csv; the run <sky>, made by `make run`
Writes: <folder>/<set>/ (a run each), <folder>/results/, docs/FEATURES.md with --write

Example: python benchmarks/experiments/features.py --write
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from VAE_model import models
from VAE_model.data.packed import Packed
from VAE_model.evaluation import pca
from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.classification import (
    Metric,
    Question,
    Scores,
    accuracy,
    answer,
    balanced_accuracy,
    set_question,
)
from VAE_model.evaluation.probe.invariance import CHANGES, relative_moves
from VAE_model.evaluation.similarity import nearest
from VAE_model.extraction.extract import extract_means
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import read_json, sha256, write_json
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, start
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.preparation.stretch import Stretch
from VAE_model.report.tables import Table
from VAE_model.tables.labels import read_answers
from VAE_model.training.device import choose_device
from VAE_model.training.loop import Files, ImageTask, Trainer
from VAE_model.training.model_file import TrainedVAE

sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "analysis"))
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "benchmarks/protocol"))
import broken
import classify
import resnet
from timing import write_below_the_line

import Galaxy_VAE_n as training

LABELS = {"gz2_spiral": "label", "gzdecals_ring": "ring"}
SKY, BROKEN = "sky", "gz2_defect"
WORDS = {
    "pixels": "PCA-40 of the pixels",
    "aligned": "PCA-40 of the aligned images",
    "random": "40 random projections of the aligned images",
    "untrained": "default network, untrained",
    "unmasked": "default network, contaminants not masked",
    "structured": "**default network**",
    "published": "published network",
    "resnet": "ResNet-18, supervised",
}
LATENTS = 40
NETWORKS: dict[str, dict[str, Any]] = {  # variants that are networks: constants of Galaxy_VAE_n.py
    "untrained": {"epochs": 1, "learning_rate": 0.0},
    "unmasked": {"contaminants": "kept"},
    "structured": {},
    "published": {"network": "published", "learning_rate": 1e-3, "epochs": 8},
}
Variant = Literal[
    "pixels", "aligned", "random", "untrained", "unmasked", "structured", "published", "resnet"
]  # fmt: skip
Predictions = dict[str, NDArray[np.int64]]  # a question: the answer to each test galaxy, as codes


@dataclass(frozen=True)
class Config:
    """Constants of the benchmark."""

    real: Path = Path(os.environ.get("GALAXY_VAE_REAL") or "../shared/real")
    """Folder of the real sets."""
    sky: Path = Path("data/demo")
    """The run of the simulated sky."""
    folder: Path = Path("data/features")
    """Folder of runs and results."""
    sets: tuple[str, ...] = (*LABELS, SKY, BROKEN)
    """Sets to run."""
    variants: tuple[Variant, ...] = tuple(WORDS)
    """Variants to run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of networks, forests and random projections."""
    trees: int = 300
    """Trees per forest."""
    min_test: int = 40
    """Test images that a question needs."""
    n_bootstrap: int = 1000
    """Bootstrap samples behind an interval."""
    quick: bool = False
    """One epoch and few trees, to try the command."""
    write: bool = False
    """Write docs/FEATURES.md."""


@dataclass(frozen=True)
class Task:
    """A set and its questions. rows: images outside the test split."""

    name: str
    run: Run
    packed: Packed
    stretch: Stretch
    questions: tuple[Question, ...]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.packed.index)


def code(variant: str = "") -> str:
    """Return the version of the code that makes the features; other results are recomputed."""
    module = {"pixels": pca, "resnet": resnet}.get(variant, training)
    return code_version(Path(str(module.__file__)))


def import_set(config: Config, name: str) -> Run:
    """Return the run of a real set, its images imported and listed."""
    source, run = ROOT / config.real / name, Run(config.folder / name)
    if not source.is_dir():
        raise Problem(f"{source} is missing: give the folder of the sets with --real")
    table = ("--folder", str(source / "images"), "--table", str(source / "labels.csv"))
    for script, *arguments in (("data/import_images.py", *table), ("make_datatxt.py",)):
        command = [sys.executable, script, "--run", str(run.folder), *arguments]
        subprocess.run(command, cwd=ROOT, check=True)
    return run


def open_task(config: Config, name: str) -> Task:
    """Return a set with its questions.

    Raises Problem if the set is unknown or the sky is missing.
    """
    if name in LABELS:
        run = import_set(config, name)
        packed = Packed.of(run, pixels="float16")
        paths = packed.index["path"].tolist()
        answers, labels = read_answers(run, [LABELS[name]], paths)
    elif name == SKY:
        run = Run(config.sky)
        source = classify.Config(run=config.sky)
        if not run.class_latents(LATENTS).exists():
            raise Problem(f"{run.show(run.class_latents(LATENTS))} is missing: run make run")
        table, _ = classify.read_galaxies(source, run)
        answers, labels, _ = classify.read_questions(source, run, table)
        packed = Packed.of(run)
        labels = labels.set_axis(table["path"]).reindex(packed.index["path"])
    else:
        raise Problem(f"unknown set {name}: choose from {', '.join((*LABELS, SKY, BROKEN))}")
    tested = (packed.index["split"] == "test").to_numpy()
    side = np.where(tested, "test", "train")
    asked = [
        set_question(question, of, labels[question], side, min_test=config.min_test)
        for question, of in answers.items()
    ]
    scored = tuple(question for question in asked if not question.too_few)
    if not scored:
        raise Problem(f"{name}: {asked[0].too_few}")
    stretch = Stretch.of(packed.index["display"])
    return Task(name, run, packed, stretch, scored, np.flatnonzero(~tested))


# ---- the variants: 40 unsupervised features per image


def train(config: Config, task: Task, variant: str, seed: int) -> TrainedVAE:
    """Train a network of Galaxy_VAE_n.py with its defaults except for those of the variant."""
    constants = {**NETWORKS[variant], **({"epochs": 1} if config.quick else {})}
    folder = ROOT / config.folder / "models" / task.name / code()
    files = Files.of(folder / f"{variant}_{seed}.safetensors")
    of = training.Config(seed=seed, **constants)
    settings = training.settings_of(of, LATENTS, task.stretch)
    images = ImageTask(task.packed, sha256(task.run.train_txt), settings, choose_device())
    Trainer(images, files).run(variant)
    return TrainedVAE.load(files.best, LATENTS, precision="auto")


def features_of(config: Config, task: Task, variant: str, seed: int) -> NDArray[np.float32]:
    """Return 40 unsupervised features of all images, (N, 40)."""
    every = np.arange(len(task))
    if variant == "pixels":
        return pca.pixel_components(
            task.packed.images, task.rows, every, LATENTS, seed=seed, stretch=task.stretch
        )
    if variant in NETWORKS:
        model = train(config, task, variant, seed)
        return extract_means(task.packed, model, 64, every)
    network = models.build("structured", LATENTS)
    inputs = PreparedInputs(task.packed, network, task.stretch, torch.device("cpu"))
    parts = (part for _, part, _ in inputs.batches(every, 256))
    aligned = np.concatenate([part[:, : network.pixels].numpy() for part in parts])
    if variant == "random":
        directions = np.random.default_rng(seed).standard_normal((aligned.shape[1], LATENTS))
        return ((aligned - aligned[task.rows].mean(axis=0)) @ directions).astype(np.float32)
    solver = PCA(LATENTS, svd_solver="randomized", random_state=seed).fit(aligned[task.rows])
    return solver.transform(aligned).astype(np.float32)


def invariance(config: Config, task: Task) -> str:
    """Return in words how far the default network's latents of 100 galaxies move in changed images.

    See VAE_model/evaluation/probe/invariance.py.
    """
    model = train(config, task, "structured", config.seeds[0])
    rng = np.random.default_rng(0)
    rows = rng.choice(task.rows, min(100, len(task.rows)), replace=False)
    flux = torch.from_numpy(task.packed.images[rows])
    still, *moved = (
        model.encode(image)[0].cpu().numpy()
        for image in (flux, *(change(flux, rng) for change in CHANGES.values()))
    )
    found = relative_moves(dict(zip(CHANGES, moved, strict=True)), still, config.n_bootstrap)
    words = "; ".join(f"{name} {moves}" for name, moves in found.items())
    return (
        f"Median distance that the latents of {len(rows)} galaxies move when an image is changed, "
        f"over the median distance between two galaxies: {words}."
    )


# ---- their scores


def predictions(config: Config, task: Task, features: NDArray, seed: int) -> dict[str, Predictions]:
    """Return the answers of a forest and of logistic regression to each question."""
    scaled = StandardScaler().fit(features[task.rows]).transform(features)
    trees = 20 if config.quick else config.trees
    linear = LogisticRegression(class_weight="balanced", max_iter=2000)
    return {
        "forest": {q.name: answer(q, features, (seed,), trees) for q in task.questions},
        "logistic": {
            q.name: linear.fit(scaled[q.train], q.train_codes).predict(scaled[q.test])
            for q in task.questions
        },
    }


def same_label(task: Task, features: NDArray) -> tuple[float, float]:
    """Return the share of the 10 nearest labelled galaxies with the label of the test galaxy.

    The second value is the share expected by chance. Both are means over galaxies and questions;
    the labelled galaxies are those outside the test split.
    """
    shares, chances = [], []
    for q in task.questions:
        known, asked = (features[rows].astype(np.float32) for rows in (q.train, q.test))
        rows, _ = nearest(known, asked, 10)
        shares.append(np.mean(q.train_codes[rows] == q.test_codes[:, None]))
        share = np.bincount(q.train_codes, minlength=len(q.answers)) / len(q.train)
        chances.append(share[q.test_codes].mean())
    return float(np.mean(shares)), float(np.mean(chances))


def measure(config: Config, task: Task, variant: str, seed: int) -> dict[str, Any]:
    """Return one variant with one seed, from its file where that is up to date."""
    path = ROOT / config.folder / "results" / task.name / f"{variant}_{seed}.json"
    constants = {
        "images": sha256(task.run.train_txt), "code": code(variant),
        "trees": config.trees, "quick": config.quick,
    }  # fmt: skip
    if path.exists() and (done := read_json(path))["constants"] == constants:
        return done
    print(f"{task.name}: {variant}, seed {seed}", flush=True)
    torch.manual_seed(seed)
    began = time.monotonic()
    if variant == "resnet":
        epochs = 1 if config.quick else resnet.EPOCHS
        answers, features = resnet.fit_resnet(
            task.packed.images, task.stretch, task.questions, epochs, seed
        )
        seconds, heads = time.monotonic() - began, {"network": answers}
    else:
        features = features_of(config, task, variant, seed)
        seconds, heads = time.monotonic() - began, predictions(config, task, features, seed)
    share, chance = same_label(task, features)
    result = {
        "constants": constants, "minutes": round(seconds / 60, 2), "same_label": share,
        "chance": chance,
        "answers": {
            head: {question: codes.tolist() for question, codes in of.items()}
            for head, of in heads.items()
        },
    }  # fmt: skip
    write_json(path, result)
    return result


@dataclass(frozen=True)
class Score:
    """Mean over seeds and questions with its interval, and the seeds' own values."""

    estimate: Estimate
    seeds: tuple[float, ...]

    def __str__(self) -> str:
        several = len(self.seeds) > 1
        spread = f", seeds {min(self.seeds):.3f} to {max(self.seeds):.3f}" if several else ""
        of = self.estimate
        return f"{of.value:.3f} ({of.low:.3f} to {of.high:.3f}{spread})"


def score(
    questions: Sequence[Question],
    seeds: list[dict[str, list[int]]],
    metric: Metric,
    n_bootstrap: int = 1000,
) -> Score:
    """Return accuracy or balanced accuracy of the answers of several seeds, each by question."""
    answers = {
        number: [np.asarray(of[q.name]) for q in questions] for number, of in enumerate(seeds)
    }
    scores = Scores.of(questions, answers, metric, n_bootstrap)
    draws = np.stack([scores.of_draws(number) for number in answers])
    return Score(Estimate.of(draws.mean(axis=0)), tuple(draws[:, 0]))


def variant_table(config: Config, task: Task, results: dict[str, list[dict[str, Any]]]) -> Table:
    """Return a row per variant and head."""
    head = ["variant", "seeds", "head", "accuracy", "balanced accuracy", "neighbours' labels",
            "minutes"]  # fmt: skip
    rows = []
    for variant, seeds in results.items():
        same, minutes = (np.mean([of[key] for of in seeds]) for key in ("same_label", "minutes"))
        for name in seeds[0]["answers"]:
            answers = [of["answers"][name] for of in seeds]
            scores = [
                str(score(task.questions, answers, metric, config.n_bootstrap))
                for metric in (accuracy, balanced_accuracy)
            ]
            first = name in ("forest", "network")
            more = (f"{same:.3f}", f"{minutes:.1f}") if first else ("", "")
            named = (WORDS[variant], len(seeds)) if first else ("", "")
            rows.append((*named, name, *scores, *more))
    return Table(head, rows)


def section(config: Config, task: Task, results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the lines of one set."""
    counts = [
        f"{q.name} {len(q.train):,} / {len(q.test):,}, majority {q.majority:.3f}"
        for q in task.questions
    ]
    chance = next(iter(results.values()))[0]["chance"]
    return [
        f"## {task.name}", "",
        f"Galaxies with an answer outside the test split / in it: {'; '.join(counts)}. Of the "
        f"nearest ten by chance {chance:.3f} have the same label.", "",
        variant_table(config, task, results).markdown(), "",
        *([invariance(config, task), ""] if "structured" in results else []),
    ]  # fmt: skip


def broken_section(config: Config) -> list[str]:
    """Return the ranking of the broken images, by the set's default network of the first seed."""
    run = import_set(config, BROKEN)
    packed = Packed.of(run, pixels="float16")
    task = Task(BROKEN, run, packed, Stretch.of(packed.index["display"]), (), np.empty(0, int))
    model = train(config, task, "structured", config.seeds[0])
    inside = (packed.index["split"] == "train").to_numpy()
    _, labels = read_answers(run, ["label"], packed.index["path"].tolist())
    is_broken = (labels["label"] == "nongalaxy").to_numpy()
    scores = broken.rankings(packed, model, inside)
    return [
        f"## {BROKEN}", "",
        f"{int(is_broken.sum()):,} broken images among {len(is_broken):,}. All scores are "
        "unsupervised. Many of the images show a plain galaxy in the middle and no visible "
        "defect.", "", broken.rank_table(scores, is_broken, config.n_bootstrap).markdown(), "",
    ]  # fmt: skip


def main(config: Config) -> None:
    """Measure every variant on every set, print the tables, and write them if wanted."""
    sections = []
    for name in config.sets:
        if name == BROKEN:
            sections += broken_section(config)
            continue
        task = open_task(config, name)
        results = {
            variant: [measure(config, task, variant, seed) for seed in config.seeds]
            for variant in config.variants
        }
        sections += section(config, task, results)
    text = "\n".join([
        f"Forests of {config.trees} trees. Mean of the seeds (95 % interval of resampled test "
        "galaxies, range of the seeds); on the sky a mean of the questions. Neighbours' labels: "
        "share of the ten nearest labelled galaxies with the label of the test galaxy. Minutes are "
        "those of one seed on a busy machine of two cores, without importing, packing and "
        "preparing.", "", *sections,
    ])  # fmt: skip
    print(text)
    if config.write:
        write_below_the_line(ROOT / "docs" / "FEATURES.md", text)


if __name__ == "__main__":
    start(main, Config, __doc__)
