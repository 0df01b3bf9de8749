"""Images from the packed copy in batches, read ahead of the device by a thread."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VAE_model.distributed import number, processes
from VAE_model.parallel import cores
from VAE_model.row_file import RowFile

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
    pin = device.type == "cuda"

    def read(turn: int) -> Tensor:
        first = turn * size
        if first // _WINDOW != (first - size) // _WINDOW:
            images.expect(rows[first : first + size + _WINDOW])
        batch = torch.empty(len(chunks[turn]), *images.row, pin_memory=pin)
        images.read(chunks[turn], batch.numpy())
        return batch

    with ThreadPoolExecutor(_READERS) as pool:
        waiting = [pool.submit(read, turn) for turn in range(min(_AHEAD, len(chunks)))]
        for turn, chunk in enumerate(chunks):
            batch = waiting.pop(0).result()
            if turn + _AHEAD < len(chunks):
                waiting.append(pool.submit(read, turn + _AHEAD))
            yield chunk, batch.to(device, non_blocking=True)


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
