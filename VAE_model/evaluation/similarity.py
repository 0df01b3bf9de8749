"""Exact nearest neighbours among many latents, in bounded memory."""

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

_QUERIES = 1024  # queries at a time
_SPARE = 24  # candidates beyond the number wanted, among which rounding may reorder


def nearest(
    latents: NDArray[np.float32], queries: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows of `latents` (N, D) nearest to each of `queries` (Q, D), and their distances.

    Both (Q, min(count, N)), nearest first; at equal distance the first row first. Euclidean, from
    float64 matrix products by scikit-learn; the best candidates are measured again without them.
    """
    count = min(count, len(latents))
    search = NearestNeighbors(n_neighbors=min(count + _SPARE, len(latents)), algorithm="brute")
    search.fit(latents)
    rows = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count))
    for first in range(0, len(queries), _QUERIES):
        part = slice(first, first + _QUERIES)
        found = np.sort(search.kneighbors(queries[part], return_distance=False), axis=1)
        apart = latents[found].astype(np.float64) - queries[part, None]
        apart = np.sqrt(np.square(apart).sum(axis=2))
        order = np.argsort(apart, axis=1, kind="stable")[:, :count]
        rows[part] = np.take_along_axis(found, order, 1)
        distances[part] = np.take_along_axis(apart, order, 1)
    return rows, distances


def nearest_others(
    latents: NDArray[np.float32],
    good: NDArray[np.bool_],
    queries: NDArray[np.float32],
    own: NDArray[np.int64],
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return rows and distances of the nearest good galaxies, each (Q, count).

    latents: (N, d); good: galaxies to search among, (N,); queries: (Q, d); own: the row of each
    query galaxy, which is left out, or -1.
    """
    rows = np.flatnonzero(good)
    places, distances = nearest(latents[rows], queries, count + 1)
    found = rows[places]
    drop = found == own[:, None]
    drop[~drop.any(axis=1), -1] = True  # the query is not among them: drop the farthest
    shape = (len(queries), found.shape[1] - 1)
    return found[~drop].reshape(shape), distances[~drop].reshape(shape)
