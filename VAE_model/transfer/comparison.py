"""What an adaptation did, on pairs that it never saw: forests carried from survey to survey.

A forest is fitted on the latents of the training galaxies in one survey and asked about the test
galaxies in either. All scores come from the same resampled test galaxies, so that every difference
is paired: the same galaxies, both surveys, all methods and all questions together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.evaluation.classification import Estimate, Question, forest_predict, mcnemar

# How a score comes about: (survey that the forest is fitted on, survey that it is asked about).
FIRST, SECOND = "first", "second"
ROUTES = tuple((fit, test) for fit in (FIRST, SECOND) for test in (FIRST, SECOND))
OLD = "old"  # in place of a fit: the forest that was fitted on the first survey before adaptation
Key = tuple[str, str, str]  # method, fit, test


def ask(
    questions: Sequence[Question],
    fits: Mapping[str, NDArray[np.floating]],
    tests: Mapping[Any, NDArray[np.floating]],
    seeds: Sequence[int],
    trees: int,
) -> dict[tuple[str, Any], list[NDArray[np.int64]]]:
    """Answers to each question by (fit, test): codes of the question's test galaxies.

    fits, tests: latents of all galaxies, (N, d) each, to fit a forest on and to ask it about.
    """
    found: dict[tuple[str, Any], list[NDArray[np.int64]]] = {}
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


def ask_all(
    questions: Sequence[Question],
    latents: Mapping[str, Mapping[str, NDArray[np.floating]]],
    before: str,
    seeds: Sequence[int],
    trees: int,
) -> dict[Key, list[NDArray[np.int64]]]:
    """Answers by (method, fit, test) for all ROUTES, and of the OLD forest, which is fitted on the
    first survey's latents of the method `before`.

    latents: by method, those of FIRST and SECOND, (N, d) each.
    """
    answers: dict[Key, list[NDArray[np.int64]]] = {}
    for method, sides in tqdm(latents.items(), desc="growing forests", unit="method"):
        for (fit, test), lists in ask(questions, sides, sides, seeds, trees).items():
            answers[(method, fit, test)] = lists
    old = {OLD: latents[before][FIRST]}
    tests = {(method, test): of for method, sides in latents.items() for test, of in sides.items()}
    for (_, (method, test)), lists in ask(questions, old, tests, seeds, trees).items():
        answers[(method, OLD, test)] = lists
    return answers


@dataclass(frozen=True)
class Scores:
    """Balanced accuracies of many answer lists to the same questions, resampled together.

    drawn: by key, (questions, 1 + draws), the value itself first; right: by key and question,
    which test galaxies were answered rightly.
    """

    questions: Sequence[Question]
    drawn: dict[Key, NDArray[np.float64]] = field(default_factory=dict)
    right: dict[Key, list[NDArray[np.bool_]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        questions: Sequence[Question],
        answers: Mapping[Key, list[NDArray[np.int64]]],
        draws: int = 1000,
        seed: int = 0,
    ) -> "Scores":
        """answers: by key, codes of each question's test galaxies."""
        galaxies = np.unique(np.concatenate([q.test for q in questions]))
        rng = np.random.default_rng(seed)
        even = np.full(len(galaxies), 1 / len(galaxies))
        weights = np.vstack(
            [np.ones(len(galaxies)), rng.multinomial(len(galaxies), even, size=draws)]
        )
        scores = cls(questions)
        for key, lists in answers.items():
            rows = []
            scores.right[key] = []
            for question, codes in zip(questions, lists, strict=True):
                mine = weights[:, np.searchsorted(galaxies, question.test)]
                right = codes == question.test_codes
                scores.right[key].append(right)
                classes = question.test_codes[:, None] == np.arange(len(question.answers))
                there = mine @ classes
                found = mine @ (classes & right[:, None])
                shares = np.divide(found, there, out=np.zeros_like(found), where=there > 0)
                rows.append(shares.sum(axis=1) / np.maximum((there > 0).sum(axis=1), 1))
            scores.drawn[key] = np.array(rows)
        return scores

    def of_one(self, key: Key, question: int | None = None) -> Estimate:
        """The balanced accuracy of one question, or the mean of all."""
        return _estimate(self._take(key, question))

    def difference(self, after: Key, before: Key, question: int | None = None) -> Estimate:
        """after - before."""
        return _estimate(self._take(after, question) - self._take(before, question))

    def closed(self, after: Key, before: Key, home: Key) -> Estimate | None:
        """The share of the gap home - before that `after` closes; None where the interval of the
        gap reaches zero, for then there is no gap to speak of."""
        gap = self._take(home, None) - self._take(before, None)
        if _estimate(gap).low <= 0:
            return None
        return _estimate(1 - (self._take(home, None) - self._take(after, None)) / gap)

    def changed(self, after: Key, before: Key, question: int) -> tuple[int, int, float]:
        """McNemar: galaxies gained and lost, and the p of so uneven a change."""
        return mcnemar(self.right[before][question], self.right[after][question])

    def accuracy(self, key: Key, question: int) -> float:
        """Plain share of the test galaxies that are answered rightly, as published."""
        return float(self.right[key][question].mean())

    def _take(self, key: Key, question: int | None) -> NDArray[np.float64]:
        drawn = self.drawn[key]
        return drawn.mean(axis=0) if question is None else drawn[question]


def _estimate(drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(drawn[1:], [2.5, 97.5]) if len(drawn) > 1 else (drawn[0],) * 2
    return Estimate(float(drawn[0]), float(low), float(high))


def transfer_of(scores: Scores, method: str, before: str, others: Iterable[str]) -> dict[str, Any]:
    """All forest scores of a method as plain values; before: the method that adapts nothing."""

    def key(of: str, fit: str, test: str) -> Key:
        return of, fit, test

    def plain(estimate: Estimate | None) -> dict[str, float] | None:
        return None if estimate is None else dict(vars(estimate))

    content: dict[str, Any] = {"mean": {}, "change": {}, "questions": {}}
    for fit, test in (*ROUTES, (OLD, FIRST), (OLD, SECOND)):
        content["mean"][f"{fit} to {test}"] = plain(scores.of_one(key(method, fit, test)))
        change = scores.difference(key(method, fit, test), key(before, fit, test))
        content["change"][f"{fit} to {test}"] = plain(change)
    carried, home = key(method, FIRST, SECOND), key(before, FIRST, FIRST)
    content["gap"] = plain(scores.difference(home, carried))
    content["closed"] = plain(scores.closed(carried, key(before, FIRST, SECOND), home))
    content["better_than"] = {
        other: plain(scores.difference(carried, key(other, FIRST, SECOND)))
        for other in others
        if other != method
    }
    for number, question in enumerate(scores.questions):
        row: dict[str, Any] = {}
        for fit, test in ROUTES:
            row[f"{fit} to {test}"] = {
                "balanced_accuracy": plain(scores.of_one(key(method, fit, test), number)),
                "accuracy": scores.accuracy(key(method, fit, test), number),
            }
        gained, lost, p = scores.changed(carried, key(before, FIRST, SECOND), number)
        row["mcnemar"] = {"gained": gained, "lost": lost, "p": p}
        content["questions"][question.name] = row
    return content
