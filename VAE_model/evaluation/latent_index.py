"""Exact nearest neighbours among latents in a file that is larger than the memory.

The file of float32 latents has a copy in int8 (VA-file: Weber, Schek and Blott 1998, VLDB), and a
search reads the copy in blocks, once for all its queries. No latent is farther from its copy than
`error`, so by the triangle inequality a galaxy whose copy is farther from a query than the k-th
best galaxy so far plus `error` is none of the k nearest. The others, a few hundred per query,
are measured from their float32 values. Latents beyond the range of the int8 numbers, less than one
in a thousand, have no copy: all are measured. Hence the result is that of `nearest`.

Files of an index (N latents of D variables): latents.float32 (N, D); codes.int8 (N, D) and
norms.float32 (N,), the copy and its squared length; beyond.npy and beyond_rows.npy, latents without
a copy; index.json, which is written last. They are read at an offset, not mapped (row_file.py).
"""

import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from VAE_model.evaluation.similarity import nearest
from VAE_model.pipeline.files import read_json, write_json
from VAE_model.pipeline.parallel import cores
from VAE_model.pipeline.problem import Problem

_FIRST = 2**16  # rows that are searched by `nearest`, for a first limit
_READ = 2**18  # rows that a thread reads at a time
_BLOCK = 4096  # rows, and
_QUERIES = 64  # queries, whose products fit into the cache of a core
_PAIRS = 2**14  # galaxies that are measured at a time
_SAMPLE = (32, 8192)  # blocks and their rows, for the range of the int8 numbers
_BEYOND = 1e-5  # share of each latent variable at either end that may lie beyond the range
_ROUNDING = 2.0**-24  # of float32


@dataclass(frozen=True)
class Copy:
    """Scale of the int8 copy of latents: latent = centre + step * code, to within `error`.

    centre, step: (D,); error: largest distance of a latent from its copy; reach: of a copy from
    the centre.
    """

    centre: list[float]
    step: list[float]
    error: float
    reach: float


class LatentIndex:
    """An index, as `build` has made it in a folder. Raises Problem where it is not complete.

    rows, num_var: number of latents and of their variables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        content = read_json(self.folder / "index.json")
        self.rows, self.num_var = int(content["rows"]), int(content["num_var"])
        self.copy = Copy(**content["copy"])
        self._files = {name: self._open(name, width) for name, width in (
            ("latents.float32", 4 * self.num_var), ("codes.int8", self.num_var),
            ("norms.float32", 4))}  # fmt: skip
        self._beyond = np.load(self.folder / "beyond.npy", mmap_mode="r")
        self._beyond_rows = np.load(self.folder / "beyond_rows.npy")

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            os.close(file)

    def latents(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return some of the latents, (len(rows), num_var)."""
        found = np.empty((len(rows), self.num_var), np.float32)
        for row, into in zip(rows, found, strict=True):
            _fill(self._files["latents.float32"], into, int(row) * into.nbytes)
        return found

    def search(
        self, queries: NDArray[np.float32], count: int, workers: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the rows nearest to each of `queries` (Q, D), and their distances.

        Both (Q, min(count, rows)), nearest first; at equal distance the first row first: the result
        of similarity.nearest on all latents. workers: threads; 0: one per core. The memory is that
        of the result and some 20 MB per thread.
        """
        if queries.shape[1] != self.num_var:
            raise Problem(f"{self.folder} has {self.num_var} latents, not {queries.shape[1]}")
        best = _Best(self, queries, min(count, self.rows))
        first = np.empty((min(_FIRST, self.rows), self.num_var), np.float32)
        _fill(self._files["latents.float32"], first, 0)
        best.add_nearest(first, np.arange(len(first)))
        later = np.flatnonzero(self._beyond_rows >= len(first))
        for place in range(0, len(later), _FIRST):
            part = later[place : place + _FIRST]
            best.add_nearest(self._beyond[part], self._beyond_rows[part])
        starts = range(len(first), self.rows, _READ)
        with threadpool_limits(1), ThreadPoolExecutor(workers or cores()) as threads:
            for _ in threads.map(lambda start: self._scan(start, best), starts):
                pass
        return best.rows, best.distances

    def _scan(self, start: int, best: "_Best") -> None:
        """Add what may be among the nearest of the rows that begin at `start`."""
        size = min(_READ, self.rows - start)
        codes, norms = np.empty((size, self.num_var), np.int8), np.empty(size, np.float32)
        _fill(self._files["codes.int8"], codes, start * self.num_var)
        _fill(self._files["norms.float32"], norms, start * 4)
        plain = np.empty((min(_BLOCK, size), self.num_var), np.float32)
        near: list[tuple[NDArray, NDArray]] = []  # queries, rows
        for place in range(0, size, _BLOCK):
            part = codes[place : place + _BLOCK]
            block = plain[: len(part)]
            np.copyto(block, part)
            for one in range(0, len(best.weights), _QUERIES):
                group = slice(one, one + _QUERIES)
                scores = best.weights[group] @ block.T
                scores += norms[place : place + _BLOCK]
                found = np.flatnonzero(scores < best.limits[group, None])
                if len(found):
                    query, row = np.divmod(found, len(part))
                    near.append((query + one, row + start + place))
            if sum(len(rows) for _, rows in near) > _PAIRS:
                best.measure(near)
                near = []
        best.measure(near)

    def _open(self, name: str, width: int) -> int:
        path = self.folder / name
        if not path.exists() or path.stat().st_size != self.rows * width:
            raise Problem(f"{path} is missing or cut short: build the index again")
        return os.open(path, os.O_RDONLY)


class _Best:
    """The nearest so far of each query, of several threads.

    rows, distances: (Q, count); weights (Q, D) and limits (Q,): the copy of a row, whose score is
    its squared length plus weights . codes, may be among the nearest if that is below the limit.
    """

    def __init__(self, index: LatentIndex, queries: NDArray[np.float32], count: int) -> None:
        shape, copy = (len(queries), count), index.copy
        self.index, self.queries, self.lock = index, queries, threading.Lock()
        self.rows, self.distances = np.full(shape, -1, np.int64), np.full(shape, np.inf)
        apart = queries.astype(np.float64) - copy.centre
        length = np.sqrt(np.square(apart).sum(axis=1))
        if not (length < 1e15).all():
            raise Problem("a query has latents that are not finite, or far from all others")
        self.weights = (-2 * apart * copy.step).astype(np.float32)
        self.square = np.square(length)
        # A sum of D + 1 float32 products has at most this error (Higham 2002, section 3.1).
        self.rounding = (index.num_var + 6) * _ROUNDING * (length + copy.reach) ** 2 + 1e-30
        self.limits = np.full(len(queries), np.inf, np.float32)

    def add_nearest(self, latents: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Add the nearest of some latents in memory."""
        places, distances = nearest(latents, self.queries, self.rows.shape[1])
        query = np.repeat(np.arange(len(places)), places.shape[1])
        self._add(query, rows[places.ravel()], distances.ravel())

    def measure(self, near: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> None:
        """Add the galaxies, pairs of a query and a row, that are near by their float32 latents."""
        for first in range(0, sum(len(rows) for _, rows in near), _PAIRS):
            pairs = (
                np.concatenate(part)[first : first + _PAIRS] for part in zip(*near, strict=True)
            )
            query, row = pairs
            some, place = np.unique(row, return_inverse=True)
            apart = self.index.latents(some).astype(np.float64)[place] - self.queries[query]
            distance = np.sqrt(np.square(apart).sum(axis=1))
            with self.lock:
                hit = distance <= self.distances[query, -1]
                self._add(query[hit], row[hit], distance[hit])

    def _add(self, query: NDArray, row: NDArray, distance: NDArray) -> None:
        order = np.argsort(query, kind="stable")
        ends = np.flatnonzero(np.diff(query[order])) + 1
        for own in np.split(order, ends) if len(order) else ():
            q = int(query[own[0]])
            rows = np.concatenate([self.rows[q], row[own]])
            distances = np.concatenate([self.distances[q], distance[own]])
            kept = np.lexsort((rows, distances))[: self.rows.shape[1]]
            self.rows[q], self.distances[q] = rows[kept], distances[kept]
            reach = self.distances[q, -1] * (1 + 1e-12) + self.index.copy.error
            limit = reach**2 - self.square[q] + self.rounding[q]
            self.limits[q] = np.nextafter(np.float32(limit), np.float32(np.inf))


def build(folder: Path, blocks: Iterable[NDArray[np.float32]]) -> LatentIndex:
    """Write an index of latents that come in blocks (any number, D), and return it.

    Raises Problem where there is no latent, or one that is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").unlink(missing_ok=True)
    num_var = 0
    with open(folder / "latents.float32", "wb") as file:
        for block in blocks:
            num_var = block.shape[1]
            np.ascontiguousarray(block, np.float32).tofile(file)
    return quantise(folder, num_var)


def quantise(folder: Path, num_var: int) -> LatentIndex:
    """Make the index of the latents in latents.float32, which is there. Raises Problem as build."""
    path = folder / "latents.float32"
    rows = path.stat().st_size // (4 * num_var) if num_var else 0
    if not rows:
        raise Problem(f"{path} has no latents")
    centre, step = _range(path, rows, num_var)
    error = reach = 0.0
    beyond, beyond_rows = [np.empty((0, num_var), np.float32)], [np.empty(0, np.int64)]

    def copied(start: int) -> tuple[NDArray, NDArray, NDArray, float, NDArray]:
        latents = _read(path, np.float32, start, min(_FIRST, rows - start), num_var)
        return *_copy(latents, centre, step), latents

    with (
        open(folder / "codes.int8", "wb") as codes_file,
        open(folder / "norms.float32", "wb") as norms_file,
        ThreadPoolExecutor(cores()) as threads,
    ):
        starts = range(0, rows, _FIRST)
        for batch in tqdm(range(0, len(starts), 8), desc="int8 copy", disable=rows < 10**7):
            some = starts[batch : batch + 8]
            for start, made in zip(some, threads.map(copied, some), strict=True):
                codes, norms, far, own_error, latents = made
                if not np.isfinite(latents).all():
                    raise Problem(f"{path} has latents that are not finite")
                codes.tofile(codes_file)
                norms.tofile(norms_file)
                beyond.append(latents[far])
                beyond_rows.append(far + start)
                error = max(error, own_error)
                reach = max(reach, float(norms[np.isfinite(norms)].max(initial=0)) ** 0.5)
    np.save(folder / "beyond.npy", np.concatenate(beyond))
    np.save(folder / "beyond_rows.npy", np.concatenate(beyond_rows))
    copy = Copy(centre.tolist(), step.tolist(), error * (1 + 1e-9), reach * (1 + 1e-6))
    write_json(folder / "index.json", {"rows": rows, "num_var": num_var, "copy": asdict(copy)})
    return LatentIndex(folder)


def _range(path: Path, rows: int, num_var: int) -> tuple[NDArray, NDArray]:
    """Return the centre and the step of the int8 numbers, from blocks all over the file."""
    blocks, size = _SAMPLE
    starts = np.unique(np.linspace(0, max(rows - size, 0), blocks).astype(int))
    sample = [_read(path, np.float32, s, min(size, rows - s), num_var) for s in starts]
    low, high = np.quantile(np.concatenate(sample), [_BEYOND, 1 - _BEYOND], axis=0)
    step = (high.astype(np.float64) - low) / 254
    return (high.astype(np.float64) + low) / 2, np.where(step > 0, step, 1.0)


def _copy(
    latents: NDArray[np.float32], centre: NDArray, step: NDArray
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int64], float]:
    """Return codes, squared lengths (inf beyond the range), rows beyond it, and the error."""
    apart = latents - centre  # float64
    codes = np.rint(apart / step)
    far = np.flatnonzero(~(np.abs(codes) <= 127).all(axis=1))
    codes[far] = 0
    copies = codes * step
    norms = np.square(copies).sum(axis=1)
    norms[far] = np.inf
    off = np.square(apart - copies).sum(axis=1)
    off[far] = 0
    return codes.astype(np.int8), norms.astype(np.float32), far, float(off.max()) ** 0.5


def _read(path: Path, dtype: DTypeLike, start: int, count: int, width: int) -> NDArray:
    offset = start * width * np.dtype(dtype).itemsize
    return np.fromfile(path, dtype, count * width, offset=offset).reshape(count, width)


def _fill(file: int, into: NDArray, offset: int) -> None:
    view = memoryview(into.reshape(-1).view(np.uint8).data)
    while len(view):
        count = os.preadv(file, [view], offset)
        if not count:
            raise Problem("a file of the index is cut short: build the index again")
        view, offset = view[count:], offset + count
