"""How well features answer a question: a random forest, and how sure the score is.

Features are fitted on the galaxies of one split and scored on those of another. Scores come with
bootstrap intervals over the test galaxies (percentiles, Efron & Tibshirani 1993, chapter 13);
differences are paired on the same galaxies. Intervals hold the scatter of other test galaxies,
not that of another training sample.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn.ensemble import RandomForestClassifier

Metric = Callable[[NDArray], NDArray]


@dataclass(frozen=True)
class Estimate:
    """A value and the limits of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def crosses_zero(self) -> bool:
        return self.low <= 0 <= self.high

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Question:
    """Which galaxies train and test one question.

    answers: those with galaxies enough, in the question's order; codes below point into them;
    train, test: rows of the features, (N,); train_codes, test_codes: the answer of each;
    n_train, n_test: galaxies of every answer, also of the answers that were left out;
    too_few: why the question gets no score, or empty.
    """

    name: str
    answers: tuple[str, ...]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    train_codes: NDArray[np.int64]
    test_codes: NDArray[np.int64]
    n_train: dict[str, int]
    n_test: dict[str, int]
    too_few: str

    @property
    def majority(self) -> float:
        """Accuracy on the test galaxies of always giving the training galaxies' commonest answer,
        whose balanced accuracy is 1 / number of answers; NaN where there are no galaxies."""
        if not len(self.train) or not len(self.test):
            return float("nan")
        return float(np.mean(self.test_codes == np.bincount(self.train_codes).argmax()))


def set_question(
    name: str,
    answers: Sequence[str],
    labels: ArrayLike,
    split: ArrayLike,
    test: str = "test",
    min_answer: int = 5,
    min_test: int = 50,
) -> Question:
    """The question `name` for galaxies with `labels` (N,), text, null where without an answer.

    split: `train`, `validation` or `test` of each galaxy, (N,); test: the one that is scored on.
    An answer with fewer than `min_answer` galaxies in either split is left out. The question gets
    no score (`too_few`) where fewer than two answers or `min_test` test galaxies remain.
    """
    given = pd.Series(labels).astype(object)
    said = given.where(given.notna(), None).to_numpy()
    split = np.asarray(split, object)
    n_train = {a: int(np.sum((said == a) & (split == "train"))) for a in answers}
    n_test = {a: int(np.sum((said == a) & (split == test))) for a in answers}
    kept = tuple(a for a in answers if min(n_train[a], n_test[a]) >= min_answer)
    codes = np.full(len(said), -1)
    for code, answer in enumerate(kept):
        codes[said == answer] = code
    train = np.flatnonzero((codes >= 0) & (split == "train"))
    tested = np.flatnonzero((codes >= 0) & (split == test))
    too_few = ""
    if len(kept) < 2:
        too_few = f"fewer than 2 answers have {min_answer} train and {min_answer} {test} galaxies"
    elif len(tested) < min_test:
        too_few = f"{len(tested)} {test} galaxies, fewer than {min_test}"
    return Question(
        name, kept, train, tested, codes[train], codes[tested], n_train, n_test, too_few
    )


def forest_predict(
    train_x: NDArray, train_y: NDArray, test_x: NDArray, seeds: Sequence[int], trees: int = 200
) -> tuple[NDArray[np.float64], NDArray]:
    """Probabilities (M, K) of the K classes for test_x (M, d), and the classes (K,), sorted.

    train_x: (N, d), train_y: (N,). Random forests with balanced class weights, averaged over
    `seeds`, as the luck of one of some hundred trees moves a score by some 0.02.
    """
    parts = []
    for seed in seeds:
        forest = RandomForestClassifier(
            trees, class_weight="balanced", random_state=seed, n_jobs=-1
        )
        forest.fit(train_x, train_y)
        parts.append(forest.predict_proba(test_x))
    return np.mean(parts, axis=0), forest.classes_


def probabilities(
    question: Question, features: NDArray, seeds: Sequence[int], trees: int = 200
) -> NDArray[np.float64]:
    """The forest's probability of each answer for each test galaxy of the question, (M, answers).

    features: (N, d), a row a galaxy, in the order of the labels that the question was set with.
    """
    found, _ = forest_predict(
        features[question.train], question.train_codes, features[question.test], seeds, trees
    )
    return found  # its classes are all codes, as every answer has training galaxies


def answer(
    question: Question, features: NDArray, seeds: Sequence[int], trees: int = 200
) -> NDArray[np.int64]:
    """The forest's answer to each test galaxy of the question, as codes (M,)."""
    return probabilities(question, features, seeds, trees).argmax(axis=1)


def confusion_matrix(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts (K, K): galaxies of class i (rows) that were called j (columns); codes from 0."""
    cells = np.bincount(truth * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes)


def balanced_accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Mean over the classes of the share that is recognised; confusion: (..., K, K).

    Classes without a galaxy do not count.
    """
    found = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _mean_of_defined(found, confusion.sum(axis=-1))


def macro_f1(confusion: NDArray) -> NDArray[np.float64]:
    """Mean over the classes of F1 = 2 TP / (2 TP + FP + FN); confusion: (..., K, K)."""
    found = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _mean_of_defined(2 * found, confusion.sum(axis=-1) + confusion.sum(axis=-2))


def accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Share of the galaxies that are recognised; confusion: (..., K, K)."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def _mean_of_defined(above: NDArray, below: NDArray) -> NDArray[np.float64]:
    defined = below > 0
    ratios = np.divide(above, below, out=np.zeros(below.shape), where=defined)
    return ratios.sum(axis=-1) / np.maximum(defined.sum(axis=-1), 1)


def bootstrap_interval(
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    classes: int,
    metric: Metric = balanced_accuracy,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """A metric of the confusion matrix with the 95 % interval of resampled test galaxies."""
    value = float(metric(confusion_matrix(truth, predicted, classes)))
    (counts,) = _resample((truth * classes + predicted)[None], [classes**2], draws, seed)
    return _estimate(value, metric(counts.reshape(-1, classes, classes)))


@dataclass(frozen=True)
class Pair:
    """Two lists of answers to one question: codes (M,) of `classes` answers.

    galaxy: which galaxy each is, (M,), so that a galaxy that several questions ask about is drawn
    into all of them or none.
    """

    galaxy: NDArray[np.int64]
    truth: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    classes: int


@dataclass(frozen=True)
class Comparison:
    """A score before and after, and after - before, each with its interval."""

    before: Estimate
    after: Estimate
    difference: Estimate


def paired_difference(
    pairs: Sequence[Pair], metric: Metric = balanced_accuracy, draws: int = 1000, seed: int = 0
) -> Comparison:
    """A metric of both lists of answers and its difference, averaged over the questions.

    The galaxies are resampled, both answers and all questions of a galaxy together.
    """
    galaxies = np.unique(np.concatenate([pair.galaxy for pair in pairs]))
    cells = np.full((len(pairs), len(galaxies)), -1)  # -1: a question does not ask about a galaxy
    for column, pair in zip(cells, pairs, strict=True):
        triple = (pair.truth * pair.classes + pair.before) * pair.classes + pair.after
        column[np.searchsorted(galaxies, pair.galaxy)] = triple
    resampled = _resample(cells, [pair.classes**3 for pair in pairs], draws, seed)
    scores = np.zeros((2, 1 + draws))  # before and after; the value itself, then the draws
    for column, pair, drawn in zip(cells, pairs, resampled, strict=True):
        k = pair.classes
        observed = np.bincount(column[column >= 0], minlength=k**3)
        cube = np.vstack([observed, drawn]).reshape(-1, k, k, k)  # truth, before, after
        scores += np.stack([metric(cube.sum(axis=3)), metric(cube.sum(axis=2))]) / len(pairs)
    before, after = scores
    return Comparison(*(_estimate(v[0], v[1:]) for v in (before, after, after - before)))


METRICS: tuple[Metric, ...] = (balanced_accuracy, macro_f1, accuracy)


@dataclass(frozen=True)
class Result:
    """One question, its test galaxies' answers from two feature sets, and how the two compare.

    compared: by the name of the metric (balanced_accuracy, macro_f1, accuracy);
    probability: of each answer by the second feature set, (M, answers).
    """

    question: Question
    pair: Pair
    compared: dict[str, Comparison]
    probability: NDArray[np.float64]


def compare_features(
    question: Question,
    before: NDArray,
    after: NDArray,
    seeds: Sequence[int],
    trees: int = 200,
    draws: int = 1000,
    seed: int = 0,
) -> Result:
    """Forests on two feature sets (N, d) and (N, e) of the same galaxies, on the same split."""
    first = answer(question, before, seeds, trees)
    probability = probabilities(question, after, seeds, trees)
    second = probability.argmax(axis=1)
    pair = Pair(question.test, question.test_codes, first, second, len(question.answers))
    compared = {m.__name__: paired_difference([pair], m, draws, seed) for m in METRICS}
    return Result(question, pair, compared, probability)


def mcnemar(before_correct: ArrayLike, after_correct: ArrayLike) -> tuple[int, int, float]:
    """Galaxies gained and lost from before to after, and the two-sided p of so uneven a change.

    The exact binomial test of McNemar 1947, Psychometrika 12, 153, on the same galaxies, (N,).
    """
    before, after = np.asarray(before_correct, bool), np.asarray(after_correct, bool)
    gained, lost = int(np.sum(~before & after)), int(np.sum(before & ~after))
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return gained, lost, float(p)


def _resample(
    cells: NDArray[np.int64], sizes: Sequence[int], draws: int, seed: int
) -> list[NDArray[np.float64]]:
    """Bootstrap counts of each cell: per question (draws, size); a cell of -1 counts nowhere.

    cells: the cell of each galaxy in each question, (questions, N). Galaxies that are alike in
    all questions are interchangeable, so the number of times that each kind is drawn is
    multinomial: the same as drawing galaxies one by one, without the cost of doing it.
    """
    kinds, number = np.unique(cells.T, axis=0, return_counts=True)
    total = int(number.sum())
    drawn = np.random.default_rng(seed).multinomial(total, number / total, size=draws)
    drawn = drawn.astype(float)  # exact, and products of floats are far faster than of integers
    counts = []
    for question, size in enumerate(sizes):
        indicator = kinds[:, question, None] == np.arange(size)
        counts.append(drawn @ indicator.astype(float))
    return counts


def _estimate(value: float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))
