"""Arrays of one shape in one file, read row by row without mapping the file into memory.

The pages of a mapped file count towards the memory of the process, until the whole set is in it;
reads at an offset (pread) use the system's cache, which any program may reclaim. float16 rows may
have *exceptions*: the few values that float16 does not represent precisely enough, in float32, in
a separate file.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from VAE_model.pipeline.problem import Problem

EXCEPTION = np.dtype([("place", "<u4"), ("value", "<f4")])


@dataclass(frozen=True)
class RowFile:
    """A file that is indexed like an array (N, *row) of float32: file[3], file[2:9], file[[5, 1]].

    path: rows of `dtype` one after the other; row: shape of one; slots: (N,), place of each row in
    the file; exceptions: file of EXCEPTION records, and (N, 2) the first record of each row and
    their number. Raises Problem where the file is shorter than a row's place.
    """

    path: Path
    row: tuple[int, ...]
    slots: NDArray[np.int64]
    dtype: str = "float32"
    exceptions: tuple[Path, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array, (N, *row)."""
        return (len(self), *self.row)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the file."""
        return int(np.prod(self.row)) * np.dtype(self.dtype).itemsize

    def __getitem__(self, key: int | slice | ArrayLike) -> NDArray[np.float32]:
        if isinstance(key, int | np.integer):
            if not -len(self) <= key < len(self):
                raise IndexError(f"row {key} of {len(self)}")  # also ends an iteration
            return self[[int(key)]][0]
        every: NDArray[np.int64] = np.arange(len(self))
        rows = np.atleast_1d(every[key if isinstance(key, slice) else np.asarray(key)])
        into = np.empty((len(rows), *self.row), np.float32)
        self.read(rows, into)
        return into

    def read(self, rows: NDArray[np.int64], into: NDArray[np.float32]) -> None:
        """Read rows into a contiguous array (len(rows), *row), in the order of the file."""
        slots = self.slots[rows]
        buffer = np.empty(self.row, self.dtype) if self.dtype != "float32" else None
        for place in np.argsort(slots, kind="stable"):
            target = into[place] if buffer is None else buffer
            self._fill(self._file, target, int(slots[place]) * self.row_bytes, self.path)
            if buffer is not None:
                into[place] = buffer
                self._patch(int(rows[place]), into[place])

    def prefetch(self, rows: NDArray[np.int64]) -> None:
        """Advise the system to read these rows ahead, consecutive ones as one request."""
        if not hasattr(os, "posix_fadvise"):
            return
        slots = np.unique(self.slots[rows])
        for run in np.split(slots, np.flatnonzero(np.diff(slots) > 1) + 1):
            if len(run):
                place, size = int(run[0]) * self.row_bytes, len(run) * self.row_bytes
                os.posix_fadvise(self._file, place, size, os.POSIX_FADV_WILLNEED)

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("_file", "_bright")}

    @cached_property
    def _file(self) -> int:
        return os.open(self.path, os.O_RDONLY)

    @cached_property
    def _bright(self) -> int:
        assert self.exceptions is not None  # noqa: S101 (only a float16 file has some)
        return os.open(self.exceptions[0], os.O_RDONLY)

    def __del__(self) -> None:
        for name in ("_file", "_bright"):
            if name in self.__dict__:
                os.close(self.__dict__[name])

    def _patch(self, row: int, values: NDArray[np.float32]) -> None:
        if self.exceptions is None:
            return
        first, count = self.exceptions[1][row]
        if count:
            found = np.empty(count, EXCEPTION)
            self._fill(self._bright, found, int(first) * EXCEPTION.itemsize, self.exceptions[0])
            values.reshape(-1)[found["place"]] = found["value"]

    @staticmethod
    def _fill(file: int, target: NDArray, place: int, path: Path) -> None:
        view = memoryview(target.reshape(-1).view(np.uint8).data)
        while len(view):
            count = os.preadv(file, [view], place)
            if not count:
                raise Problem(f"{path} is cut short: delete its folder and rerun")
            view, place = view[count:], place + count


@dataclass(frozen=True)
class GroupedRows:
    """Groups of k rows of several files, read as rows of one file, (M, k, *row).

    files: with rows of one shape, numbered one file after the other; groups: (M, k) such numbers.
    """

    files: tuple[RowFile, ...]
    groups: NDArray[np.int64]

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of a group, (k, *row)."""
        return (self.groups.shape[1], *self.files[0].row)

    def __len__(self) -> int:
        return len(self.groups)

    def read(self, rows: NDArray[np.int64], into: NDArray[np.float32]) -> None:
        """Read groups into an array (len(rows), k, *row)."""
        for file, own, places in self._in_files(rows):
            part = np.empty((len(own), *file.row), np.float32)
            file.read(own, part)
            into.reshape(-1, *file.row)[places] = part

    def prefetch(self, rows: NDArray[np.int64]) -> None:
        """Advise the system to read these groups ahead."""
        for file, own, _ in self._in_files(rows):
            file.prefetch(own)

    def _in_files(self, rows: NDArray[np.int64]) -> Iterator[tuple[RowFile, NDArray, NDArray]]:
        """Yield each file with some of the rows, their numbers in it, and their places."""
        numbers, first = self.groups[rows].ravel(), 0
        for file in self.files:
            places = np.flatnonzero((numbers >= first) & (numbers < first + len(file)))
            if len(places):
                yield file, numbers[places] - first, places
            first += len(file)


def halved(
    flux: NDArray[np.float32], tolerance: NDArray[np.float32]
) -> tuple[NDArray[np.float16], NDArray]:
    """Return flux (bands, y, x) in float16, and the exceptions.

    These are the pixels that float16 changes by more than `tolerance` (bands,). float16 has eleven
    bits: a sky pixel (0.003 nanomaggies) has an error of a millionth, one of 2 a thousandth, a
    star's core of 1,000 an error of 0.25; beyond 65,504 it overflows.
    """
    with np.errstate(over="ignore"):
        half = flux.astype(np.float16)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(half.astype(np.float32) - flux) <= tolerance[:, None, None])
    places = np.flatnonzero(off)
    exceptions = np.empty(len(places), EXCEPTION)
    exceptions["place"], exceptions["value"] = places, flux.reshape(-1)[places]
    return half, exceptions
