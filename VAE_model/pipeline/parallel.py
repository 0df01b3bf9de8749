"""Apply a function to many items in several processes, in order, with a progress bar."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from joblib import cpu_count
from threadpoolctl import ThreadpoolController, threadpool_limits
from tqdm import tqdm

from VAE_model.pipeline.problem import Problem
from VAE_model.training.distributed import local_world_size

Item = TypeVar("Item")
Result = TypeVar("Result")

# Processes are started afresh (spawn): a fork of a process with running threads may hang.
_CONTEXT = multiprocessing.get_context("spawn")
_FEW = 64  # items for which starting processes costs more than it gains


def cores() -> int:
    """Return the CPU cores that this process may use, by its affinity and its container's quota.

    One of several processes on a machine has its share of them.
    """
    return max(1, cpu_count() // local_world_size())


def each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int = 0,
    label: str = "",
    few: int = _FEW,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; `function` must be importable.

    workers: processes; 0: one per core. Fewer than `few` items are done in this process.
    The result does not depend on the number of workers: native libraries have one thread, here too.
    Raises Problem where a process ends too early.
    """
    workers = min(workers or cores(), max(1, len(items)))
    with tqdm(total=len(items), desc=label, unit="", disable=len(items) < 2) as bar:
        if workers == 1 or len(items) < few:
            native = ThreadpoolController()
            for item in items:
                with native.limit(limits=1):
                    result = function(item)
                yield result
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
    """Give a process one thread, and let it end with the process that started it.

    Else images would still be written beside those of the next run after that one was killed.
    Ctrl-C is for the process that started it to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # for libraries that are loaded from now on
    threadpool_limits(1)  # for those that are


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
