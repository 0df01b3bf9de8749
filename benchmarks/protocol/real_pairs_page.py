"""The measured part of docs/REAL_PAIRS.md, from the results of real_pairs.py."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol.real_page import in_words, questions_of
from benchmarks.protocol.real_sets import EXAMPLES, codes_of
from VAE_model.evaluation.bootstrap import Estimate, bootstrap, weighted_auc, weighted_median
from VAE_model.evaluation.classification import Scores, accuracy, balanced_accuracy
from VAE_model.pipeline.files import read_json
from VAE_model.pipeline.stage import Problem
from VAE_model.report.tables import Table

PLATES = "poss_pairs"
ROWS = {  # in the order of the tables
    "weights": "**default network, its weights as they travel**",
    "untrained": "the same network, untrained",
    "structure": "all structure numbers",
    "components": "PCA-40 of the pixels",
    "random": "40 random projections of the pixels",
    "pixels": "all pixels",
    "baseline": "baseline `structure`, which does not learn",
}
OURS = "weights"

Draws = NDArray[np.float64]  # (1 + resamples,), the value of the sample itself first
Found = dict[str, list[dict[str, Any]]]  # by row its results, one per seed


def read_found(folder: Path, seeds: Sequence[int]) -> tuple[dict[str, Any], Found]:
    """Return set.json of a set, and the results that were measured on its images."""
    about = read_json(folder / "set.json")
    found = {}
    for row in ROWS:
        paths = [folder / f"{row}_{seed}.json" for seed in seeds]
        own = [read_json(path) for path in paths if path.exists()]
        own = [of for of in own if of["constants"]["images"][folder.name] == about["hash"]]
        if own:
            found[row] = own
    return about, found


# ---- the plates


def measures(seeds: Sequence[Mapping[str, Any]], n_bootstrap: int) -> dict[str, Draws]:
    """Return draws of the scores of one row and adaptation, means of the seeds.

    seeds: rank, distance, other, and perhaps survey, of each galaxy (real_pairs.py).
    """
    count = len(seeds[0]["rank"])

    def mean(score: Any) -> Draws:
        each = [bootstrap(partial(score, of), count, n_bootstrap) for of in seeds]
        return np.mean(each, axis=0)

    found = {
        "found": mean(lambda of, w: w @ (np.array(of["rank"]) < 1) / count),
        "rank": mean(lambda of, w: weighted_median(np.array(of["rank"]) + 1.0, w)),
        "distance": mean(lambda of, w: weighted_median(np.array(of["distance"]), w)),
        "other": mean(lambda of, w: weighted_median(np.array(of["other"]), w)),
    }
    if "survey" in seeds[0]:
        second = np.arange(2 * count) >= count
        found["auc"] = mean(
            lambda of, w: weighted_auc(np.ravel(of["survey"]), second, np.tile(w, (1, 2)))
        )
    return found


def plates_section(about: dict[str, Any], found: Found, n_bootstrap: int) -> list[str]:
    """Return the lines of the plates."""
    count = len(about["galaxies"])
    draws = {
        row: {
            method: measures([of["methods"][method] for of in seeds], n_bootstrap)
            for method in seeds[0]["methods"]
        }
        for row, seeds in found.items()
    }
    rows = []
    for row, methods in draws.items():
        before = methods["none"]["found"]
        for method, of in methods.items():
            gain = Estimate.of(of["found"] - before)
            rows.append((
                ROWS[row], found[row][0]["numbers"], method,
                in_words(Estimate.of(of["found"]), ".2f"),
                "–" if method == "none" else in_words(gain, "+.2f"),
                in_words(Estimate.of(of["rank"]), ".3g"),
                in_words(Estimate.of(of["distance"]), ".2f"), f"{of['other'][0]:.2f}",
                in_words(Estimate.of(of["auc"]), ".2f") if "auc" in of else "–",
            ))  # fmt: skip
    rows.append(("chance", "–", "–", f"{1 / count:.2f}", "–", f"{(count + 1) / 2:.3g}",
                 "–", "–", "0.50"))  # fmt: skip
    head = ["numbers", "of them", "adaptation", "share found", "minus none", "median rank",
            "distance to its own image", "to others", "AUC of the survey"]  # fmt: skip
    lines = [
        "## POSS-I and POSS-II", "",
        f"{count} galaxies, each left out once. Rows with random numbers are means of three seeds. "
        "An AUC below 0.5 is an artefact of few galaxies: where the means of the surveys are equal "
        "over all, those left out differ the other way than those trained on.", "",
        Table(head, rows).markdown(), "",
    ]  # fmt: skip
    return [*lines, *differences(draws), *not_found(about, found)]


def differences(draws: Mapping[str, Mapping[str, Mapping[str, Draws]]]) -> list[str]:
    """Return what the weights find more than the other rows, and what can be seen at all."""
    if OURS not in draws:
        return []
    ours, halves = draws[OURS], []
    said = {"none": [], "ridge": []}
    for method, listed in said.items():
        for row in (row for row in draws if row != OURS and method in draws[row]):
            of = Estimate.of(ours[method]["found"] - draws[row][method]["found"])
            halves.append((of.high - of.low) / 2)
            listed.append(f"{ROWS[row]} {in_words(of, '+.2f')}")
    gains = {m: Estimate.of(ours[m]["found"] - ours["none"]["found"]) for m in ours if m != "none"}
    up = [f"{m} {in_words(of, '+.2f')}" for m, of in gains.items() if of.low > 0]
    down = [f"{m} {in_words(of, '+.2f')}" for m, of in gains.items() if of.high < 0]
    none = "raised by no adaptation with an interval above zero"
    verdict = f"raised by {'; '.join(up)}" if up else none
    verdict += f", and lowered by {'; '.join(down)}" if down else ""
    width = f"{min(halves):.2f} to {max(halves):.2f}" if halves else "–"
    return [
        f"Share found by the weights minus that by others, without adaptation: "
        f"{'; '.join(said['none'])}.", "",
        f"The same after ridge: {'; '.join(said['ridge'])}.", "",
        f"The share that the weights find is {verdict}. Half the width of the intervals of these "
        f"differences is {width}: a smaller difference cannot be seen with so few galaxies.", "",
    ]  # fmt: skip


def not_found(about: dict[str, Any], found: Found) -> list[str]:
    """Return the galaxies that the weights do not find, without adaptation and after ridge."""
    if OURS not in found:
        return []
    lines = []
    for method in ("none", "ridge"):
        of = found[OURS][0]["methods"][method]
        ranks = np.array(of["rank"]) + 1
        missed = [n for n in np.argsort(-ranks, kind="stable") if ranks[n] > 1]
        listed = ", ".join(f"{about['galaxies'][n]} ({ranks[n]})" for n in missed)
        lines += [f"Not found by the weights, adaptation {method}, {len(missed)} galaxies by right "
                  f"ascension and declination (rank): {listed or 'none'}.", ""]  # fmt: skip
    return lines


# ---- gz_examples


def examples_section(about: dict[str, Any], found: Found, n_bootstrap: int) -> list[str]:
    """Return the lines of gz_examples."""
    questions = questions_of(about)
    answers = {
        (row, head, method, seed): [codes_of(one[q.name]) for q in questions]
        for row, seeds in found.items()
        for seed, of in enumerate(seeds)
        for method, heads in of["methods"].items()
        for head, one in heads.items()
    }
    balanced = Scores.of(questions, answers, balanced_accuracy, n_bootstrap)
    plain = Scores.of(questions, answers, accuracy, n_bootstrap)

    def draws(scores: Scores, row: str, head: str, method: str, question: int | None) -> Draws:
        keys = [(row, head, method, seed) for seed in range(len(found[row]))]
        return np.mean([scores.of_draws(key, question) for key in keys], axis=0)

    rows, each = [], []
    for row, seeds in found.items():
        for head in ("forest", "logistic"):
            before = draws(balanced, row, head, "none", None)
            ours = draws(balanced, OURS, head, "none", None) if OURS in found else before
            correct = draws(plain, row, head, "none", None)
            cells = [in_words(Estimate.of(of), ".2f") for of in (before, correct)]
            cells.append("–" if row == OURS else in_words(Estimate.of(ours - before), "+.2f"))
            for method in ("standardise", "coral"):
                known = method in seeds[0]["methods"]
                change = known and draws(balanced, row, head, method, None) - before
                cells.append(in_words(Estimate.of(change), "+.2f") if known else "–")
            rows.append((ROWS[row], head, *cells))
            for method in seeds[0]["methods"] if row == OURS else ("none",):
                by_question = [
                    in_words(Estimate.of(draws(balanced, row, head, method, number)), ".2f")
                    for number in range(len(questions))
                ]
                each.append((ROWS[row], head, method, *by_question))
    counts = [
        f"{q.name}: " + ", ".join(f"{a} {q.n_train[a]} / {q.n_test[a]}" for a in q.answers)
        + f" (majority {about['questions'][q.name]['majority']:.2f})"
        for q in questions
    ]  # fmt: skip
    majority = np.mean([about["questions"][q.name]["majority"] for q in questions])
    head = ["numbers", "head", "balanced accuracy", "accuracy", "weights minus this",
            "change by standardise", "change by coral"]  # fmt: skip
    return [
        "## gz_examples: DECaLS and SDSS to GAMA and UKIDSS", "",
        f"Training / test images: {'; '.join(counts)}. The majority class of the training images "
        f"has a mean accuracy of {majority:.2f} and a balanced accuracy of 0.50.", "",
        "Mean of the questions, without adaptation; changes of balanced accuracy are paired.", "",
        Table(head, rows).markdown(), "",
        "Balanced accuracy of each question.", "",
        Table(["numbers", "head", "adaptation", *(q.name for q in questions)], each).markdown(), "",
    ]  # fmt: skip


def page(folder: Path, seeds: Sequence[int], n_bootstrap: int) -> str:
    """Return the measured part of the page, from the results that are there.

    folder: with a folder for each set. Raises Problem where there is no result.
    """
    lines = []
    for name, section in ((PLATES, plates_section), (EXAMPLES, examples_section)):
        if (folder / name / "set.json").exists():
            about, found = read_found(folder / name, seeds)
            lines += section(about, found, n_bootstrap) if found else []
    if not lines:
        raise Problem(f"{folder} holds no result: give --sets")
    return "\n".join(lines)
