"""How alike the latents of the same galaxies are in two surveys."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from VAE_model.scores import Estimate
from VAE_model.training.losses import mmd

_FOLDS = 5
_MOST = 2000  # galaxies that the discrepancy is measured on


@dataclass(frozen=True)
class Agreement:
    """Of N galaxies seen in two surveys.

    distance: between a galaxy's two views, root mean square over the latents in units of each
    latent's scatter, (N,); independent galaxies are about sqrt(2) apart;
    correlation: of the two views, for each latent, (d,);
    rank: how many other galaxies of the first survey are nearer to its second view, (N,);
    survey_score: what a classifier, trained on other galaxies, thinks of a view being the second
    survey's: (2, N), first survey's views first; the one of a forest and a logistic regression
    that tells the surveys apart better;
    mmd: squared maximum mean discrepancy in units of the scatter.
    """

    distance: NDArray[np.float64]
    correlation: NDArray[np.float64]
    rank: NDArray[np.int64]
    survey_score: NDArray[np.float64]
    mmd: float

    @property
    def auc(self) -> float:
        """How well the surveys can be told apart: 0.5 not at all, 1 always."""
        return _auc(self.survey_score)


def agreement(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    scatter: NDArray[np.floating],
    seed: int = 0,
) -> Agreement:
    """first, second: latents (N, d) of the same galaxies; scatter (d,): of the training galaxies
    in the first survey."""
    one, two = (np.asarray(side, float) / np.maximum(scatter, 1e-6) for side in (first, second))
    tree = cKDTree(one)
    distance = np.linalg.norm(one - two, axis=1)
    rank = [
        len(near) - 1
        for near in tree.query_ball_point(two, distance * (1 + 1e-12) + 1e-12, workers=-1)
    ]
    some = np.random.default_rng(seed).permutation(len(one))[:_MOST]
    spread = np.maximum(one.std(axis=0) * two.std(axis=0), 1e-12)
    product = ((one - one.mean(axis=0)) * (two - two.mean(axis=0))).mean(axis=0)
    return Agreement(
        distance / np.sqrt(one.shape[1]),
        product / spread,
        np.maximum(np.array(rank, int), 0),
        _tell_apart(one, two, seed),
        float(mmd(torch.from_numpy(one[some]), torch.from_numpy(two[some]))),
    )


def _tell_apart(
    one: NDArray[np.float64], two: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Scores (2, N) of the better of two classifiers, cross-validated with both views of a galaxy
    in one fold, so that none is recognised."""
    count = len(one)
    folds = min(_FOLDS, count)
    if folds < 2:
        return np.full((2, count), 0.5)
    features, survey = np.vstack([one, two]), np.repeat([0, 1], count)
    galaxy = np.tile(np.arange(count), 2)
    scores = []
    for classifier in (
        RandomForestClassifier(200, random_state=seed, n_jobs=-1),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    ):
        found = cross_val_predict(
            classifier, features, survey, groups=galaxy, cv=GroupKFold(folds),
            method="predict_proba",
        )  # fmt: skip
        scores.append(found[:, 1].reshape(2, count))
    return max(scores, key=_auc)


def _auc(score: NDArray[np.float64]) -> float:
    return float(roc_auc_score(np.repeat([0, 1], score.shape[1]), score.ravel()))


def intervals(found: Agreement, draws: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """The measures with 95 % intervals of resampled galaxies: median distance, median correlation,
    recall at 1 and 10, and the AUC. (The discrepancy has none: it is of the two samples.)"""
    rng = np.random.default_rng(seed)
    count = len(found.distance)
    drawn = rng.integers(0, count, (draws, count))
    measures = {
        "distance": lambda rows: np.median(found.distance[rows]),
        "recall_at_1": lambda rows: (found.rank[rows] < 1).mean(),
        "recall_at_10": lambda rows: (found.rank[rows] < 10).mean(),
        "auc": lambda rows: _auc(found.survey_score[:, rows]),
    }
    every = np.arange(count)
    return {
        name: Estimate(
            float(measure(every)),
            *(float(v) for v in np.percentile([measure(rows) for rows in drawn], [2.5, 97.5])),
        )
        for name, measure in measures.items()
    }
