"""One sky of docs/PROTOCOL.md: draw it, run the stages, measure it, keep the scores, remove it.

`skies.py` runs this script for every sky. Each part (a rival, the second survey) is kept as soon as
it is measured, so that the same command resumes. The limits on threads are those of its
environment.

Reads:  <results>/<seed>.json, if there is one
Writes: <folder>/<seed>/ (a run, removed at the end), <results>/<seed>.json

Example: python benchmarks/protocol/sky.py --seed 11 --results data/skies
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import RidgeCV

from VAE_model import pretrained
from VAE_model.evaluation.agreement import agreement
from VAE_model.evaluation.classification import (
    METRICS,
    Question,
    confusion_matrix,
    set_question,
)
from VAE_model.evaluation.probe import exposures
from VAE_model.evaluation.probe.encoded import Encoded, Encoder
from VAE_model.pipeline import stages
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import read_json, sha256, write_json
from VAE_model.pipeline.provenance import versions
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.script_server import ScriptServer
from VAE_model.pipeline.stage import Problem, start
from VAE_model.transfer.adaptation import BEFORE, METHODS
from VAE_model.transfer.comparison import FIRST, SECOND, predict
from VAE_model.transfer.pair_latents import Sides, read_sides

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import morphology, scoring, tasks
from benchmarks.protocol.scoring import Effort
from benchmarks.protocol.tasks import LATENTS

TRANSFER = "transfer"
TIERS = {
    1: ("pixels", "aligned", "random", "structure", "baseline", "untrained", "weights", "default",
        TRANSFER),
    2: ("published_1e-3_10", "published_1e-3_20", "published_3e-4_10", "published_3e-4_20",
        "statmorph", "resnet"),
}  # fmt: skip
DRAWN = stages.needed("take")
PAIRED = [entry for entry in stages.needed("adapt") if entry not in DRAWN]
AFFINE = "affine"  # a control: ridge regression of the first survey's latents on the second's
EXPOSURES = {"noise": "same night", "night": "another night"}
Content = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Constants of the protocol; see docs/PROTOCOL.md."""

    seed: int = 201
    """Seed of the sky."""
    tier: Literal[1, 2] = 1
    """1: the rivals of every sky and the second survey; 2: those that take long."""
    folder: Path = Path("data/skies")
    """Folder of the runs."""
    results: Path = Path("benchmarks/protocol/results")
    """Folder of the results, one file per sky."""
    galaxies: int = 3000
    """Galaxies in the sky, all observed by DECaLS."""
    overlap: int = 2250
    """Those of them that BASS+MzLS observes too."""
    trees: int = 200
    """Trees per forest."""
    forests: int = 3
    """Forests with different seeds that are averaged."""
    epochs: int = 0
    """Of every network; 0: those of the protocol."""
    min_test: int = 50
    """Test galaxies that a question needs."""
    min_answer: int = 5
    """Galaxies that an answer needs in either split."""


def frozen_code() -> str:
    """Return the version of all code that can change a result, with the constants of the stages."""
    scripts = [ROOT / entry.script for entry in (*DRAWN, *PAIRED)]
    own = ("tasks", "rivals", "scoring", "resnet", "morphology", "sky")
    beside = [Path(__file__).with_name(f"{name}.py") for name in own]
    return f"{code_version(*scripts, *beside, frozen=True)} {sha256(pretrained.WEIGHTS)[:8]}"


def constants_of(config: Config) -> Content:
    """Return the constants that determine the result of a sky."""
    chosen = asdict(config)
    return {k: v for k, v in chosen.items() if k not in ("tier", "folder", "results")}


def path_of(config: Config) -> Path:
    """Return the file of the results."""
    return ROOT / config.results / f"{config.seed}.json"


def read_result(config: Config) -> Content:
    """Return the parts of a sky that are there.

    Raises Problem if they were made by other code or with other constants.
    """
    path = path_of(config)
    new = {"code": frozen_code(), "constants": constants_of(config)}
    if not path.exists():
        return {**new, "versions": versions(), "rivals": {}}
    content = read_json(path)
    for key, value in new.items():
        if content[key] != value:
            raise Problem(
                f"{path} was made with other {key} ({content[key]}, now {value}), and results are "
                "not mixed: check that commit out again, or delete the results of every sky"
            )
    return content


def missing(config: Config) -> list[str]:
    """Return the parts of a tier that are still to be measured."""
    content = read_result(config)
    return [part for part in TIERS[config.tier] if part not in (*content["rivals"], *content)]


def do(config: Config, run: Run, entries: list[stages.Entry]) -> None:
    """Run stages as a user does, with the constants of the protocol."""
    sizes = [x for k in ("galaxies", "overlap", "seed") for x in (f"--{k}", getattr(config, k))]
    epochs = ("--epochs", config.epochs) if config.epochs else ()
    options = {
        "data/simulate.py": sizes, "Galaxy_VAE_n.py": epochs, "transfer/adapt.py": epochs,
    }  # fmt: skip
    with ScriptServer() as server:
        for entry in entries:
            given = map(str, options.get(entry.script, ()))
            command = [entry.script, "--run", str(run.folder), *given]
            print(*command, flush=True)
            if code := server.run(command):
                raise subprocess.CalledProcessError(code, command)


# ---- the seven questions


def metrics(questions: list[Question], answers: Sequence[ArrayLike]) -> dict[str, list[float]]:
    """Return balanced accuracy, macro F1 and accuracy of the answers to each question, by metric.

    answers: to each question, as codes of its test galaxies.
    """
    tables = [
        confusion_matrix(q.test_codes, np.asarray(codes), len(q.answers))
        for q, codes in zip(questions, answers, strict=True)
    ]
    return {
        metric.__name__: [round(float(metric(table)), 4) for table in tables] for metric in METRICS
    }


def counts(questions: list[Question]) -> Content:
    """Return the number of galaxies and answers of each question, and its majority rate."""
    return {
        q.name: {"answers": len(q.answers), "n_train": len(q.train), "n_test": len(q.test),
                 "majority": round(q.majority, 4)}
        for q in questions
    }  # fmt: skip


# ---- the second survey


def affine(sides: Sides, fit: NDArray[np.bool_]) -> Sides:
    """Return the sides with the second survey's latents moved by an affine map.

    Ridge regression on the training pairs; its strength is chosen on them, by leaving one out.
    """
    ridge = RidgeCV(np.logspace(-2, 4, 13)).fit(sides.second[fit], sides.first[fit])
    return sides._replace(second=ridge.predict(sides.second).astype(np.float32))


def likeness(first: NDArray, second: NDArray, deviation: NDArray) -> Content:
    """Return how alike the latents (N, d) of two images of the same galaxies are.

    distance: median, in standard deviations of the latents among galaxies, `deviation`.
    """
    found = agreement(first, second, deviation)
    values = {
        "distance": np.median(found.distance), "recall_at_1": np.mean(found.rank < 1),
        "auc": found.auc,
    }  # fmt: skip
    return {"n": len(first), **{name: round(float(value), 4) for name, value in values.items()}}


def second_survey(config: Config, run: Run) -> Content:
    """Return the scores of a forest of DECaLS in both surveys, and the agreement of the latents.

    For every method of adaptation, and, as the floor, for two exposures by DECaLS.
    """
    all_sides = {name: read_sides(run, run.pair_latents(name), LATENTS)
                 for name in (BEFORE, *METHODS)}  # fmt: skip
    before = all_sides[BEFORE]
    pairs, usable = before.pairs, before.pairs["usable"].to_numpy(bool)
    split = np.where(usable, pairs["split"], "left out")
    fit, test = (split == part for part in ("train", "test"))
    all_sides[AFFINE] = affine(before, fit)
    answers, labels = tasks.sky_labels(run)
    labels = labels.reindex(pairs["path"])
    least = {"min_test": config.min_test, "min_answer": config.min_answer}
    asked = [set_question(name, of, labels[name], split, **least) for name, of in answers.items()]
    questions = [q for q in asked if not q.too_few]
    deviation = np.maximum(before.first[fit].std(axis=0), 1e-6)
    methods = {}
    for name, side in all_sides.items():
        seeds = range(config.seed, config.seed + config.forests)
        tested = {FIRST: side.first, SECOND: side.second}
        said = predict(questions, {FIRST: side.first}, tested, seeds, config.trees)
        scores = {
            survey: metrics(questions, said[FIRST, survey])["balanced_accuracy"]
            for survey in tested
        }
        methods[name] = {**scores, **likeness(side.first[test], side.second[test], deviation)}
    return {
        "pairs": {"train": int(fit.sum()), "test": int(test.sum())},
        "questions": counts(questions),
        "methods": methods,
        "floor": floor(run, pairs["path"][test].tolist(), deviation),
    }


def floor(run: Run, paths: list[str], deviation: NDArray) -> Content:
    """Return the agreement of two exposures by DECaLS of the galaxies with these images."""
    encoded = Encoded.of(run, LATENTS)
    rows = np.flatnonzero(encoded.table["path"].isin(paths))
    again = exposures.observe(run, encoded, Encoder(encoded, run.model(LATENTS)), rows, 1, 2)
    if again.why:
        raise Problem(f"{run.show(run.folder)}: no second exposures: {again.why}")
    return {
        EXPOSURES[kind]: likeness(*again.latents[kind][0], deviation) for kind in exposures.KINDS
    }


# ---- the sky


def main(config: Config) -> None:
    """Measure the parts of a tier that are missing, and remove the run."""
    parts, path = missing(config), path_of(config)
    if not parts:
        return print(f"{path} has every part of tier {config.tier}")
    run = Run(config.folder / str(config.seed))
    lock = FileLock(run.folder.with_suffix(".lock"), timeout=0)
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock:
            measure(config, run, parts)
    except Timeout:
        raise Problem(f"{run.show(run.folder)} is in use by another process") from None


def measure(config: Config, run: Run, parts: list[str]) -> None:
    """Draw the sky, measure the parts, keep each, and remove the run."""
    if "statmorph" in parts:
        morphology.check_installed()
    began = time.monotonic()
    do(config, run, DRAWN)
    task = tasks.sky_task(run, config.min_test, config.min_answer)
    content = read_result(config)
    content |= {"questions": counts(task.questions), "split": task.packed.sides()}
    effort = Effort(config.trees, config.forests, config.epochs)
    for part in parts:
        if part == TRANSFER:
            do(config, run, PAIRED)
            content[TRANSFER] = second_survey(config, run)
        else:
            found = scoring.measure(task, part, config.seed, run.folder / "rivals", effort)
            content["rivals"][part] = {
                "numbers": found["numbers"],
                "minutes": found["minutes"],
                "scores": {head: metrics(task.questions, [of[q.name] for q in task.questions])
                           for head, of in found["answers"].items()},
            }  # fmt: skip
        write_json(path_of(config), content)
    content.setdefault("minutes", {})[str(config.tier)] = round((time.monotonic() - began) / 60, 1)
    write_json(path_of(config), content)
    shutil.rmtree(run.folder)


if __name__ == "__main__":
    start(main, Config, __doc__)
