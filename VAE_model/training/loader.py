"""Rows of a file in batches, read by threads ahead of the computation."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from VAE_model.data.row_file import GroupedRows, RowFile
from VAE_model.pipeline.parallel import cores
from VAE_model.training.distributed import rank, world_size

_AHEAD = 3  # batches that are read ahead
_THREADS = min(4, cores())
_PREFETCHED = 1024  # rows that the operating system prefetches
_SHUFFLED_BLOCKS = 16  # blocks that are shuffled together


def batches(
    images: RowFile | GroupedRows,
    rows: NDArray[np.int64],
    batch_size: int,
    device: torch.device,
    shared: bool = False,
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield (rows, images) in the order of `rows`: images float32 (N, *images.row), on `device`.

    shared: under torchrun each process gets its share of every batch (distributed.py).
    Memory does not grow with the number of rows.
    """
    pin_memory = device.type == "cuda"

    def read(first: int) -> tuple[NDArray[np.int64], Tensor]:
        if first % _PREFETCHED < batch_size:
            images.prefetch(rows[first : first + _PREFETCHED + batch_size])
        own = rows[first : first + batch_size]
        if shared:
            own = np.array_split(own, world_size())[rank()]
        batch = torch.empty((len(own), *images.row), pin_memory=pin_memory)
        images.read(own, batch.numpy())
        return own, batch

    pending: deque[Future] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(rows), batch_size):
            pending.append(pool.submit(read, first))
            if len(pending) > _AHEAD:
                own, batch = pending.popleft().result()
                yield own, batch.to(device, non_blocking=True)
        for future in pending:
            own, batch = future.result()
            yield own, batch.to(device, non_blocking=True)


def shuffled(rows: NDArray[np.int64], seed: int, epoch: int, block: int = 0) -> NDArray[np.int64]:
    """Return the rows in the order of an epoch, which depends on seed and epoch alone.

    block: consecutive rows that a disk reads together: blocks are shuffled, then the rows within
    every 16 blocks; 0: all rows are shuffled.
    """
    generator = np.random.default_rng([seed, epoch])
    if not block:
        return generator.permutation(rows)
    blocks = [rows[first : first + block] for first in range(0, len(rows), block)]
    order = np.concatenate([blocks[number] for number in generator.permutation(len(blocks))])
    step = block * _SHUFFLED_BLOCKS
    windows = (order[first : first + step] for first in range(0, len(order), step))
    return np.concatenate([generator.permutation(window) for window in windows])
