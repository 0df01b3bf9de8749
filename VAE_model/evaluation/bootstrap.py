"""Bootstrap intervals: galaxies are resampled, and the score is computed on every resample.

Percentile intervals (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). They
contain the variation between samples of test galaxies, not between training samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 2**22  # weights in memory at a time


@dataclass(frozen=True)
class Estimate:
    """A value and the limits of its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, scores: ArrayLike) -> "Estimate":
        """Return the estimate from the scores of the sample (first) and of its resamples, (B,)."""
        scores = np.asarray(scores, float)
        low, high = np.percentile(scores[1:] if len(scores) > 1 else scores, [2.5, 97.5])
        return cls(float(scores[0]), float(low), float(high))

    @classmethod
    def read(cls, values: Mapping[str, float]) -> "Estimate":
        """Return the estimate from values of JSON; further keys do not count."""
        return cls(values["value"], values["low"], values["high"])

    @property
    def crosses_zero(self) -> bool:
        """True where the interval contains zero."""
        return self.low <= 0 <= self.high

    def __format__(self, spec: str) -> str:
        value, low, high = (format(v, spec or ".3f") for v in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], NDArray],
    count: int,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return a statistic of `count` galaxies and of their resamples, (1 + n_bootstrap, ...).

    statistic: maps weights (B, count), the number of times that each galaxy is drawn, to values
    (B, ...). The first weights are all one: the sample itself. Resamples come in blocks, so that
    memory does not grow with their number.
    """
    rng = np.random.default_rng(seed)
    even = np.full(count, 1 / count)
    values = [statistic(np.ones((1, count)))]
    block = max(1, _BLOCK // count)
    for first in range(0, n_bootstrap, block):
        size = min(block, n_bootstrap - first)
        values.append(statistic(rng.multinomial(count, even, size).astype(float)))
    return np.concatenate(values)


def weighted_median(values: NDArray, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of values (N,) that are repeated by weights (B, N) of one sum: (B,)."""
    order = np.argsort(values)
    below = weights[:, order].cumsum(axis=1)
    total = int(below[0, -1])
    middle = [(below <= place).sum(axis=1) for place in ((total - 1) // 2, total // 2)]
    return values[order][np.stack(middle)].mean(axis=0)


def weighted_auc(
    scores: NDArray, positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the area under the ROC curve of scores (N,) that are repeated by weights (B, N): (B,).

    It is the probability that a positive one has a larger score than a negative one, ties counting
    half.
    """
    values, place = np.unique(scores, return_inverse=True)
    count = len(values)
    ones = np.stack([np.bincount(place[positive], w[positive], count) for w in weights])
    zeros = np.stack([np.bincount(place[~positive], w[~positive], count) for w in weights])
    lower = zeros.cumsum(axis=1) - zeros / 2
    return (ones * lower).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1))
