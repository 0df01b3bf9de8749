"""What forty unsupervised numbers know of a galaxy's form, beside simple and supervised rivals.

Sets: real colour images with a label (gz2_spiral, gzdecals_ring), imported as their owner would
bring them; the simulated sky of `make run` with the seven questions of analysis/classify.py; and
real broken frames (gz2_defect), which are ranked without a label. Variants: principal components
of the pixels and of the turned frames that the default network sees, a random projection of these,
the default network before and after training, and with the neighbours left in, the published
network, and ResNet-18, which is told the labels and is the mark. Networks see no test image. Of
the labels, forests, logistic regression and ResNet-18 see those of all images outside the test
split. Each result is kept in a file of its own, so that the same command goes on. Three hours or
so on 2 cores, 10 GB on disk.

Reads:  <real>/<set>/images and labels.csv; the run <sky>, made by `make run`
Writes: <folder>/<set>/ (a run each), <folder>/results/, docs/FEATURES.md with --write

Example: python benchmarks/features.py --write
"""

import hashlib
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import broken
import numpy as np
import resnet
import torch
from numpy.typing import NDArray
from scipy.ndimage import rotate
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from VAE_model import models, pixel_pca, segmentation
from VAE_model.extraction.extract import extract_means
from VAE_model.labels import read_answers
from VAE_model.neighbours import nearest
from VAE_model.packed import Packed
from VAE_model.pipeline.files import read_json, sha256, write_json, write_text
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem, start
from VAE_model.preparation import degradation, pose, structure_vector
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.preparation.stretch import Stretch
from VAE_model.scores import Question, set_question
from VAE_model.training.device import choose_device
from VAE_model.training.loop import Files, ImageTask, Trainer
from VAE_model.training.model_file import TrainedVAE

sys.path[:0] = [str(ROOT), str(ROOT / "analysis")]
classify, training = (importlib.import_module(name) for name in ("classify", "Galaxy_VAE_n"))

LABELS = {"gz2_spiral": "label", "gzdecals_ring": "ring"}
SKY, BROKEN = "sky", "gz2_defect"
WORDS = {
    "pixels": "PCA-40 of the pixels",
    "frames": "PCA-40 of the turned frames",
    "random": "40 random projections of the turned frames",
    "untrained": "default network, its networks untrained",
    "kept": "default network, neighbours kept",
    "structured": "**default network**",
    "published": "published network",
    "resnet": "ResNet-18, told the labels",
}
DEAR = ("published", "resnet")
LATENTS = 40
ANGLES = (20, 45, 70, 135, 200, 310)  # degrees
HEADS = ("forest", "logistic")
Variant = Literal[
    "pixels", "frames", "random", "untrained", "kept", "structured", "published", "resnet"
]  # fmt: skip
Predictions = dict[str, NDArray[np.int64]]  # a question: the answer to each test galaxy, as codes


@dataclass(frozen=True)
class Config:
    real: Path = Path(os.environ.get("GALAXY_VAE_REAL") or "../shared/real")
    """Folder of the real sets."""
    sky: Path = Path("data/demo")
    """The run of the simulated sky."""
    folder: Path = Path("data/features")
    """Where runs and results lie."""
    sets: tuple[str, ...] = (*LABELS, SKY, BROKEN)
    """Which sets."""
    variants: tuple[Variant, ...] = tuple(WORDS)
    """Which variants."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of networks, forests and random projections."""
    seeds_dear: tuple[int, ...] = (0, 1, 2)
    """The same of the published network and ResNet-18, which take longest."""
    trees: int = 300
    """Trees of a forest."""
    epochs_published: int = 8
    """Of the published network, at a learning rate of 1e-3."""
    epochs_resnet: int = 30
    """Of ResNet-18."""
    min_test: int = 40
    """Test images that a question needs."""
    draws: int = 1000
    """Bootstrap draws behind an interval."""
    quick: bool = False
    """One epoch and few trees: to try the command, not for its numbers."""
    kept: bool = False
    """Only what is kept of earlier commands: the tables of a part, at once."""
    write: bool = False
    """Into docs/FEATURES.md."""


@dataclass(frozen=True)
class Task:
    """A set and what is asked of it. rows: images outside the test split."""

    name: str
    run: Run
    packed: Packed
    stretch: Stretch
    questions: tuple[Question, ...]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.packed.index)


def code(variant: str = "") -> str:
    """Changes with the code that makes the features: what older code made is not kept."""
    own = {"pixels": (pixel_pca,), "resnet": (resnet,), "published": (models,)}
    modules = own.get(variant, (models, segmentation, pose, degradation, structure_vector))
    sources = [Path(str(module.__file__)).read_bytes() for module in modules]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:8]


def import_set(config: Config, name: str) -> Run:
    """The run of a real set, its images imported and listed."""
    source, run = ROOT / config.real / name, Run(config.folder / name)
    if not source.is_dir():
        raise Problem(f"{source} is missing: say with --real where the sets are")
    table = ("--folder", str(source / "images"), "--table", str(source / "labels.csv"))
    for script, *arguments in (("data/import_images.py", *table), ("make_datatxt.py",)):
        command = [sys.executable, script, "--run", str(run.folder), *arguments]
        subprocess.run(command, cwd=ROOT, check=True)
    return run


def open_task(config: Config, name: str) -> Task:
    """Raises Problem for an unknown set, and where the sky is missing."""
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


# ---- the variants: 40 numbers an image, of no label


def prepared(task: Task) -> tuple[torch.nn.Module, Iterable[Tensor]]:
    """The default network, as it is built, and what it sees of all images, in blocks."""
    network, device = models.build("structured", LATENTS), torch.device("cpu")
    inputs = PreparedInputs(task.packed, network, task.stretch, device)
    return network, (part for _, part, _ in inputs.batches(np.arange(len(task)), 256))


def frames(task: Task) -> NDArray[np.float32]:
    """The pixels of the turned frames, (N, D)."""
    network, parts = prepared(task)
    return np.concatenate([part[:, : network.pixels].numpy() for part in parts])


def by_pixels(config: Config, task: Task, seed: int) -> NDArray[np.float32]:
    every = np.arange(len(task))
    return pixel_pca.pixel_components(
        task.packed.images, task.rows, every, LATENTS, seed=seed, stretch=task.stretch
    )


def by_frames(config: Config, task: Task, seed: int) -> NDArray[np.float32]:
    seen = frames(task)
    solver = PCA(LATENTS, svd_solver="randomized", random_state=seed).fit(seen[task.rows])
    return solver.transform(seen).astype(np.float32)


def by_chance(config: Config, task: Task, seed: int) -> NDArray[np.float32]:
    seen = frames(task)
    directions = np.random.default_rng(seed).standard_normal((seen.shape[1], LATENTS))
    return ((seen - seen[task.rows].mean(axis=0)) @ directions).astype(np.float32)


def train(config: Config, task: Task, seed: int, **constants: Any) -> TrainedVAE:
    """A network of Galaxy_VAE_n.py, trained with its defaults but for `constants`."""
    if config.quick:
        constants |= {"epochs": 1}
    of = training.Config(seed=seed, **constants)
    name = f"{of.network}_{seed}_{of.contaminants}{'' if of.learning_rate else '_untrained'}"
    folder = ROOT / config.folder / "models" / task.name / code()
    files = Files.of(folder / f"{name}.safetensors")
    settings = training.settings_of(of, LATENTS, task.stretch)
    images = ImageTask(task.packed, sha256(task.run.train_txt), settings, choose_device())
    Trainer(images, files).run(name)
    return TrainedVAE.load(files.best, LATENTS, precision="auto")


def by_network(config: Config, task: Task, seed: int, **constants: Any) -> NDArray[np.float32]:
    """Its latents."""
    model = train(config, task, seed, **constants)
    return extract_means(task.packed, model, 64, np.arange(len(task)))


def by_published(config: Config, task: Task, seed: int) -> NDArray[np.float32]:
    constants = {"network": "published", "epochs": config.epochs_published, "learning_rate": 1e-3}
    return by_network(config, task, seed, **constants)


def by_untrained(config: Config, task: Task, seed: int) -> NDArray[np.float32]:
    return by_network(config, task, seed, epochs=1, learning_rate=0.0)


def by_neighbours_too(config: Config, task: Task, seed: int) -> NDArray[np.float32]:
    return by_network(config, task, seed, contaminants="kept")


FEATURES: dict[str, Callable[[Config, Task, int], NDArray[np.float32]]] = {
    "pixels": by_pixels,
    "frames": by_frames,
    "random": by_chance,
    "untrained": by_untrained,
    "kept": by_neighbours_too,
    "structured": by_network,
    "published": by_published,
}


def turned(config: Config, task: Task) -> str:
    """How far the default network's latents of 100 galaxies move when their images are turned
    about the middle (cubic interpolation, exactly by quarter turns), over the median distance of
    two of the galaxies."""
    model = train(config, task, config.seeds[0])
    rows = np.random.default_rng(0).choice(task.rows, min(100, len(task.rows)), replace=False)
    flux = task.packed.images[rows]

    def latents(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return model.encode(torch.from_numpy(np.ascontiguousarray(images)))[0].cpu().numpy()

    still = latents(flux)
    apart = np.median(pdist(still))
    moved = {
        angle: np.linalg.norm(latents(image) - still, axis=1) / apart
        for angle, image in (
            *((a, rotate(flux, a, (3, 2), False, order=3, mode="reflect")) for a in ANGLES),
            *((a, np.rot90(flux, a // 90, (3, 2))) for a in (90, 180, 270)),
        )
    }
    free = np.concatenate([moved[angle] for angle in ANGLES])
    exact = np.concatenate([moved[angle] for angle in moved if angle not in ANGLES])
    return (
        f"Turning an image by {', '.join(map(str, ANGLES))} degrees moves its latents by "
        f"{np.median(free):.3f} of the median distance of two galaxies (median over {len(rows)} "
        f"galaxies and angles; {(free < 0.1).mean():.0%} of them move by less than a tenth), by "
        f"quarter turns by {np.median(exact):.3f}."
    )


# ---- what they are worth


def predictions(config: Config, task: Task, features: NDArray, seed: int) -> dict[str, Predictions]:
    """The answers of a forest and of logistic regression to each question's test galaxies."""
    scaled = StandardScaler().fit(features[task.rows]).transform(features)
    trees = 20 if config.quick else config.trees
    heads = {
        "forest": (RandomForestClassifier(trees, class_weight="balanced", random_state=seed,
                                          n_jobs=-1), features),
        "logistic": (LogisticRegression(class_weight="balanced", max_iter=2000), scaled),
    }  # fmt: skip
    return {
        head: {
            q.name: solver.fit(x[q.train], q.train_codes).predict(x[q.test]) for q in task.questions
        }
        for head, (solver, x) in heads.items()
    }


def neighbours(task: Task, features: NDArray) -> tuple[float, float]:
    """Share of the 10 nearest labelled galaxies outside the test split that have the label of a
    test galaxy, and the share of them that would by chance: means of galaxies and questions."""
    shares, chances = [], []
    for q in task.questions:
        known, asked = (features[rows].astype(np.float32) for rows in (q.train, q.test))
        rows, _ = nearest(known, asked, 10)
        shares.append(np.mean(q.train_codes[rows] == q.test_codes[:, None]))
        share = np.bincount(q.train_codes, minlength=len(q.answers)) / len(q.train)
        chances.append(share[q.test_codes].mean())
    return float(np.mean(shares)), float(np.mean(chances))


def measure(config: Config, task: Task, variant: str, seed: int) -> dict[str, Any] | None:
    """One variant with one seed, from its file where it is there and was made of the same; None
    where it is not, and only what is kept is asked for."""
    path = ROOT / config.folder / "results" / task.name / f"{variant}_{seed}.json"
    constants = {
        "images": sha256(task.run.train_txt), "code": code(variant),
        "trees": config.trees, "quick": config.quick,
        "epochs": getattr(config, f"epochs_{variant}", None),
    }  # fmt: skip
    if path.exists() and (done := read_json(path))["constants"] == constants:
        return done
    if config.kept:
        return None
    print(f"{task.name}: {variant}, seed {seed}", flush=True)
    torch.manual_seed(seed)
    began = time.monotonic()
    if variant == "resnet":
        size = {"epochs": 1 if config.quick else config.epochs_resnet, "seed": seed}
        found, features = resnet.fit_resnet(
            task.packed.images, task.stretch, task.questions, **size
        )
        heads = {"network": found}
    else:
        features = FEATURES[variant](config, task, seed)
        heads = {}
    minutes = (time.monotonic() - began) / 60
    heads = heads or predictions(config, task, features, seed)
    share, chance = neighbours(task, features)
    result = {
        "constants": constants,
        "minutes": round(minutes, 2),
        "neighbours": share,
        "chance": chance,
        "answers": {
            head: {question: codes.tolist() for question, codes in of.items()}
            for head, of in heads.items()
        },
    }
    write_json(path, result)
    return result


@dataclass(frozen=True)
class Score:
    """Mean over seeds of the mean over questions, its 95 % interval of resampled test galaxies,
    and the seeds' own values."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]

    def __str__(self) -> str:
        several = len(self.seeds) > 1
        spread = f", seeds {min(self.seeds):.3f} to {max(self.seeds):.3f}" if several else ""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}{spread})"


def score(
    questions: Iterable[Question],
    seeds: list[dict[str, list[int]]],
    balanced: bool,
    draws: int = 1000,
) -> Score:
    """Accuracy or balanced accuracy of the answers of several seeds, each by question.

    An image that several questions ask about is drawn into all of them or none.
    """
    questions = tuple(questions)
    images = np.unique(np.concatenate([q.test for q in questions]))
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), size=draws)
    weights = np.vstack([np.ones(len(images)), drawn])  # the images themselves, then the draws
    values = np.zeros((len(seeds), 1 + draws))
    for q in questions:
        weight = weights[:, np.searchsorted(images, q.test)]
        groups = [q.test_codes == code for code in range(len(q.answers))] if balanced else [...]
        for number, answers in enumerate(seeds):
            right = np.asarray(answers[q.name]) == q.test_codes
            found = np.stack([weight[:, group] @ right[group] for group in groups])
            there = np.stack([weight[:, group].sum(axis=1) for group in groups])
            shares = np.divide(found, there, out=np.full(there.shape, np.nan), where=there > 0)
            values[number] += np.nanmean(shares, axis=0) / len(questions)
    low, high = np.percentile(values[:, 1:].mean(axis=0), [2.5, 97.5])
    return Score(values[:, 0].mean(), low, high, tuple(values[:, 0]))


def table(config: Config, task: Task, results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line a variant."""
    lines = [
        "| variant | seeds | head | accuracy | balanced accuracy | like neighbours | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, seeds in results.items():
        alike = np.mean([of["neighbours"] for of in seeds])
        minutes = np.mean([of["minutes"] for of in seeds])
        for head in seeds[0]["answers"]:
            answers = [of["answers"][head] for of in seeds]
            plain, balanced = (
                score(task.questions, answers, kind, config.draws) for kind in (False, True)
            )
            first = head in ("forest", "network")
            more = [f"{alike:.3f}", f"{minutes:.1f}"] if first else ["", ""]
            named = [WORDS[variant], str(len(seeds))] if first else ["", ""]
            cells = [*named, head, str(plain), str(balanced), *more]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def section(config: Config, task: Task, results: dict[str, list[dict[str, Any]]]) -> list[str]:
    counts = [
        f"{q.name} {len(q.train):,} / {len(q.test):,}, majority {q.majority:.3f}"
        for q in task.questions
    ]
    chance = next(iter(results.values()))[0]["chance"]
    return [
        f"## {task.name}", "",
        f"Galaxies with an answer outside the test split / in it: {'; '.join(counts)}. Of the "
        f"nearest ten by chance {chance:.3f} have the same label.", "",
        *table(config, task, results), "",
        *([turned(config, task), ""] if "structured" in results else []),
    ]  # fmt: skip


def broken_section(config: Config) -> list[str]:
    """The set of broken frames, ranked by its own default network of the first seed."""
    run = import_set(config, BROKEN)
    packed = Packed.of(run, pixels="float16")
    task = Task(BROKEN, run, packed, Stretch.of(packed.index["display"]), (), np.empty(0, int))
    model = train(config, task, config.seeds[0])
    inside = (packed.index["split"] == "train").to_numpy()
    _, labels = read_answers(run, ["label"], packed.index["path"].tolist())
    frames = (labels["label"] == "nongalaxy").to_numpy()
    scores = broken.rankings(packed, model, inside)
    return [
        f"## {BROKEN}", "",
        f"{int(frames.sum()):,} broken frames among {len(frames):,}. No score has seen a label. "
        "Many of the frames hold a plain galaxy in the middle, and nothing else that an eye finds "
        "wrong.", "", *broken.table(scores, frames, config.draws), "",
    ]  # fmt: skip


def main(config: Config) -> None:
    sections = []
    for name in config.sets:
        if name == BROKEN:
            sections += broken_section(config)
            continue
        task = open_task(config, name)
        results = {}
        for variant in config.variants:
            seeds = config.seeds_dear if variant in DEAR else config.seeds
            found = [measure(config, task, variant, seed) for seed in seeds]
            if done := [result for result in found if result is not None]:
                results[variant] = done
        if not results:
            raise Problem(f"nothing is kept of {name}: leave out --kept")
        sections += section(config, task, results)
    text = "\n".join([
        f"Forests of {config.trees} trees. Mean of the seeds (95 % interval of resampled test "
        "galaxies, range of the seeds); on the sky a mean of the questions. Minutes are those of "
        "one seed on a busy machine of two cores, without importing, packing and preparing what "
        "was there before.", "", *sections,
    ])  # fmt: skip
    print(text)
    if config.write:
        target = ROOT / "docs" / "FEATURES.md"
        before = target.read_text(encoding="utf-8").split("<!-- measured -->")
        write_text(target, f"{before[0]}<!-- measured -->\n\n{text}")


if __name__ == "__main__":
    start(main, Config, __doc__)
