"""Questions of morphology: random forests on features, and their scores on other galaxies.

Forests are fitted on the galaxies of one split and scored on those of another. All scores of a set
of questions come from the same resampled test galaxies, so that every difference is paired.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn.ensemble import RandomForestClassifier

from VAE_model.evaluation.bootstrap import Estimate, bootstrap

Metric = Callable[[NDArray], NDArray]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Question:
    """The galaxies that train and test one question.

    answers: those with enough galaxies, in the question's order; codes below point into them;
    train, test: rows of the features, (N,); train_codes, test_codes: the answer of each;
    n_train, n_test: number of galaxies of every answer, also of the answers that were left out;
    too_few: the reason why the question gets no score, or empty.
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
        """Accuracy of predicting the majority class of the training galaxies on the test galaxies.

        Its balanced accuracy is 1 / number of answers. NaN where there are no galaxies.
        """
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
    """Return the question `name` for galaxies with `labels` (N,): text, null without an answer.

    split: `train`, `validation` or `test` of each galaxy, (N,); test: the split to score on.
    An answer with fewer than `min_answer` galaxies in either split is left out. The question gets
    no score (`too_few`) where fewer than two answers or `min_test` test galaxies remain.
    """
    given = pd.Series(labels).astype(object)
    label = given.where(given.notna(), None).to_numpy()
    split = np.asarray(split, object)
    n_train = {a: int(np.sum((label == a) & (split == "train"))) for a in answers}
    n_test = {a: int(np.sum((label == a) & (split == test))) for a in answers}
    kept = tuple(a for a in answers if min(n_train[a], n_test[a]) >= min_answer)
    codes = pd.Index(kept, dtype=object).get_indexer(label)
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
    """Return probabilities (M, K) of the K classes for test_x (M, d), and the sorted classes (K,).

    train_x: (N, d), train_y: (N,). Random forests with balanced class weights, averaged over
    `seeds`, because the scores of single forests differ.
    """
    probability = []
    for seed in seeds:
        forest = RandomForestClassifier(
            trees, class_weight="balanced", random_state=seed, n_jobs=-1
        )
        forest.fit(train_x, train_y)
        forest.n_jobs = 1  # threads would add the trees' probabilities in any order
        probability.append(forest.predict_proba(test_x))
    return np.mean(probability, axis=0), forest.classes_


def probabilities(
    question: Question, features: NDArray, seeds: Sequence[int], trees: int = 200
) -> NDArray[np.float64]:
    """Return the forest's probability of each answer for each test galaxy, (M, answers).

    features: (N, d), one row per galaxy, in the order of the labels of the question.
    """
    found, _ = forest_predict(
        features[question.train], question.train_codes, features[question.test], seeds, trees
    )
    return found  # its classes are all codes, as every answer has training galaxies


def answer(
    question: Question, features: NDArray, seeds: Sequence[int], trees: int = 200
) -> NDArray[np.int64]:
    """Return the forest's answer to each test galaxy of the question, as codes (M,)."""
    return probabilities(question, features, seeds, trees).argmax(axis=1)


def confusion_matrix(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return counts (K, K): galaxies of class i (rows) predicted as j (columns); codes from 0."""
    cells = np.bincount(truth * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes)


def balanced_accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Return the mean recall of the classes that have galaxies; confusion: (..., K, K)."""
    correct = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _mean_of_defined(correct, confusion.sum(axis=-1))


def macro_f1(confusion: NDArray) -> NDArray[np.float64]:
    """Return the mean over the classes of F1 = 2 TP / (2 TP + FP + FN); confusion: (..., K, K)."""
    correct = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _mean_of_defined(2 * correct, confusion.sum(axis=-1) + confusion.sum(axis=-2))


def accuracy(confusion: NDArray) -> NDArray[np.float64]:
    """Return the share of the galaxies that are classified correctly; confusion: (..., K, K)."""
    total = np.maximum(confusion.sum(axis=(-2, -1)), 1)
    return np.trace(confusion, axis1=-2, axis2=-1) / total


METRICS: tuple[Metric, ...] = (balanced_accuracy, macro_f1, accuracy)


def _mean_of_defined(above: NDArray, below: NDArray) -> NDArray[np.float64]:
    defined = below > 0
    ratios = np.divide(above, below, out=np.zeros(below.shape), where=defined)
    return ratios.sum(axis=-1) / np.maximum(defined.sum(axis=-1), 1)


@dataclass(frozen=True)
class Scores(Generic[Key]):
    """A metric of several sets of answers to the same questions, on the same resampled galaxies.

    answers: by key, the answers to each question, as codes of its test galaxies; draws: by key,
    (1 + n_bootstrap, questions), the score of the sample itself first.
    """

    questions: Sequence[Question]
    answers: Mapping[Key, Sequence[NDArray[np.int64]]]
    draws: Mapping[Key, NDArray[np.float64]]

    @classmethod
    def of(
        cls,
        questions: Sequence[Question],
        answers: Mapping[Key, Sequence[NDArray[np.int64]]],
        metric: Metric = balanced_accuracy,
        n_bootstrap: int = 1000,
        seed: int = 0,
    ) -> "Scores[Key]":
        """Score the answers; a resampled galaxy counts in every question that it belongs to."""
        galaxies = np.unique(np.concatenate([q.test for q in questions]))
        places = [np.searchsorted(galaxies, q.test) for q in questions]

        def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            found = np.empty((len(weights), len(questions), len(answers)))
            for column, (question, place) in enumerate(zip(questions, places, strict=True)):
                weight, k = weights[:, place], len(question.answers)
                for number, codes in enumerate(answers.values()):
                    cells = question.test_codes * k + codes[column]
                    confusion = weight @ (cells[:, None] == np.arange(k**2)).astype(float)
                    found[:, column, number] = metric(confusion.reshape(-1, k, k))
            return found

        draws = bootstrap(score, len(galaxies), n_bootstrap, seed)
        return cls(questions, answers, dict(zip(answers, np.moveaxis(draws, 2, 0), strict=True)))

    def estimate(self, key: Key, question: int | None = None) -> Estimate:
        """Return the score of one question, or the mean over the questions."""
        return Estimate.of(self.of_draws(key, question))

    def difference(self, after: Key, before: Key, question: int | None = None) -> Estimate:
        """Return the paired difference after - before."""
        return Estimate.of(self.of_draws(after, question) - self.of_draws(before, question))

    def of_draws(self, key: Key, question: int | None = None) -> NDArray[np.float64]:
        """Return the scores of the sample and of its resamples, (1 + n_bootstrap,)."""
        draws = self.draws[key]
        return draws.mean(axis=1) if question is None else draws[:, question]

    def correct(self, key: Key, question: int) -> NDArray[np.bool_]:
        """Return for each test galaxy of the question whether its answer is correct, (M,)."""
        return self.answers[key][question] == self.questions[question].test_codes

    def mcnemar(self, after: Key, before: Key, question: int) -> dict[str, float]:
        """Return McNemar's test between two sets of answers to one question."""
        gained, lost, p = mcnemar(self.correct(before, question), self.correct(after, question))
        return {"gained": gained, "lost": lost, "p": p}


def mcnemar(before_correct: ArrayLike, after_correct: ArrayLike) -> tuple[int, int, float]:
    """Return the galaxies gained and lost from before to after, and the two-sided p-value.

    The exact binomial test of McNemar 1947, Psychometrika 12, 153, on the same galaxies, (N,).
    """
    before, after = np.asarray(before_correct, bool), np.asarray(after_correct, bool)
    gained, lost = int(np.sum(~before & after)), int(np.sum(before & ~after))
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return gained, lost, float(p)
