"""A function over many items in several processes, in order, with a progress bar."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from joblib import cpu_count
from tqdm import tqdm

from VAE_model.distributed import here
from VAE_model.problem import Problem

Item = TypeVar("Item")
Result = TypeVar("Result")

# Processes are started afresh (spawn): a fork of a process with running threads may hang.
_CONTEXT = multiprocessing.get_context("spawn")
_FEW = 64  # items for which starting processes costs more than it gains


def cores() -> int:
    """Processor cores that this process may use, by its affinity and its container's quota: of
    several processes on a machine, its share."""
    return max(1, cpu_count() // here())


def each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int = 0,
    label: str = "",
    few: int = _FEW,
) -> Iterator[Result]:
    """`function(item)` for each item, in order; `function` must be importable.

    workers: processes, 0 for one a core. Fewer than `few` items are done in this process.
    The result does not depend on the number of workers.
    """
    workers = min(workers or cores(), max(1, len(items)))
    with tqdm(total=len(items), desc=label, unit="", disable=len(items) < 2) as bar:
        if workers == 1 or len(items) < few:
            for item in items:
                yield function(item)
                bar.update()
            return
        chunk = max(1, min(32, len(items) // (4 * workers)))
        try:
            processes = ProcessPoolExecutor(workers, mp_context=_CONTEXT, initializer=_begin)
        except (OSError, ImportError, NotImplementedError) as error:  # no semaphores: no /dev/shm
            print(f"  one process instead of {workers}: others cannot be started here ({error})")
            yield from each(function, items, 1, label)
            return
        with processes as pool:
            try:
                for result in pool.map(function, items, chunksize=chunk):
                    yield result
                    bar.update()
            except BrokenProcessPool:
                raise Problem(
                    f"a process ended too early while {label or 'working'}, perhaps for want of "
                    "memory: try fewer workers"
                ) from None


def _begin() -> None:
    """One thread for each process, which ends with the one that started it: killed, that one
    could not tell it, and images would still be written beside those of the next run. Ctrl-C is
    for that one to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    if torch := sys.modules.get("torch"):  # too late for it to see these
        torch.set_num_threads(1)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
