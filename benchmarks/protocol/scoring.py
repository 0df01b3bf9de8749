"""Scores of a rival on a task: the answers of its heads, kept in a file, and their accuracy."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.classification import Metric, Question, Scores, answer
from VAE_model.evaluation.similarity import nearest
from VAE_model.pipeline.files import read_json, sha256, write_json
from VAE_model.pipeline.run import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks.protocol.rivals import RIVALS
from benchmarks.protocol.tasks import Task


@dataclass(frozen=True)
class Effort:
    """The size of a measurement.

    trees: per forest; forests: number of forests that are averaged; epochs: of every network, 0:
    its own number.
    """

    trees: int = 200
    forests: int = 3
    epochs: int = 0


Answers = dict[str, dict[str, list[int]]]  # by head and question: a code for each test galaxy


def heads(task: Task, features: NDArray, effort: Effort, seed: int = 0) -> Answers:
    """Return the answers of forests and of logistic regression on numbers (N, d) of all images."""
    scaled = StandardScaler().fit(features[task.rows]).transform(features)
    linear = LogisticRegression(class_weight="balanced", max_iter=2000)
    seeds = range(seed, seed + effort.forests)
    return {
        "forest": {q.name: answer(q, features, seeds, effort.trees).tolist()
                   for q in task.questions},
        "logistic": {q.name: linear.fit(scaled[q.train], q.train_codes)
                     .predict(scaled[q.test]).tolist() for q in task.questions},
    }  # fmt: skip


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


def measure(
    task: Task,
    rival: str,
    seed: int,
    folder: Path,
    effort: Effort = Effort(),
) -> dict[str, Any]:
    """Return one rival with one seed, from its file in `folder` where that is up to date.

    Keys: constants, numbers (per image), minutes (that these take), same_label, chance, answers.
    """
    path = folder / task.name / f"{rival}_{seed}.json"
    constants = {
        "images": sha256(task.run.train_txt), "code": RIVALS[rival].code,
        "trees": effort.trees, "forests": effort.forests, "epochs": effort.epochs,
    }  # fmt: skip
    if path.exists() and (done := read_json(path))["constants"] == constants:
        return done
    print(f"{task.name}: {rival}, seed {seed}", flush=True)
    torch.manual_seed(seed)
    began = time.monotonic()
    features, answers = RIVALS[rival].compute(task, seed, effort.epochs)
    minutes = round((time.monotonic() - began) / 60, 2)
    share, chance = same_label(task, features)
    if answers:
        by_head = {"network": {name: codes.tolist() for name, codes in answers.items()}}
    else:
        by_head = heads(task, features, effort, seed)
    result = {
        "constants": constants, "numbers": features.shape[1], "minutes": minutes,
        "same_label": share, "chance": chance, "answers": by_head,
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
    seeds: Sequence[dict[str, list[int]]],
    metric: Metric,
    n_bootstrap: int = 1000,
) -> Score:
    """Return a metric of the answers of several seeds, each by question; mean of the questions."""
    answers = {
        number: [np.asarray(of[q.name]) for q in questions] for number, of in enumerate(seeds)
    }
    scores = Scores.of(questions, answers, metric, n_bootstrap)
    draws = np.stack([scores.of_draws(number) for number in answers])
    return Score(Estimate.of(draws.mean(axis=0)), tuple(draws[:, 0]))
