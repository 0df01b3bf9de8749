"""R^2 of regressions of a quantity on features, for galaxies outside the training set.

R^2 = 1 - sum of squared errors / sum of squared deviations from the mean of the training galaxies
(Campbell & Thompson 2008, Rev. Financ. Stud. 21, 1509, eq. 1): 1 is a perfect prediction, 0 that of
the training mean, and a negative value is worse. Intervals are 95 %, of resampled test galaxies.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from VAE_model.evaluation.bootstrap import Estimate, bootstrap

_PENALTIES = np.logspace(-1, 5, 13)  # of the ridge; chosen by leave-one-out on training galaxies
_MIN_LEAF, _FEATURE_SHARE = 3, 1 / 3  # of the forest


@dataclass(frozen=True)
class Prediction:
    """R^2 of a quantity from all features together and from each alone.

    ridge, forest: from all features (forest: None where none was fitted); single: from each feature
    by simple linear regression; best: the feature that explains most of the training galaxies;
    n_train, n_test: number of galaxies.
    """

    ridge: Estimate
    forest: Estimate | None
    single: list[Estimate]
    best: int
    n_train: int
    n_test: int


def predict(
    features: NDArray, values: NDArray, train: NDArray[np.bool_], test: NDArray[np.bool_],
    trees: int = 100, n_bootstrap: int = 1000, seed: int = 0,
) -> Prediction:  # fmt: skip
    """Predict values (N, parts) from features (N, d); a galaxy with a NaN is left out.

    train, test: (N,). The two parts of an angle are scored together. trees: of the forest, 0 for
    none.
    """
    defined = np.isfinite(values).all(axis=1)
    train, test = train & defined, test & defined
    scale = StandardScaler().fit(features[train])
    x, test_x = scale.transform(features[train]), scale.transform(features[test])
    y, truth = values[train], values[test]
    slopes = x.T @ (y - y.mean(axis=0)) / len(x)  # (d, parts), as each feature has unit variance
    model = RidgeCV(_PENALTIES, alpha_per_target=True).fit(x, y)
    predicted = [
        model.predict(test_x).reshape(len(truth), 1, -1),
        y.mean(axis=0) + test_x[:, :, None] * slopes,  # of each feature alone, (M, d, parts)
    ]
    if trees:
        forest = RandomForestRegressor(
            trees, min_samples_leaf=_MIN_LEAF, max_features=_FEATURE_SHARE, random_state=seed,
            n_jobs=-1,
        )  # fmt: skip
        forest.fit(x, y if y.shape[1] > 1 else y[:, 0])
        forest.n_jobs = 1  # threads would add the trees' predictions in any order
        predicted.append(forest.predict(test_x).reshape(len(truth), 1, -1))
    ridge, *others = r_squared(
        np.concatenate(predicted, axis=1), truth, y.mean(axis=0), n_bootstrap, seed
    )
    single = others[: x.shape[1]]
    best = int(np.square(slopes).sum(axis=1).argmax())
    return Prediction(ridge, others[-1] if trees else None, single, best, len(x), len(truth))


def r_squared(
    predicted: NDArray, truth: NDArray, mean: NDArray, n_bootstrap: int = 1000, seed: int = 0
) -> list[Estimate]:
    """Return R^2 of several predictions (M, predictions, parts) of the truth (M, parts).

    mean: of the training galaxies, (parts,).
    """
    errors = np.square(predicted - truth[:, None]).sum(axis=2)
    spread = np.square(truth - mean).sum(axis=1)
    least = 1e-12 * max(float(spread.sum()), 1e-300)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 - weights @ errors / np.maximum(weights @ spread, least)[:, None]

    return [Estimate.of(of) for of in bootstrap(statistic, len(truth), n_bootstrap, seed).T]
