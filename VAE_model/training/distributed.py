"""Distributed training: several processes, each with a GPU or a share of the CPU cores.

torchrun starts them and sets the environment variables that `rank` and `world_size` read. A script
started by python is the only process, and everything here does nothing. Processes communicate
through NCCL between GPUs and through gloo between CPUs. Only rank 0 writes and prints.

Gradients are summed by `all_sum` and not by DistributedDataParallel: the batch, its order and its
random draws must be those of one process, so that a run may resume with another number of them.
So the shares of a batch may differ in size and may be empty, but DistributedDataParallel averages
over equal shares and hangs if a process has none. The networks have at most 2.6 million parameters,
so one message per step costs little.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:  # a script that needs no torch does not wait for its import
    from torch import Tensor

_TIMEOUT = timedelta(hours=24)  # rank 0 may pack images for hours while the others wait
_VARIABLES = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")  # which torchrun sets
_LOST = (
    "the job was stopped, or another of its processes has ended: the same command resumes after "
    "the last complete epoch"
)


def rank() -> int:
    """Return the number of this process, from 0."""
    return _whole("RANK", 0) if world_size() > 1 else 0


def world_size() -> int:
    """Return the number of processes: one, unless all variables of torchrun are set.

    Batch systems and containers set some of them for a single process too.
    """
    return _whole("WORLD_SIZE", 1) if all(os.environ.get(name) for name in _VARIABLES) else 1


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return max(1, _whole("LOCAL_WORLD_SIZE", 1)) if world_size() > 1 else 1


def _whole(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise


def say(text: str) -> None:
    """Print a line, from rank 0 only."""
    if rank() == 0:
        print(text, flush=True)


def start() -> None:
    """Connect to the other processes, if there are any."""
    if world_size() == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(_whole("LOCAL_RANK", 0))
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, timeout=_TIMEOUT)
    signal.signal(signal.SIGTERM, end)


def end(*_: object) -> NoReturn:
    """End at once with one line: another process has ended.

    That is seen in a message that fails, or by the SIGTERM that torchrun then sends to the others.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # else the line could come twice
    sys.stdout.flush()
    sys.stderr.write(f"error: {_LOST}\n")
    sys.stderr.flush()
    os._exit(1)


def stop() -> None:
    """Disconnect from the other processes and end: a thread of gloo may abort a slower end."""
    if world_size() > 1:
        from torch import distributed

        distributed.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def barrier() -> None:
    """Wait until every process calls this function."""
    if world_size() > 1:
        import torch

        all_sum([torch.zeros(1)])


def all_sum(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over the processes, in one message."""
    if world_size() == 1:
        return
    import torch
    from torch import distributed

    message = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(message)
    for tensor, part in zip(tensors, message.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def gathered(own: Tensor, count: int) -> Tensor:
    """Return the rows of all processes, (count, ...), as one process would have them.

    own: this process's share, by `tensor_split`. The gradient passes through these rows only, so
    that the sum of the processes' gradients is that of one process.
    """
    if world_size() == 1:
        return own
    every = own.new_zeros(count, *own.shape[1:])
    rows = every.tensor_split(world_size())
    rows[rank()].copy_(own.detach())
    all_sum([every])
    before = sum(len(part) for part in rows[: rank()])
    import torch

    return torch.cat([every[:before], own, every[before + len(own) :]])


def broadcast(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by those of rank 0."""
    if world_size() > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.broadcast(tensor, 0)


@contextmanager
def rank_0_first() -> Iterator[None]:
    """Run a block on rank 0, then on the others, which find the files it wrote."""
    if rank():
        barrier()
    yield
    if not rank():
        barrier()


def is_loss_of_process(error: RuntimeError) -> bool:
    """Return True if an error means that another process has ended."""
    words = ("connection closed", "connection reset", "gloo", "nccl", "broken pipe", "recvvalue")
    return any(word in str(error).lower() for word in words)
