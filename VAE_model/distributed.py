"""Several processes that work as one: one a GPU or a few cores, on one machine or many.

torchrun starts them and says in the environment how many there are and which one this is; started
by python alone, a script is the only process, and everything here does nothing. Processes speak
through NCCL between GPUs and through gloo between CPUs. The first process alone writes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partialmethod
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:  # a script alone, which may need no torch, does not wait for it
    from torch import Tensor

_MEETING = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")  # which torchrun sets
_PATIENCE = timedelta(hours=24)  # the first process may pack for hours while the others wait
LOST = (
    "the job was stopped, or another of its processes has ended, and this one with it: "
    "the same command goes on after the last whole epoch"
)


def processes() -> int:
    """How many there are: one, unless all is set by which they meet. Batch systems and containers
    leave single ones of these variables in the environment of a process that is alone."""
    return _whole("WORLD_SIZE", 1) if all(os.environ.get(name) for name in _MEETING) else 1


def number() -> int:
    """Of this process, from 0."""
    return _whole("RANK", 0) if processes() > 1 else 0


def here() -> int:
    """How many of them are on this machine."""
    return max(1, _whole("LOCAL_WORLD_SIZE", 1)) if processes() > 1 else 1


def _whole(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise


def join() -> None:
    """Meet the other processes, if there are any; all but the first fall silent."""
    if processes() == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(_whole("LOCAL_RANK", 0))
        distributed.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE)
    else:
        distributed.init_process_group("gloo", timeout=_PATIENCE)
    signal.signal(signal.SIGTERM, _stopped)
    if number():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
        tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)


def _stopped(*_: object) -> None:
    """torchrun ends the others when a process is gone: say so, and wait for nobody."""
    sys.stderr.write(f"error: {LOST}\n")
    sys.stderr.flush()
    os._exit(1)


def leave() -> None:
    if processes() == 1:
        return
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def wait() -> None:
    """Until every process is here."""
    if processes() > 1:
        import torch

        add_up(torch.zeros(1))


def add_up(tensor: Tensor) -> None:
    """Replace a tensor by its sum over the processes, the same on all."""
    if processes() > 1:
        from torch import distributed

        distributed.all_reduce(tensor)


def add_up_all(tensors: Sequence[Tensor]) -> None:
    """The same for several tensors, in one message."""
    if processes() == 1:
        return
    import torch

    whole = torch.cat([tensor.flatten() for tensor in tensors])
    add_up(whole)
    for tensor, part in zip(tensors, whole.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def as_the_first(tensors: Sequence[Tensor]) -> None:
    """Give the first process's values to all."""
    if processes() > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.broadcast(tensor, 0)


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process does it, then the others, which find it done."""
    if number():
        wait()
    yield
    if not number():
        wait()


def was_lost(error: RuntimeError) -> bool:
    """Whether an error means that another process is gone."""
    words = ("connection closed", "connection reset", "gloo", "nccl", "broken pipe", "recvvalue")
    return any(word in str(error).lower() for word in words)
