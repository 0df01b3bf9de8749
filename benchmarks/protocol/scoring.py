"""The answers of a rival's heads on a task, kept in a file."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from VAE_model.evaluation.classification import answer
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


def measure(
    task: Task,
    rival: str,
    seed: int,
    folder: Path,
    effort: Effort = Effort(),
) -> dict[str, Any]:
    """Return one rival with one seed, from its file in `folder` where that is up to date.

    Keys: constants, numbers (per image), minutes (that these take), answers.
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
    if answers:
        by_head = {"network": {name: codes.tolist() for name, codes in answers.items()}}
    else:
        by_head = heads(task, features, effort, seed)
    result = {
        "constants": constants, "numbers": features.shape[1], "minutes": minutes,
        "answers": by_head,
    }  # fmt: skip
    write_json(path, result)
    return result
