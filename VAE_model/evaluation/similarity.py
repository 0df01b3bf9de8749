"""Exact nearest neighbours among many latents, in bounded memory.

Distances are one float32 matrix product per block; the best few candidates of each query are
measured again in float64. The rounding error of the product proves that the result is exact; a
query for which it does not is searched again in float64.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

_BLOCK = 16_384  # latents at a time
_QUERIES = 1024  # queries at a time: memory is 4 bytes x _BLOCK x _QUERIES
_GROUP = 32  # latents of a block that are compared by their minimum
_SPARE = 24  # candidates beyond the number wanted, among which rounding may reorder


def nearest(
    latents: NDArray[np.float32], queries: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows of `latents` (N, D) nearest to each of `queries` (Q, D), and their distances.

    Both (Q, min(count, N)), nearest first; at equal distance the first row first. Euclidean.
    """
    count = min(count, len(latents))
    rows = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count))
    centre = latents[:: max(1, len(latents) // 10_000)].mean(axis=0)
    for first in range(0, len(queries), _QUERIES):
        part = slice(first, first + _QUERIES)
        rows[part], distances[part] = _of_block(latents, queries[part], centre, count)
    return rows, distances


def _of_block(
    latents: NDArray[np.float32], queries: NDArray[np.float32], centre: NDArray, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    asked = torch.from_numpy(queries - centre)
    keep = min(count + _SPARE, len(latents))
    best = torch.full((len(asked), keep), torch.inf)
    where = torch.zeros((len(asked), keep), dtype=torch.int64)
    farthest, space = 0.0, torch.empty(len(asked) * (_BLOCK + _GROUP))
    for first in range(0, len(latents), _BLOCK):
        block = torch.from_numpy(latents[first : first + _BLOCK] - centre)
        norms = block.square().sum(dim=1)
        farthest = max(farthest, float(norms.max()))
        missing = -len(block) % _GROUP  # padding of the last block, infinitely far away
        block, norms = pad(block, (0, 0, 0, missing)), pad(norms, (0, missing), value=torch.inf)
        scores = space[: len(asked) * len(block)].view(len(asked), len(block))
        torch.addmm(norms, asked, block.T, alpha=-2, out=scores)  # squared distance - |query|^2
        # After the first blocks few latents are nearer than the farthest candidate: the minimum of
        # each group excludes most groups.
        groups = scores.view(len(asked), -1, _GROUP)
        hit, group = (groups.amin(dim=2) < best[:, -1:]).nonzero(as_tuple=True)
        number, member = (groups[hit, group] < best[hit, -1:]).nonzero(as_tuple=True)
        query, place = hit[number], group[number] * groups.shape[2] + member
        counts = torch.bincount(query, minlength=len(asked))
        column = torch.arange(len(query)) - (counts.cumsum(0) - counts)[query]
        close = torch.full((len(asked), int(counts.max())), torch.inf)
        rows = torch.zeros(close.shape, dtype=torch.int64)
        close[query, column], rows[query, column] = scores[query, place], place + first
        best, order = torch.cat([best, close], dim=1).topk(keep, dim=1, largest=False)
        where = torch.cat([where, rows], dim=1).gather(1, order)
    found, distances = _measured(latents, queries, where.numpy(), count)
    if keep < len(latents):
        norms = asked.double().square().sum(dim=1)
        # Of a dot product of D terms (Higham 2002, section 3.1), of the norms, and of centring.
        terms = queries.shape[1] + 8
        error = terms * 2.0**-23 * (norms.sqrt() + farthest**0.5).square()
        sure = (best[:, -1] + norms - error).numpy() > distances[:, -1] ** 2
        for one in np.flatnonzero(~sure):
            found[one], distances[one] = _searched(latents, queries[one], count)
    return found, distances


def _measured(
    latents: NDArray, queries: NDArray, where: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the `count` nearest of the candidates `where` (Q, K), measured in float64."""
    where = np.sort(where, axis=1)
    apart = latents[where].astype(np.float64) - queries[:, None]
    distances = np.sqrt(np.square(apart).sum(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(where, order, 1), np.take_along_axis(distances, order, 1)


def _searched(
    latents: NDArray, query: NDArray, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the `count` nearest of all latents, measured in float64."""
    blocks = range(0, len(latents), _BLOCK)
    squares = np.concatenate(
        [
            np.square(latents[first : first + _BLOCK].astype(np.float64) - query).sum(axis=1)
            for first in blocks
        ]
    )
    rows = np.argsort(squares, kind="stable")[:count]
    return rows, np.sqrt(squares[rows])
