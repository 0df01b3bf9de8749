"""How much features tell of a quantity: R^2 of regressions on galaxies that they never saw.

R^2 = 1 - sum of squared errors / sum of squared deviations from the mean of the training galaxies
(Campbell & Thompson 2008, Rev. Financ. Stud. 21, 1509, eq. 1): 1 knows all, 0 is what always
saying the training mean gives, and below that lies what misleads. Intervals are 95 %, of resampled
test galaxies.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from VAE_model.evaluation.classification import Estimate

_PENALTIES = np.logspace(-1, 5, 13)  # of the ridge; the best by leave-one-out on training galaxies
_LEAF, _SHARE = 3, 1 / 3  # of the forest: galaxies of a leaf, features that a split looks at


@dataclass(frozen=True)
class Told:
    """What all features together tell (ridge; forest, where one was asked for), and what each alone
    does (single, one a feature, by simple linear regression); best: the feature that tells most of
    the training galaxies; n: galaxies that were learned from, and asked about."""

    ridge: Estimate
    forest: Estimate | None
    single: list[Estimate]
    best: int
    n_train: int
    n_test: int


def tell(
    features: NDArray, values: NDArray, train: NDArray[np.bool_], test: NDArray[np.bool_],
    trees: int = 100, draws: int = 1000, seed: int = 0,
) -> Told:  # fmt: skip
    """Ask features (N, d) for values (N, parts), which count only where none is NaN.

    train, test: (N,). An angle's two parts are scored together. trees: of the forest, 0 for none.
    """
    defined = np.isfinite(values).all(axis=1)
    train, test = train & defined, test & defined
    scale = StandardScaler().fit(features[train])
    x, asked = scale.transform(features[train]), scale.transform(features[test])
    y, truth = values[train], values[test]
    slopes = x.T @ (y - y.mean(axis=0)) / len(x)  # (d, parts), as each feature has unit variance
    alone = y.mean(axis=0) + asked[:, :, None] * slopes  # (M, d, parts)
    said = [ridge(x, y, asked)[:, None], alone]
    if trees:
        forest = RandomForestRegressor(
            trees, min_samples_leaf=_LEAF, max_features=_SHARE, random_state=seed, n_jobs=-1
        )
        forest.fit(x, y if y.shape[1] > 1 else y[:, 0])
        said.append(forest.predict(asked).reshape(len(truth), 1, -1))
    found = r_squared(np.concatenate(said, axis=1), truth, y.mean(axis=0), draws, seed)
    number = x.shape[1]
    grown = found[number + 1] if trees else None
    best = int(np.square(slopes).sum(axis=1).argmax())
    return Told(found[0], grown, found[1 : number + 1], best, len(x), len(truth))


def ridge(x: NDArray, y: NDArray, asked: NDArray) -> NDArray[np.float64]:
    """What a ridge regression, learned from x (N, d) and y (N, parts), says of `asked` (M, d)."""
    model = RidgeCV(_PENALTIES, alpha_per_target=True).fit(x, y)
    return model.predict(asked).reshape(len(asked), -1)


def r_squared(
    said: NDArray, truth: NDArray, mean: NDArray, draws: int = 1000, seed: int = 0
) -> list[Estimate]:
    """R^2 of several predictions (M, predictions, parts) of the truth (M, parts), whose training
    galaxies have the mean (parts,)."""
    errors = np.square(said - truth[:, None]).sum(axis=2)
    spread = np.square(truth - mean).sum(axis=1)
    times = resampled(len(truth), draws, seed)
    total = np.maximum(times @ spread, 1e-12 * max(float(spread.sum()), 1e-300))
    drawn = 1 - times @ errors / total[:, None]
    value = 1 - errors.sum(axis=0) / max(float(spread.sum()), 1e-300)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [Estimate(*map(float, one)) for one in zip(value, low, high, strict=True)]


def resampled(count: int, draws: int, seed: int) -> NDArray[np.float64]:
    """How often each of `count` galaxies is drawn in each bootstrap draw: (draws, count)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), draws).astype(float)
