"""Retrieval of a galaxy's other image among few pairs; what is fitted is fitted on the others."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from VAE_model.transfer import alignment

_FOLDS = 5
_CONSTANT = 1e-6  # of the largest standard deviation: a number below it does not vary

Numbers = NDArray[np.floating]
Moved = tuple[NDArray[np.float64], NDArray[np.float64]]  # matrix (d, d), offset (d,)
# From the rows of the galaxies that may be used, (M,), to the numbers of all N galaxies in the
# first survey and in the second, (N, d) each.
Source = Callable[[NDArray[np.int64]], tuple[Numbers, Numbers]]


class Match(NamedTuple):
    """The second survey's images of N galaxies among the first survey's, each galaxy left out once.

    rank: other galaxies that are as near or nearer; 0: found; nearest: the nearest galaxy;
    distance: to the galaxy's own image, root mean square in standard deviations; other: the median
    distance to images of other galaxies; moved: the second survey's numbers after the map, (N, d).
    """

    rank: NDArray[np.int64]
    nearest: NDArray[np.int64]
    distance: NDArray[np.float64]
    other: NDArray[np.float64]
    moved: NDArray[np.float64]


# ---- maps from the second survey's numbers to the first's, (M, d) each, row by row


def per_latent(source: Numbers, target: Numbers) -> Moved:
    """Return the least squares regression of each number on itself, by the pairs."""
    one, two = source - source.mean(axis=0), target - target.mean(axis=0)
    slope = (one * two).sum(axis=0) / np.maximum(np.square(one).sum(axis=0), 1e-30)
    return np.diag(slope).astype(float), target.mean(axis=0) - slope * source.mean(axis=0)


def ridge(source: Numbers, target: Numbers) -> Moved:
    """Return the ridge regression of all numbers on all, by the pairs.

    Numbers count in units of their standard deviations; the strength is chosen by leaving one out.
    """
    one, two = (np.maximum(side.std(axis=0), 1e-12) for side in (source, target))
    fitted = RidgeCV(np.logspace(-2, 4, 13)).fit(source / one, target / two)
    matrix = two[:, None] * np.atleast_2d(fitted.coef_) / one
    return matrix, two * fitted.intercept_


METHODS: dict[str, alignment.Map | None] = {
    "none": None,
    "standardise": alignment.standardise,
    "coral": alignment.coral,
    "per latent": per_latent,
    "ridge": ridge,
}


# ---- measures


def match(numbers: Source, count: int, method: alignment.Map | None = None) -> Match:
    """Look for the second image of each of `count` galaxies among all first images.

    The map, the standard deviations, and what `numbers` fits are of the other galaxies. method:
    computes the map of the second images' numbers; None: they stay as they are.
    Raises ValueError for fewer than three galaxies.
    """
    if count < 3:
        raise ValueError(f"{count} galaxies: leaving one out needs at least 3")
    rows = []
    for one in range(count):
        others = np.delete(np.arange(count), one)
        first, second = (np.asarray(side, float) for side in numbers(others))
        moved = second[one]
        if method:
            matrix, offset = method(second[others], first[others])
            moved = matrix @ moved + offset
        scaled = (first - moved) / deviation(first[others])
        distance = np.sqrt(np.square(scaled).mean(axis=1))
        rank = int((distance[others] <= distance[one]).sum())
        other = np.median(distance[others])
        rows.append((rank, distance.argmin(), distance[one], other, moved))
    return Match(*(np.stack(column) for column in zip(*rows, strict=True)))


def deviation(numbers: Numbers) -> NDArray[np.float64]:
    """Return the standard deviation of each number (M, d); infinite where it does not vary."""
    std = numbers.std(axis=0)
    return np.where(std > _CONSTANT * std.max(), std, np.inf)


def survey_scores(first: Numbers, second: Numbers) -> NDArray[np.float64]:
    """Return the probability of the second survey for images of other galaxies than trained on.

    By logistic regression on (N, d) of each survey, cross-validated with both images of a galaxy in
    one fold: (2, N), for the first survey's images first.
    """
    count = len(first)
    found = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        np.vstack([first, second]), np.repeat([0, 1], count),
        groups=np.tile(np.arange(count), 2), cv=GroupKFold(min(_FOLDS, count)),
        method="predict_proba",
    )  # fmt: skip
    return found[:, 1].reshape(2, count)
