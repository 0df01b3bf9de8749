"""The sets of real galaxies, and what is measured on each with one rival and one seed."""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.evaluation.classification import Question, set_question
from VAE_model.pipeline.code_version import code_version
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.tables.labels import read_answers

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import broken, experts, resnet, rivals, scoring
from benchmarks.protocol.experts import Attribute
from benchmarks.protocol.tasks import Task, import_set, labelled_task

SPIRAL, EFIGI, RING, EXAMPLES, DEFECT = (
    "gz2_spiral", "efigi", "gzdecals_ring", "gz_examples", "gz2_defect",
)  # fmt: skip
LABELS = {SPIRAL: "label", RING: "ring"}
EXAMPLE_QUESTIONS = {  # a part of the question's wording in all surveys, and its answers
    "smooth": ("simply smooth and rounded", {
        "Smooth": "smooth", "Features or disk": "featured", "Features": "featured"}),
    "edge-on": ("viewed edge-on", {"Yes": "yes", "No": "no"}),
    "bar": ("sign of a bar feature", {"Bar": "bar", "No bar": "no bar"}),
    "spiral": ("sign of a spiral arm pattern", {"Spiral": "spiral", "No spiral": "no spiral"}),
}  # fmt: skip
TRAINING_SURVEYS = ("decals", "sloan")
RANKING = {"default": {}, "untrained": rivals.UNTRAINED}  # networks that rank the broken images
EFIGI_RESAMPLES = 200


@dataclass(frozen=True)
class RealSet:
    """A set: its images and questions; of EFIGI its attributes; of gz2_defect what is broken."""

    task: Task
    attributes: Sequence[Attribute] = ()
    broken: NDArray[np.bool_] | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.task.name

    def describe(self) -> dict[str, Any]:
        """Return the truth of the test galaxies, and the numbers of galaxies."""
        questions = {
            q.name: {
                "answers": q.answers, "n_train": q.n_train, "n_test": q.n_test,
                "majority": round(q.majority, 4), "test": " ".join(map(str, q.test)),
                "truth": digits(q.test_codes),
            }
            for q in self.task.questions
        }  # fmt: skip
        attributes = {
            one.name: {
                "train": len(one.train), "test": len(one.test),
                "within_median": round(float(experts.within_limits(one, one.median).mean()), 4),
            }
            for one in self.attributes
        }  # fmt: skip
        n_broken = None if self.broken is None else int(self.broken.sum())
        found = {"images": len(self.task), "broken": n_broken, "questions": questions,
                 "attributes": attributes}  # fmt: skip
        return {"hash": self._hash(found), **found}

    def _hash(self, content: dict[str, Any]) -> str:
        index = self.task.packed.index[["path", "sha256", "split"]].to_csv(index=False)
        return hashlib.sha256((index + json.dumps(content)).encode()).hexdigest()[:16]


def digits(codes: NDArray[np.int64]) -> str:
    """Return codes from 0 to 9 as a text of one digit each."""
    return "".join(map(str, codes.tolist()))


def codes_of(text: str) -> NDArray[np.int64]:
    """Return the codes in a text of digits."""
    return np.array(list(text), np.int64)


# ---- opening a set


def open_set(real: Path, folder: Path, name: str, min_test: int = 40) -> RealSet:
    """Return a set of the folder `real`, imported as a user does into a run under `folder`.

    min_test: test galaxies that a question needs, except in gz_examples. Raises Problem if the set
    is missing.
    """
    run, table = Run(folder / name), real / name / "labels.csv"
    if name == EXAMPLES and table.exists():
        wide = examples_table(pd.read_csv(table))
        table = ROOT / folder / f"{name}.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        wide.to_csv(table, index=False)
    import_set(real / name, run, table)
    if name in LABELS:
        return RealSet(labelled_task(name, run, [LABELS[name]], min_test))
    if name == EXAMPLES:
        return RealSet(labelled_task(name, run, list(EXAMPLE_QUESTIONS), 1, 1))
    task = labelled_task(name, run, [])
    paths = task.packed.index["path"].tolist()
    if name == DEFECT:
        _, labels = read_answers(run, ["label"], paths)
        return RealSet(task, broken=(labels["label"] == "nongalaxy").to_numpy())
    values = read_parquet(run.labels).set_index("path").loc[paths]
    tested = (task.packed.index["split"] == "test").to_numpy()
    return RealSet(task, experts.read_attributes(values, tested))


def examples_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image of gz_examples: file, split, and its answer to each question.

    rows: file, survey, question, answer; one image may have several. An image is tested if none of
    its rows is of DECaLS or SDSS.
    """
    trained = rows["survey"].isin(TRAINING_SURVEYS).groupby(rows["file"]).any()
    table = pd.DataFrame({"split": np.where(trained, "train", "test")}, index=trained.index)
    for name, (wording, answers) in EXAMPLE_QUESTIONS.items():
        asked = rows[rows["question"].str.contains(wording, regex=False)]
        said = asked.assign(answer=asked["answer"].map(answers)).dropna(subset="answer")
        said = said[["file", "answer"]].drop_duplicates()
        table[name] = said.set_index("file")["answer"]  # raises if two disagree
    return table.reset_index()


# ---- measuring


def code_of(rival: str) -> str:
    """Return the version of the code that measures a rival on a set."""
    own = (__file__, experts.__file__, scoring.__file__, broken.__file__)
    return f"{code_version(*map(Path, own))} {rivals.RIVALS[rival].code}"


def measure(one: RealSet, rival: str, seed: int, trees: int, quick: bool) -> dict[str, Any]:
    """Return what one rival reaches on a set with one seed, as values of JSON.

    minutes: until the numbers of all images are there. By head of a set with questions: the answers
    to each question, as digits. By head of EFIGI: by attribute and score the value and its 95 %
    interval, and draws of the means. Of gz2_defect: by score the area and precisions.
    quick: one epoch.
    """
    torch.manual_seed(seed)
    began, epochs = time.monotonic(), 1 if quick else 0
    if one.broken is not None:
        model = rivals.load(rivals.train(one.task, seed, RANKING[rival], epochs))
        inside = (one.task.packed.index["split"] == "train").to_numpy()
        scores = broken.rankings(one.task.packed, model, inside)
        return {"minutes": _minutes(began), "ranked": broken.precisions(scores, one.broken)}
    if one.attributes and rival == "resnet":
        predicted = {"network": supervised_values(one, epochs or resnet.EPOCHS, seed)}
        return {"minutes": _minutes(began), **_of_values(one, predicted)}
    features, answers = rivals.RIVALS[rival].compute(one.task, seed, epochs)
    minutes = _minutes(began)
    if one.attributes:
        each = [experts.regress(attribute, features, seed, trees) for attribute in one.attributes]
        predicted = {head: [values[head] for values in each] for head in each[0]}
        return {"minutes": minutes, **_of_values(one, predicted)}
    effort = scoring.Effort(trees=trees, forests=1)
    heads = {"network": answers} if answers else scoring.heads(one.task, features, effort, seed)
    return {
        "minutes": minutes,
        "heads": {
            head: {name: digits(np.asarray(codes)) for name, codes in of.items()}
            for head, of in heads.items()
        },
    }


def supervised_values(one: RealSet, epochs: int, seed: int) -> list[NDArray[np.float64]]:
    """Return the values of EFIGI's attributes for the test galaxies, by ResNet-18.

    They are means over the steps of the experts' scale, weighted by the probability of each step,
    which is corrected from balanced classes to the shares of the training galaxies.
    """
    questions = [_as_question(attribute, len(one.task)) for attribute in one.attributes]
    probability, _ = resnet.fit_resnet(
        one.task.packed.images, one.task.stretch, questions, epochs, seed
    )
    found = []
    for attribute, q in zip(one.attributes, questions, strict=True):
        weights = probability[q.name][attribute.test] * np.bincount(q.train_codes)
        steps = np.array([float(answer) for answer in q.answers])
        found.append(weights @ steps / weights.sum(axis=1))
    return found


def _as_question(attribute: Attribute, count: int) -> Question:
    labels, split = np.full(count, None, object), np.full(count, "train", object)
    known = np.concatenate([attribute.train, attribute.test])
    labels[known] = [str(value) for value in attribute.value[known]]
    split[attribute.test] = "test"
    answers = sorted(set(labels[attribute.train]), key=float)
    return set_question(attribute.name, answers, labels, split, min_answer=0, min_test=1)


def _of_values(
    one: RealSet, predicted: dict[str, list[NDArray[np.float64]]]
) -> dict[str, dict[str, Any]]:
    heads = {}
    for head, values in predicted.items():
        draws = experts.draws_of(one.attributes, values, EFIGI_RESAMPLES)
        means = {score: of[:, 1:].mean(axis=1) for score, of in draws.items()}
        means["stage"] = draws["spearman"][:, 0]
        heads[head] = {
            "draws": {name: " ".join(f"{x:.4f}" for x in of) for name, of in means.items()},
            "attributes": {
                attribute.name: {
                    score: [round(x, 4) for x in (of.value, of.low, of.high)]
                    for score in draws
                    for of in [Estimate.of(draws[score][:, column])]
                }
                for column, attribute in enumerate(one.attributes)
            },
        }  # fmt: skip
    return {"heads": heads}


def _minutes(began: float) -> float:
    return round((time.monotonic() - began) / 60, 2)
