"""The effect of an adaptation on forests that are applied to another survey.

A forest is fitted on the latents of the training galaxies in one survey and tested on the test
galaxies in each. All differences are paired: surveys, methods and questions share the resampled
galaxies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.evaluation.classification import Question, Scores, forest_predict

FIRST, SECOND = "first", "second"
ROUTES = tuple((fit, test) for fit in (FIRST, SECOND) for test in (FIRST, SECOND))
OLD = "old"  # in place of a survey: the forest fitted on the first survey before adaptation
Key = tuple[str, str, str]  # method, survey that the forest is fitted on, survey that it predicts
Codes = list[NDArray[np.int64]]  # the answers to each question


def predict(
    questions: Sequence[Question],
    fits: Mapping[str, NDArray[np.floating]],
    tests: Mapping[Any, NDArray[np.floating]],
    seeds: Sequence[int],
    trees: int,
) -> dict[tuple[str, Any], Codes]:
    """Return the answers to each question by (fit, test), as codes of its test galaxies.

    fits, tests: latents of all galaxies, (N, d) each, to fit a forest on and to predict from.
    """
    found: dict[tuple[str, Any], Codes] = {}
    for question in questions:
        asked = np.concatenate([features[question.test] for features in tests.values()])
        for fit, features in fits.items():
            chance, classes = forest_predict(
                features[question.train], question.train_codes, asked, seeds, trees
            )
            parts = np.split(classes[chance.argmax(axis=1)], len(tests))
            for test, answers in zip(tests, parts, strict=True):
                found.setdefault((fit, test), []).append(answers)
    return found


def predict_all(
    questions: Sequence[Question],
    latents: Mapping[str, Mapping[str, NDArray[np.floating]]],
    before: str,
    seeds: Sequence[int],
    trees: int,
) -> dict[Key, Codes]:
    """Return the answers by (method, fit, test) for all ROUTES and for the OLD forest.

    latents: by method, those of FIRST and SECOND, (N, d) each; before: the method whose latents of
    the first survey the OLD forest is fitted on.
    """
    answers: dict[Key, Codes] = {}
    for method, sides in tqdm(latents.items(), desc="growing forests", unit="method"):
        for (fit, test), codes in predict(questions, sides, sides, seeds, trees).items():
            answers[(method, fit, test)] = codes
    old = {OLD: latents[before][FIRST]}
    tests = {(method, test): of for method, sides in latents.items() for test, of in sides.items()}
    for (_, (method, test)), codes in predict(questions, old, tests, seeds, trees).items():
        answers[(method, OLD, test)] = codes
    return answers


def transfer_of(
    scores: Scores[Key], method: str, before: str, others: Iterable[str]
) -> dict[str, Any]:
    """Return all scores of a method as plain values; before: the method that adapts nothing."""
    carried, home = (method, FIRST, SECOND), (before, FIRST, FIRST)
    unadapted = (before, FIRST, SECOND)
    content: dict[str, Any] = {"mean": {}, "change": {}, "questions": {}}
    for fit, test in (*ROUTES, (OLD, FIRST), (OLD, SECOND)):
        key, same = (method, fit, test), (before, fit, test)
        content["mean"][f"{fit} to {test}"] = asdict(scores.estimate(key))
        content["change"][f"{fit} to {test}"] = asdict(scores.difference(key, same))
    content["gap"] = asdict(scores.difference(home, carried))
    content["better_than"] = {
        other: asdict(scores.difference(carried, (other, FIRST, SECOND)))
        for other in others
        if other != method
    }
    for number, question in enumerate(scores.questions):
        row: dict[str, Any] = {
            f"{fit} to {test}": {
                "balanced_accuracy": asdict(scores.estimate((method, fit, test), number)),
                "accuracy": float(scores.correct((method, fit, test), number).mean()),
            }
            for fit, test in ROUTES
        }
        row["mcnemar"] = scores.mcnemar(carried, unadapted, number)
        content["questions"][question.name] = row
    return content
