"""The experiments of "Several surveys" in docs/PROTOCOL.md, on the pairs of one sky and one survey.

Everything is fitted on training pairs and measured on test pairs. Each experiment returns plain
values; survey_sky.py keeps them, survey_page.py shows them.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from VAE_model.evaluation.classification import (
    Question,
    balanced_accuracy,
    confusion_matrix,
    set_question,
)
from VAE_model.evaluation.outliers import mahalanobis
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import Problem
from VAE_model.transfer.adaptation import BEFORE, METHODS, RECOMMENDED
from VAE_model.transfer.comparison import FIRST, SECOND, Codes, predict
from VAE_model.transfer.pair_latents import Sides

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import tasks
from benchmarks.protocol.scoring import Effort
from benchmarks.protocol.sky import AFFINE, affine, likeness

PER_LATENT = "affine per latent"  # a control: a straight line for each latent, on training pairs
OWN = "own labels"  # the trivial solution: a forest fitted on the second survey's own images
POOLED = "pooled labels"  # a forest fitted on the images of both surveys
NIGHT, NOISE = "another night", "same night"  # of DECaLS, in place of the second survey: the null
HALVES = ("first half", "second half")  # of the test galaxies
LABELS = (20, 50, 100, 300)  # in the second survey
DRAWS = 5  # of the galaxies with labels
ADAPTED = (BEFORE, "coral", AFFINE, RECOMMENDED)  # with few labels
RAREST = 0.02  # share of the galaxies that count as outliers
QUANTITIES = {"magnitude": "mag", "size": "dex", "redshift": ""}  # learned, and their units
Content = dict[str, Any]
BOTH = "both"


class Latents(NamedTuple):
    """Numbers of the same N galaxies in the two surveys, (N, d) each."""

    first: NDArray[np.float32]
    second: NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """The N pairs of a sky in DECaLS and a second survey.

    latents: by method; again: by NOISE and NIGHT, the latents of a further exposure by DECaLS,
    (N, d), NaN outside the test pairs; questions: on the rows of the pairs; fit, test: training
    and test pairs, (N,); truth: the columns QUANTITIES, a row per pair; seed: of forests and draws.
    """

    latents: dict[str, Latents]
    again: dict[str, NDArray[np.float32]]
    questions: list[Question]
    fit: NDArray[np.bool_]
    test: NDArray[np.bool_]
    truth: pd.DataFrame
    effort: Effort
    seed: int

    @property
    def deviation(self) -> NDArray[np.float32]:
        """Standard deviation of each latent among training galaxies before adaptation, (d,)."""
        return np.maximum(self.latents[BEFORE].first[self.fit].std(axis=0), 1e-6)

    @property
    def all_latents(self) -> dict[str, Latents]:
        """The latents by method, then those with a further exposure in the second survey's place.

        The latter are the nulls of the experiments.
        """
        first = self.latents[BEFORE].first
        return {**self.latents, **{kind: Latents(first, of) for kind, of in self.again.items()}}


def per_latent(pairs: Latents, fit: NDArray[np.bool_]) -> Latents:
    """Return the latents with each of the second survey's moved by a straight line.

    By least squares on the pairs `fit`, (N,); a latent that does not vary gets the mean.
    """
    first, second = (np.asarray(side[fit], float) for side in pairs)
    apart = second - second.mean(axis=0)
    variance = (apart**2).mean(axis=0)
    slope = np.divide(
        (apart * first).mean(axis=0), variance, out=np.zeros_like(variance), where=variance > 1e-12
    )
    moved = first.mean(axis=0) + slope * (pairs.second - second.mean(axis=0))
    return Latents(pairs.first, moved.astype(np.float32))


def mapped(pairs: Latents, fit: NDArray[np.bool_]) -> dict[str, Latents]:
    """Return the latents before adaptation, and by each map that needs no training.

    These are `standardise`, `coral` and the affine map of sky.py, on the pairs `fit`, (N,).
    """
    found = {BEFORE: pairs}
    for name, method in METHODS.items():
        if method.map:
            matrix, offset = method.map(pairs.second[fit], pairs.first[fit])
            second = (pairs.second @ matrix.T + offset).astype(np.float32)
            found[name] = Latents(pairs.first, second)
    sides = affine(Sides(pd.DataFrame(), *pairs, ("", "")), fit)
    return {**found, AFFINE: Latents(sides.first, sides.second)}


def questions_of(
    run: Run, paths: pd.Series, split: NDArray, min_test: int, min_answer: int
) -> list[Question]:
    """Return the questions about the galaxies with these DECaLS images, (N,), that can be scored.

    split: of each, `train`, `test` or other. Raises Problem if no question can be scored.
    """
    answers, labels = tasks.sky_labels(run)
    labels = labels.reindex(paths)
    least = {"min_test": min_test, "min_answer": min_answer}
    asked = [set_question(name, of, labels[name], split, **least) for name, of in answers.items()]
    questions = [question for question in asked if not question.too_few]
    if not questions:
        raise Problem(f"{run.show(run.folder)}: no question can be scored: {asked[0].too_few}")
    return questions


# ---- the gap, and what a method makes of it


def answers_of(pairs: Pairs, numbers: Mapping[str, Latents]) -> dict[str, tuple[Codes, Codes]]:
    """Return the answers of forests of DECaLS by name of the numbers: in DECaLS, in the second.

    Numbers that are the same in DECaLS share their forests.
    """
    found: dict[str, tuple[Codes, Codes]] = {}
    left = dict(numbers)
    while left:
        first = next(iter(left.values())).first
        same = {name: of for name, of in left.items() if np.array_equal(of.first, first)}
        tests = {FIRST: first, **{name: of.second for name, of in same.items()}}
        said = _forests(pairs, pairs.questions, {FIRST: first}, tests)
        found |= {name: (said[FIRST, FIRST], said[FIRST, name]) for name in same}
        left = {name: of for name, of in left.items() if name not in same}
    return {name: found[name] for name in numbers}


def _forests(
    pairs: Pairs, questions: list[Question], fits: Mapping[str, NDArray], tests: Mapping
) -> dict[tuple[str, Any], Codes]:
    seeds = range(pairs.seed, pairs.seed + pairs.effort.forests)
    return predict(questions, fits, tests, seeds, pairs.effort.trees)


def with_labels(pairs: Pairs) -> dict[str, tuple[Codes, Codes]]:
    """Return the answers of forests that have labels of the second survey's images.

    OWN: each survey's own forest; POOLED: forests of both surveys' images.
    """
    of, number = pairs.latents[BEFORE], len(pairs.fit)
    own = _forests(pairs, pairs.questions, of._asdict(), of._asdict())
    twice = [
        replace(q, train=np.concatenate([q.train, q.train + number]),
                train_codes=np.tile(q.train_codes, 2))
        for q in pairs.questions
    ]  # fmt: skip
    pooled = _forests(pairs, twice, {BOTH: np.concatenate(of)}, of._asdict())
    return {
        OWN: (own[FIRST, FIRST], own[SECOND, SECOND]),
        POOLED: (pooled[BOTH, FIRST], pooled[BOTH, SECOND]),
    }


def scores(questions: Sequence[Question], codes: Codes) -> list[float]:
    """Return the balanced accuracy of the answers to each question."""
    tables = [
        confusion_matrix(q.test_codes, of, len(q.answers))
        for q, of in zip(questions, codes, strict=True)
    ]
    return [round(float(balanced_accuracy(table)), 4) for table in tables]


def half_scores(
    questions: Sequence[Question], codes: Codes, half: NDArray[np.bool_]
) -> list[float]:
    """Return the scores on the test galaxies in each of HALVES, the mean over the questions.

    half: of all galaxies, True for the first half, (N,).
    """
    found = []
    for inside in (half, ~half):
        kept = [inside[q.test] for q in questions]
        parts = [replace(q, test=q.test[k], test_codes=q.test_codes[k])
                 for q, k in zip(questions, kept, strict=True)]  # fmt: skip
        of = [codes[k] for codes, k in zip(codes, kept, strict=True)]
        found.append(round(float(np.mean(scores(parts, of))), 4))
    return found


def fraction_changes(questions: Sequence[Question], answers: tuple[Codes, Codes]) -> Content:
    """Return the predicted fraction of each answer in the second survey minus that in DECaLS.

    Of the same test galaxies of each question, by question and answer.
    """
    content = {}
    for number, question in enumerate(questions):
        k = len(question.answers)
        first, second = (np.bincount(codes[number], minlength=k) for codes in answers)
        change = (second - first) / max(len(question.test), 1)
        content[question.name] = dict(
            zip(question.answers, np.round(change, 4).tolist(), strict=True)
        )
    return content


def measured(
    pairs: Pairs, numbers: Mapping[str, Latents], deviation: NDArray | None = None
) -> Content:
    """Return the scores, the change of the fractions and the agreement, by name of the numbers.

    deviation: unit of the distances, (d,); None: of each numbers their own.
    """
    content = described(pairs, answers_of(pairs, numbers))
    for name, of in numbers.items():
        own = np.maximum(of.first[pairs.fit].std(axis=0), 1e-6)
        unit = own if deviation is None else deviation
        content[name] |= likeness(of.first[pairs.test], of.second[pairs.test], unit)
    return content


def described(pairs: Pairs, answers: Mapping[str, tuple[Codes, Codes]]) -> Content:
    """Return the scores of answers in either survey, on HALVES, and the change of the fractions."""
    half = np.random.default_rng(pairs.seed).permutation(len(pairs.test)) % 2 == 0
    return {
        name: {
            FIRST: scores(pairs.questions, of[0]),
            SECOND: scores(pairs.questions, of[1]),
            "halves": [half_scores(pairs.questions, codes, half) for codes in of],
            "fractions": fraction_changes(pairs.questions, of),
        }
        for name, of in answers.items()
    }


def adaptation(pairs: Pairs) -> Content:
    """Return what `measured` returns for every method and null, and the forests `with_labels`."""
    content = measured(pairs, pairs.all_latents, pairs.deviation)
    return content | described(pairs, with_labels(pairs))


# ---- uses


def few_labels(pairs: Pairs) -> Content:
    """Return scores on the second survey with few labels there, by number of labels.

    OWN: logistic regression on these labels alone; for each of ADAPTED `labels of DECaLS`, on the
    labels of all training galaxies in DECaLS, and `pooled`, on both. Means over DRAWS of the
    galaxies with labels, and over the questions that have so many training galaxies.
    """
    rng = np.random.default_rng(pairs.seed)
    content: Content = {}
    home = [
        {m: linear(q.train_codes, pairs.latents[m].first[q.train], pairs.latents[m].second[q.test])
         for m in ADAPTED}
        for q in pairs.questions
    ]  # fmt: skip
    for number in LABELS:
        rows: list[Content] = []
        for question, said in zip(pairs.questions, home, strict=True):
            if len(question.train) < number:
                continue
            for _ in range(DRAWS):
                some = rng.permutation(len(question.train))[:number]
                rows.append(_with_few(pairs, question, some, said))
        if rows:
            content[str(number)] = {
                "questions": len(rows) // DRAWS,
                OWN: _mean(row[OWN] for row in rows),
                **{m: {key: _mean(row[m][key] for row in rows) for key in rows[0][m]}
                   for m in ADAPTED},
            }  # fmt: skip
    return content


def _mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)


def _with_few(
    pairs: Pairs, question: Question, some: NDArray, home: Mapping[str, NDArray]
) -> Content:
    """Return the scores of `few_labels` for one question and one draw.

    some: of its training galaxies; home: answers from the labels of DECaLS, by method.
    """

    def score(answers: NDArray) -> float:
        return scores([question], [answers])[0]

    own, test, codes = question.train[some], question.test, question.train_codes
    before = pairs.latents[BEFORE].second
    content: Content = {OWN: score(linear(codes[some], before[own], before[test]))}
    for method in ADAPTED:
        first, second = pairs.latents[method]
        both = np.concatenate([first[question.train], second[own]])
        pooled = linear(np.concatenate([codes, codes[some]]), both, second[test])
        content[method] = {"labels of DECaLS": score(home[method]), "pooled": score(pooled)}
    return content


def linear(codes: NDArray[np.int64], fit: NDArray, test: NDArray) -> NDArray[np.int64]:
    """Return the answers (M,) of logistic regression, as scoring.heads fits it, to numbers (M, d).

    codes: answers (N,) to the numbers `fit` (N, d); where all are the same, so is every answer.
    """
    if len(np.unique(codes)) == 1:
        return np.full(len(test), codes[0])
    head = LogisticRegression(class_weight="balanced", max_iter=2000)
    return make_pipeline(StandardScaler(), head).fit(fit, codes).predict(test)


def outliers(pairs: Pairs) -> Content:
    """Return how well the two surveys agree on the outliers of the test galaxies, by method.

    The score is the Mahalanobis distance from the training galaxies in DECaLS.
    """
    content = {}
    for name, of in pairs.all_latents.items():
        together = np.concatenate([of.first, of.second[pairs.test]])
        train = np.concatenate([pairs.fit, np.zeros(int(pairs.test.sum()), bool)])
        found = mahalanobis(together, train)
        one, two = found[: len(pairs.test)][pairs.test], found[len(pairs.test) :]
        content[name] = {
            "overlap": round(overlap(one, two, RAREST), 4),
            "correlation": round(float(spearmanr(one, two).statistic), 4),
        }
    return {"n": int(pairs.test.sum()), "chance": RAREST, "methods": content}


def overlap(one: ArrayLike, two: ArrayLike, share: float) -> float:
    """Return the share of the galaxies with the highest scores `one` that have the highest `two`.

    one, two: (N,); share: of the galaxies that count as highest, at least one galaxy.
    """
    number = max(round(share * len(np.asarray(one))), 1)
    top = [set(np.argsort(-np.asarray(scores), kind="stable")[:number]) for scores in (one, two)]
    return len(top[0] & top[1]) / number


def retrieval(pairs: Pairs) -> Content:
    """Return the retrieval of a test galaxy's DECaLS image among all pairs', by method.

    recall_at_1, recall_at_10: the share of the second survey's images whose galaxy is among the
    nearest, in standard deviations of the latents.
    """
    unit, own, content = pairs.deviation, np.flatnonzero(pairs.test), {}
    for name, of in pairs.all_latents.items():
        content[name] = recall(of.second[pairs.test] / unit, own, of.first / unit)
    return {"n": len(own), "among": len(pairs.test), "methods": content}


def recall(sought: NDArray, own: NDArray[np.int64], among: NDArray) -> Content:
    """Return the share of the images whose galaxy is among the nearest 1 and 10.

    sought: latents of the images, (n, d); own: rows of their galaxies, (n,), in `among`, (N, d).
    """
    apart = cdist(sought, among)
    nearer = (apart < apart[np.arange(len(own)), own][:, None]).sum(axis=1)
    return {f"recall_at_{k}": round(float(np.mean(nearer < k)), 4) for k in (1, 10)}


def regression(pairs: Pairs) -> Content:
    """Return bias and scatter of QUANTITIES that are learned in DECaLS, by method and quantity."""
    content: Content = {}
    truth = pairs.truth[pairs.test]
    for name, of in pairs.all_latents.items():
        head = make_pipeline(
            StandardScaler(), RidgeCV(np.logspace(-2, 4, 13), alpha_per_target=True)
        )
        head.fit(of.first[pairs.fit], pairs.truth[pairs.fit])
        first, second = (head.predict(side[pairs.test]) for side in of)
        content[name] = {
            quantity: bias_and_scatter(truth[quantity].to_numpy(), first[:, i], second[:, i])
            for i, quantity in enumerate(pairs.truth)
        }
    return {"n": int(pairs.test.sum()), "methods": content}


def bias_and_scatter(truth: NDArray, first: NDArray, second: NDArray) -> Content:
    """Return bias and scatter of values (N,) predicted in two surveys.

    bias: median of the second minus the first; scatter: half of the range from the 16th to the
    84th percentile of prediction minus truth, in each; error: root mean square of the second minus
    truth.
    """
    spread = [float(np.diff(np.percentile(of - truth, [16, 84]))[0] / 2) for of in (first, second)]
    values = {
        "bias": float(np.median(second - first)),
        "scatter_first": spread[0],
        "scatter_second": spread[1],
        "error": float(np.sqrt(np.mean((second - truth) ** 2))),
    }
    return {name: round(value, 5) for name, value in values.items()}


EXPERIMENTS: dict[str, Callable[[Pairs], Content]] = {
    "adaptation": adaptation,
    "few labels": few_labels,
    "outliers": outliers,
    "retrieval": retrieval,
    "regression": regression,
}
