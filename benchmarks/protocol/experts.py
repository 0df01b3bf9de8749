"""EFIGI's attributes: regression of the experts' values on features, and its scores.

EFIGI (Baillard et al. 2011, A&A 532, A74) gives for each galaxy the Hubble stage T from -6 to 11,
and 16 attributes from 0 to 1 in steps of 0.25. Each value has limits of its confidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from VAE_model.evaluation.bootstrap import bootstrap

STAGE = "T"
ATTRIBUTES = (
    "Bulge_to_Total", "Arm_Strength", "Arm_Curvature", "Arm_Rotation", "Bar_Length", "Inner_Ring",
    "Outer_Ring", "Pseudo_Ring", "Perturbation", "Visible_Dust", "Dust_Dispersion", "Flocculence",
    "Hot_Spots", "Inclination", "Contamination", "Multiplicity",
)  # fmt: skip
UNDETERMINED = -1.0  # of an attribute; a stage of -1 is S0+
_PENALTIES = np.logspace(-1, 5, 13)  # of ridge regression on standardised features


@dataclass(frozen=True)
class Attribute:
    """One attribute of all galaxies.

    step: of the experts' scale; value, low, high: the experts' value and its limits, (N,); train,
    test: rows of the galaxies whose value is determined.
    """

    name: str
    step: float
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    train: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def median(self) -> float:
        """Median of the training galaxies, as a prediction that looks at no image."""
        return float(np.median(self.value[self.train]))


def read_attributes(table: pd.DataFrame, tested: NDArray[np.bool_]) -> list[Attribute]:
    """Return the stage and the 16 attributes.

    table: columns <name>, <name>_inf, <name>_sup, one row per image; tested: the test split, (N,).
    """
    found = []
    for name in (STAGE, *ATTRIBUTES):
        value, low, high = (
            table[f"{name}{suffix}"].to_numpy(float) for suffix in ("", "_inf", "_sup")
        )
        known = np.isfinite(value) & ((name == STAGE) | (value != UNDETERMINED))
        rows = (np.flatnonzero(known & side) for side in (~tested, tested))
        found.append(Attribute(name, 1.0 if name == STAGE else 0.25, value, low, high, *rows))
    return found


def regress(
    attribute: Attribute, features: NDArray, seed: int, trees: int
) -> dict[str, NDArray[np.float64]]:
    """Return predictions of a random forest and of ridge regression for the test galaxies, (M,).

    features: (N, d). The forest tries the square root of d features at each split, as the
    classification forests do; the penalty of ridge regression is chosen by leave-one-out.
    """
    known, asked = features[attribute.train], features[attribute.test]
    value = attribute.value[attribute.train]
    forest = RandomForestRegressor(trees, max_features="sqrt", random_state=seed, n_jobs=-1)
    forest.fit(known, value).set_params(n_jobs=1)  # threads would add the trees in any order
    scaler = StandardScaler().fit(known)
    ridge = RidgeCV(_PENALTIES).fit(scaler.transform(known), value)
    return {"forest": forest.predict(asked), "linear": ridge.predict(scaler.transform(asked))}


def within_limits(attribute: Attribute, predicted: NDArray | float) -> NDArray[np.bool_]:
    """Return for each test galaxy whether the prediction lies within the experts' limits, (M,).

    It is rounded to the experts' scale before, as many limits are equal to the value.
    """
    rounded = np.round(np.asarray(predicted) / attribute.step) * attribute.step
    low, high = attribute.low[attribute.test], attribute.high[attribute.test]
    return (rounded >= low) & (rounded <= high)


def weighted_spearman(
    first: NDArray, second: NDArray, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Spearman's correlation of two samples (N,) repeated by weights (B, N): (B,).

    Ties have the mean of their ranks. Zero where one of the samples is constant.
    """
    ranks = []
    for sample in (first, second):
        _, place = np.unique(sample, return_inverse=True)
        counts = np.stack([np.bincount(place, w) for w in weights])
        ranks.append((counts.cumsum(axis=1) - counts / 2)[:, place])
    total = weights.sum(axis=1, keepdims=True)
    x, y = (rank - (weights * rank).sum(axis=1, keepdims=True) / total for rank in ranks)
    covariance = (weights * x * y).sum(axis=1)
    scale = np.sqrt((weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1))
    return np.divide(covariance, scale, out=np.zeros(len(weights)), where=scale > 0)


def draws_of(
    attributes: Sequence[Attribute], predicted: Sequence[NDArray | float], n_bootstrap: int
) -> dict[str, NDArray[np.float64]]:
    """Return scores of the sample and of resampled test galaxies, (1 + n_bootstrap, attributes).

    `spearman`: correlation with the experts' value; `within`: share within the experts' limits. A
    resampled galaxy counts in every attribute that is determined for it.
    """
    galaxies = np.unique(np.concatenate([attribute.test for attribute in attributes]))

    def scores(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.empty((len(weights), len(attributes), 2))
        for column, (attribute, values) in enumerate(zip(attributes, predicted, strict=True)):
            weight = weights[:, np.searchsorted(galaxies, attribute.test)]
            answers = np.broadcast_to(values, len(attribute.test))
            truth = attribute.value[attribute.test]
            found[:, column, 0] = weighted_spearman(answers, truth, weight)
            found[:, column, 1] = weight @ within_limits(attribute, answers) / weight.sum(axis=1)
        return found

    draws = bootstrap(scores, len(galaxies), n_bootstrap)
    return {"spearman": draws[..., 0], "within": draws[..., 1]}
