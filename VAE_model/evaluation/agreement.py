"""Agreement of the latents of the same galaxies in two surveys."""

from dataclasses import dataclass

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from VAE_model.evaluation.bootstrap import Estimate, bootstrap, weighted_auc, weighted_median
from VAE_model.training.losses import mmd

_FOLDS = 5
_MAX_MMD = 2000  # galaxies that the maximum mean discrepancy is measured on, at most


@dataclass(frozen=True)
class Agreement:
    """Measures of N galaxies that are seen in two surveys.

    distance: between a galaxy's two latents, root mean square over the latents in units of each
    latent's standard deviation, (N,); independent galaxies are about sqrt(2) apart;
    correlation: of the two, for each latent, (d,);
    rank: number of other galaxies of the first survey that are nearer to its second latents, (N,);
    survey_score: probability of the second survey from a classifier that was trained on other
    galaxies, (2, N), for the first survey's latents first; from a forest or a logistic regression,
    whichever separates the surveys better;
    mmd: squared maximum mean discrepancy in units of the standard deviation.
    """

    distance: NDArray[np.float64]
    correlation: NDArray[np.float64]
    rank: NDArray[np.int64]
    survey_score: NDArray[np.float64]
    mmd: float

    @property
    def auc(self) -> float:
        """Area under the ROC curve of the survey's classifier: 0.5 is chance, 1 perfect."""
        return _auc(self.survey_score)


def agreement(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    deviation: NDArray[np.floating],
    seed: int = 0,
) -> Agreement:
    """Measure the agreement of latents (N, d) of the same galaxies in two surveys.

    deviation: standard deviation of each latent over the first survey's training galaxies, (d,).
    """
    one, two = (np.asarray(side, float) / np.maximum(deviation, 1e-6) for side in (first, second))
    distance = np.linalg.norm(one - two, axis=1)
    near = cKDTree(one).query_ball_point(
        two, distance * (1 + 1e-12) + 1e-12, workers=-1, return_length=True
    )
    some = np.random.default_rng(seed).permutation(len(one))[:_MAX_MMD]
    product = ((one - one.mean(axis=0)) * (two - two.mean(axis=0))).mean(axis=0)
    return Agreement(
        distance / np.sqrt(one.shape[1]),
        product / np.maximum(one.std(axis=0) * two.std(axis=0), 1e-12),
        np.maximum(np.asarray(near, int) - 1, 0),
        _classify_survey(one, two, seed),
        float(mmd(torch.from_numpy(one[some]), torch.from_numpy(two[some]))),
    )


def _classify_survey(
    one: NDArray[np.float64], two: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return the scores (2, N) of the better of two classifiers of the survey.

    Cross-validated with both images of a galaxy in one fold, so that no galaxy is recognised.
    """
    count = len(one)
    folds = min(_FOLDS, count)
    if folds < 2:
        return np.full((2, count), 0.5)
    features, survey = np.vstack([one, two]), np.repeat([0, 1], count)
    scores = []
    for classifier in (
        RandomForestClassifier(200, random_state=seed),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    ):
        # Threads for the folds, not for the trees, whose probabilities they would add in any order.
        with joblib.parallel_config(backend="threading", n_jobs=-1):
            found = cross_val_predict(
                classifier, features, survey, groups=np.tile(np.arange(count), 2),
                cv=GroupKFold(folds), method="predict_proba",
            )  # fmt: skip
        scores.append(found[:, 1].reshape(2, count))
    return max(scores, key=_auc)


def _auc(score: NDArray[np.float64]) -> float:
    return float(_weighted_auc(score, np.ones((1, score.shape[1])))[0])


def _weighted_auc(score: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the AUC of the survey, with galaxies repeated by weights (B, N) in both: (B,)."""
    second = np.arange(score.size) >= score.shape[1]
    return weighted_auc(score.ravel(), second, np.tile(weights, (1, 2)))


def intervals(found: Agreement, n_bootstrap: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return median distance, recall at 1 and 10, and AUC, with 95 % bootstrap intervals.

    The maximum mean discrepancy has no interval: it is a property of the two samples.
    """
    measures = {
        "distance": lambda weights: weighted_median(found.distance, weights),
        "recall_at_1": lambda weights: weights @ (found.rank < 1) / len(found.rank),
        "recall_at_10": lambda weights: weights @ (found.rank < 10) / len(found.rank),
        "auc": lambda weights: _weighted_auc(found.survey_score, weights),
    }
    return {
        name: Estimate.of(bootstrap(measure, len(found.distance), n_bootstrap, seed))
        for name, measure in measures.items()
    }
