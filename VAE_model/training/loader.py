"""Images from the packed copy in batches, read ahead of the device by a thread."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from sys import getrefcount
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VAE_model.data.row_file import RowFile
from VAE_model.parallel import cores
from VAE_model.training.distributed import number, processes

_AHEAD = 3  # batches in flight
_READERS = min(4, cores())  # threads that read them
_WINDOW = 1024  # rows that the system is told of ahead
_BLOCKS = 16  # blocks that are shuffled together


def batches(
    images: RowFile,
    rows: NDArray[np.int64],
    size: int,
    device: torch.device,
    shared: bool = False,
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """The given rows of `images` (N, 3, y, x) in their order: pairs of (rows, float32 batch).

    shared: each of several processes (distributed.py) gets its share of every batch.
    The batch is on `device`. Memory does not grow with the number of images.
    """
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    if shared and processes() > 1:
        chunks = [np.array_split(chunk, processes())[number()] for chunk in chunks]
    here, pin = device.type == "cpu", device.type == "cuda"

    def read(turn: int) -> Tensor:
        first = turn * size
        if first // _WINDOW != (first - size) // _WINDOW:
            images.expect(rows[first : first + size + _WINDOW])
        shape = (len(chunks[turn]), *images.row)
        batch = buffers.take(shape) if here else torch.empty(shape, pin_memory=pin)
        images.read(chunks[turn], batch.numpy())
        return batch

    buffers = _Buffers()

    with ThreadPoolExecutor(_READERS) as pool:
        waiting = [pool.submit(read, turn) for turn in range(min(_AHEAD, len(chunks)))]
        for turn, chunk in enumerate(chunks):
            batch = waiting.pop(0).result()
            if turn + _AHEAD < len(chunks):
                waiting.append(pool.submit(read, turn + _AHEAD))
            yield chunk, batch.to(device, non_blocking=True)


class _Buffers:
    """Memory for batches, used again as soon as nobody holds the batch before: new memory comes
    from the system page by page, which takes a quarter of the time of reading a batch."""

    def __init__(self) -> None:
        self._owned: list[NDArray[np.float32]] = []
        self._lock = Lock()

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """An uninitialised float32 tensor, whose memory is free again once it is deleted."""
        size = int(np.prod(shape))
        with self._lock:
            for number in range(len(self._owned)):
                # A tensor, and each view of it, keeps a reference to the array.
                if getrefcount(self._owned[number]) == _UNUSED and len(self._owned[number]) >= size:
                    return torch.from_numpy(self._owned[number][:size].reshape(shape))
            self._owned.append(np.empty(size, np.float32))
            return torch.from_numpy(self._owned[-1].reshape(shape))


def _references_of_unused() -> int:
    owned = [np.empty(0)]
    return getrefcount(owned[0])


_UNUSED = _references_of_unused()


def shuffled(rows: NDArray[np.int64], seed: int, epoch: int, block: int = 0) -> NDArray[np.int64]:
    """The rows in the order of an epoch: the same for the same seed, another each epoch.

    block: so many neighbours stay near each other, that a disk reads them as one: blocks are
    shuffled, and within every 16 of them the rows; 0: every row by itself.
    """
    generator = np.random.default_rng([seed, epoch])
    if not block:
        return generator.permutation(rows)
    blocks = [rows[first : first + block] for first in range(0, len(rows), block)]
    order = np.concatenate([blocks[number] for number in generator.permutation(len(blocks))])
    step = block * _BLOCKS
    windows = (order[first : first + step] for first in range(0, len(order), step))
    return np.concatenate([generator.permutation(window) for window in windows])
