"""Images from the packed copy in batches, read ahead of the device by a thread."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_AHEAD = 3  # batches in flight


def batches(
    images: NDArray[np.float32], rows: NDArray[np.int64], size: int, device: torch.device
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """The given rows of `images` (N, 3, y, x) in their order: pairs of (rows, float32 batch).

    The batch is on `device`. Memory does not grow with the number of images.
    """
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    pin = device.type == "cuda"

    def read(chunk: NDArray[np.int64]) -> Tensor:
        # Ascending order makes one sweep over the disk of what would be as many seeks.
        order = np.argsort(chunk)
        batch = np.empty((len(chunk), *images.shape[1:]), dtype=np.float32)
        batch[order] = images[chunk[order]]
        tensor = torch.from_numpy(batch)
        return tensor.pin_memory() if pin else tensor

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(read, chunk) for chunk in chunks[:_AHEAD]]
        for number, chunk in enumerate(chunks):
            batch = waiting.pop(0).result()
            if number + _AHEAD < len(chunks):
                waiting.append(pool.submit(read, chunks[number + _AHEAD]))
            yield chunk, batch.to(device, non_blocking=True)


def shuffled(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows in the order of an epoch: the same for the same seed, another each epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows)
