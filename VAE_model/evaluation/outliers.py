"""Unusual galaxies by their latent variables: distances, isolation forest, combined rank.

Every score of a training galaxy comes from a fit without it (cross-fitting), and every score of a
validation or test galaxy from a fit to the training galaxies, so that scores compare across
splits. Latents are handled in blocks: memory beyond the latents themselves does not grow with
their number.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest

SMALLEST_CLASS = 30  # training members below which a class has no covariance of its own

_FOLDS = 5
_BLOCK = 65_536  # rows scored at a time
_FIT_ROWS = 100_000  # rows that a covariance is fitted to at most
_TRIM = 0.05  # share of the farthest rows that the later fits of a covariance leave out
_SEED = 20230308


def mahalanobis(latents: NDArray[np.floating], train: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the Mahalanobis distance of each galaxy from the training galaxies: (N,).

    latents: (N, D), means of the latent variables; train: (N,), True for training galaxies. The
    covariance is shrunk (Ledoit and Wolf 2004, J. Multivar. Anal. 88, 365), so that it stays
    invertible for few galaxies and for latents that the network does not use, and fitted again
    without the farthest 5 per cent, twice, so that outliers do not widen it.
    """
    scores = np.full(len(latents), np.nan)
    for fitted, scored in _cross_fit(np.flatnonzero(train), np.flatnonzero(~train)):
        centre, precision = _fit_cloud(latents[_at_most(fitted, _FIT_ROWS)])
        for rows in _blocks(scored):
            scores[rows] = _distance(latents[rows], centre, precision)
    return scores


def class_distance(
    latents: NDArray[np.floating], members: NDArray[np.bool_], train: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the Mahalanobis distance of each galaxy from its own class: (N,), NaN for none.

    members: (N, C), True where a galaxy is in a class. A class with fewer than 30 training
    members counts as none; for a galaxy in several classes the nearest counts.
    """
    scores = np.full(len(latents), np.nan)
    for member in members.T:
        if np.count_nonzero(member & train) < SMALLEST_CLASS:
            continue
        rows = np.flatnonzero(member)
        own = mahalanobis(latents[rows], train[rows])
        scores[rows] = np.fmin(scores[rows], own)
    return scores


def isolation(
    latents: NDArray[np.floating], train: NDArray[np.bool_], trees: int = 200
) -> NDArray[np.float64]:
    """Return the isolation-forest score of each galaxy, (N,): 0.5 is usual, near 1 isolated.

    Source: Liu, Ting and Zhou 2008, ICDM; scikit-learn's IsolationForest, its sign reversed. Each
    tree is fitted on 256 galaxies, so that single galaxies have little influence and the training
    galaxies need no cross-fitting.
    """
    forest = IsolationForest(n_estimators=trees, random_state=_SEED)
    forest.fit(latents[_at_most(np.flatnonzero(train), _FIT_ROWS)])
    scores = np.empty(len(latents))
    for rows in _blocks(np.arange(len(latents))):
        scores[rows] = -forest.score_samples(latents[rows])
    return scores


def percentile(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the share of the galaxies that score lower, 0..1, ties in the middle; NaN for NaN."""
    scores = np.asarray(scores, float)
    known = np.isfinite(scores)
    ranks = rankdata(np.where(known, scores, np.nan), nan_policy="omit")
    return (ranks - 1) / max(known.sum() - 1, 1)


def combined(*scores: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of the percentile ranks of several scores, 0..1: (N,).

    A galaxy without one of the scores (no class, say) has the mean of the others; one without
    any has NaN. Percentiles, because the scores have no unit in common.
    """
    ranks = np.stack([percentile(score) for score in scores])
    return np.ma.masked_invalid(ranks).mean(axis=0).filled(np.nan)


def rank(scores: ArrayLike) -> NDArray[np.int64]:
    """Return 1 for the most unusual galaxy to N for the least; equal scores in order, NaN last."""
    known = np.nan_to_num(np.asarray(scores, float), nan=-np.inf)
    return rankdata(-known, method="ordinal").astype(np.int64)


def stands_out(values: ArrayLike, sigmas: float) -> NDArray[np.bool_]:
    """Return where the logarithm of a positive quantity is more than `sigmas` above its median.

    sigma is the median absolute deviation times 1.4826; NaN and zero (a sky that is cut off does
    not vary) are below. (N,).
    """
    values = np.asarray(values, float)
    known = values > 0
    if not known.any():
        return known
    level = np.log(values, where=known, out=np.full(values.shape, -np.inf))
    level -= np.median(level[known])
    return level > sigmas * 1.4826 * np.median(np.abs(level[known]))


def _cross_fit(
    train: NDArray[np.int64], others: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows to fit and rows to score: each training row is scored by a fit without it."""
    fold = np.random.default_rng(_SEED).permutation(len(train)) % _FOLDS
    for number in range(_FOLDS):
        yield train[fold != number], train[fold == number]
    yield train, others


def _fit_cloud(latents: NDArray[np.floating]) -> tuple[NDArray, NDArray]:
    """Return centre and inverse covariance, shrunk and trimmed."""
    latents = np.asarray(latents, np.float64)
    fit = LedoitWolf().fit(latents)
    kept = round(len(latents) * (1 - _TRIM))
    if 2 * latents.shape[1] < kept < len(latents):  # trimmed, a small sample would lose too much
        for _ in range(2):
            distance = _distance(latents, fit.location_, fit.precision_)
            fit = LedoitWolf().fit(latents[np.argpartition(distance, kept)[:kept]])
    return fit.location_, fit.precision_


def _distance(latents: NDArray, centre: NDArray, precision: NDArray) -> NDArray[np.float64]:
    apart = np.asarray(latents, np.float64) - centre
    return np.sqrt(np.maximum(np.einsum("nd,de,ne->n", apart, precision, apart, optimize=True), 0))


def _at_most(rows: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return all rows, or a seeded sample of `number` of them."""
    if len(rows) <= number:
        return rows
    return np.sort(np.random.default_rng(_SEED).choice(rows, number, replace=False))


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(rows), _BLOCK):
        yield rows[first : first + _BLOCK]
