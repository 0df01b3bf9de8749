"""Scores of features of another program beside the latents.

Every score is a record: the values of all rivals on the same galaxies, with intervals, and the
paired differences of the features from the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from VAE_model.data.sky import close_pairs
from VAE_model.evaluation import outliers
from VAE_model.evaluation.bootstrap import Estimate, bootstrap, weighted_auc
from VAE_model.evaluation.classification import (
    Question,
    Scores,
    answer,
    balanced_accuracy,
    confusion_matrix,
    macro_f1,
)
from VAE_model.evaluation.similarity import nearest, nearest_others

THEIRS, OURS, PCA = "features", "latents", "pca"
MEASURES = {"balanced accuracy": balanced_accuracy, "macro F1": macro_f1}
Record = dict[str, Any]
Draws = Mapping[str, NDArray[np.float64]]  # by rival: a score, and that of each resample


@dataclass(frozen=True)
class Rivals:
    """The galaxies that all rivals are scored on.

    table: one row per galaxy, N; numbers: of each rival, (N, d), in which classifiers are fitted;
    places: the same in units of distances; n_bootstrap, seed: of the resamples.
    """

    table: pd.DataFrame
    numbers: dict[str, NDArray[np.float32]]
    places: dict[str, NDArray[np.float32]]
    n_bootstrap: int = 1000
    seed: int = 0

    @property
    def train(self) -> NDArray[np.bool_]:
        """True for the galaxies of the train split, (N,)."""
        return (self.table["split"] == "train").to_numpy()


def record(
    measure: str, question: str, n: int, chance: float, draws: Draws, by: str = ""
) -> Record:
    """Return a score of each rival, and the paired differences of the features from the others.

    n: galaxies; chance: the score of the majority class, or of a random order; by: the classifier.
    """
    scores = {name: Estimate.of(of) for name, of in draws.items()}
    minus = {f"minus_{name}": Estimate.of(draws[THEIRS] - draws[name]) for name in (OURS, PCA)}
    return {"measure": measure, "question": question, "by": by, "n": n, "chance": chance,
            **scores, **minus}  # fmt: skip


def of_answers(
    rivals: Rivals, questions: Sequence[Question], seeds: Sequence[int], trees: int
) -> list[Record]:
    """Return the scores of forests and of logistic regression: each question, and their mean.

    Both are fitted on the training galaxies with balanced class weights; the forests, one for each
    of `seeds`, are averaged, and logistic regression is given standardised numbers. Chance: the
    score of predicting the majority class of the training galaxies.
    """
    codes: dict[str, dict[str, list[NDArray[np.int64]]]] = {"forest": {}, "logistic": {}}
    for name, numbers in tqdm(rivals.numbers.items(), desc="classifiers", unit="rival"):
        scaled = StandardScaler().fit(numbers[rivals.train]).transform(numbers)
        linear = LogisticRegression(class_weight="balanced", max_iter=2000)
        codes["forest"][name] = [answer(q, numbers, seeds, trees) for q in questions]
        codes["logistic"][name] = [
            linear.fit(scaled[q.train], q.train_codes).predict(scaled[q.test]) for q in questions
        ]
    records = []
    for measure, metric in MEASURES.items():
        chances = [float(metric(_of_majority(question))) for question in questions]
        for head, found in codes.items():
            scores = Scores.of(questions, found, metric, rivals.n_bootstrap, rivals.seed)
            for number, question in enumerate(questions):
                draws = {name: scores.of_draws(name, number) for name in found}
                n, chance = len(question.test), chances[number]
                records.append(record(measure, question.name, n, chance, draws, head))
            if len(questions) > 1:
                draws = {name: scores.of_draws(name) for name in found}
                n = len(np.unique(np.concatenate([q.test for q in questions])))
                mean = f"mean of {len(questions)}"
                records.append(record(measure, mean, n, float(np.mean(chances)), draws, head))
    return records


def _of_majority(question: Question) -> NDArray[np.int64]:
    """Return the confusion matrix of predicting the majority class of the training galaxies."""
    most = np.full(len(question.test), np.bincount(question.train_codes).argmax())
    return confusion_matrix(question.test_codes, most, len(question.answers))


def mean_of_classes(
    weights: NDArray[np.float64], values: NDArray[np.float64], codes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean over the classes of the mean value of their galaxies, (B,).

    weights: (B, N), times that each galaxy is drawn; values, codes (of the class): (N,).
    """
    member = codes[:, None] == np.unique(codes)
    count = weights @ member
    means = (weights * values) @ member / np.maximum(count, 1)
    return means.sum(axis=1) / np.maximum((count > 0).sum(axis=1), 1)


def of_neighbours(rivals: Rivals, questions: Sequence[Question], count: int) -> list[Record]:
    """Return the share of the `count` nearest training galaxies with the same answer.

    It is the mean over the test galaxies of each answer, and over the answers of each question.
    """
    records = []
    for question in questions:
        codes, draws = question.test_codes, {}
        for name, places in rivals.places.items():
            near, _ = nearest(places[question.train], places[question.test], count)
            same = (question.train_codes[near] == codes[:, None]).mean(axis=1)
            score = partial(mean_of_classes, values=same, codes=codes)
            draws[name] = bootstrap(score, len(codes), rivals.n_bootstrap, rivals.seed)
        measure, chance = f"same answer among {count} neighbours", 1 / len(question.answers)
        records.append(record(measure, question.name, len(codes), chance, draws))
    return records


def of_outliers(rivals: Rivals, bad: NDArray[np.bool_]) -> list[Record]:
    """Return how well the rank by distance and isolation finds bad images, (N,).

    As the area under the ROC curve, and as the share of the n highest ranked images that are among
    the n bad ones. Empty where no image or every image is bad.
    """
    count = int(bad.sum())
    if not 0 < count < len(bad):
        return []
    areas, shares = {}, {}
    for name, numbers in rivals.numbers.items():
        scores = (
            outliers.mahalanobis(numbers, rivals.train),
            outliers.isolation(numbers, rivals.train),
        )
        unusual = outliers.combined(*scores)
        top = outliers.rank(unusual) <= count

        def area(weights: NDArray, unusual: NDArray = unusual) -> NDArray:
            some = (weights @ bad > 0) & (weights @ ~bad > 0)  # else there is no curve
            found = np.full(len(weights), 0.5)
            found[some] = weighted_auc(unusual, bad, weights[some])
            return found

        def share(weights: NDArray, top: NDArray = top) -> NDArray:
            return (weights @ (top & bad)) / np.maximum(weights @ top, 1)

        resample = (len(bad), rivals.n_bootstrap, rivals.seed)
        areas[name], shares[name] = bootstrap(area, *resample), bootstrap(share, *resample)
    what, highest = f"{count:,} injected defects", f"precision of the {count:,} highest ranked"
    return [
        record("AUC of the outlier rank", what, len(bad), 0.5, areas),
        record(highest, what, len(bad), count / len(bad), shares),
    ]


def of_retrieval(rivals: Rivals, radius: float) -> list[Record]:
    """Return how often the nearest of all images is the other image of the same galaxy.

    radius: arcsec within which two images are of the same galaxy. Empty where no galaxy has two.
    """
    pairs = close_pairs(rivals.table["ra"], rivals.table["dec"], radius)
    if not len(pairs):
        return []
    good, draws = np.full(len(rivals.table), True), {}
    for name, places in rivals.places.items():
        found = [nearest_others(places, good, places[one], one, 1)[0][:, 0] for one in pairs.T]
        hits = np.mean([found[0] == pairs[:, 1], found[1] == pairs[:, 0]], axis=0)
        mean = partial(mean_of_classes, values=hits, codes=np.zeros(len(hits), int))
        draws[name] = bootstrap(mean, len(pairs), rivals.n_bootstrap, rivals.seed)
    chance = 1 / (len(rivals.table) - 1)
    return [record("recall at 1", "two images of a galaxy", len(pairs), chance, draws)]
