"""Apply a function to many items in several processes, in order, with a progress bar."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TypeVar

from joblib import cpu_count
from threadpoolctl import ThreadpoolController, threadpool_limits
from tqdm import tqdm

from VAE_model.pipeline.problem import Problem
from VAE_model.training.distributed import local_world_size

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEW = 64  # items below which starting processes takes longer than it saves
tqdm.monitor_interval = 0  # no thread of its own: see _context


def cores() -> int:
    """Return this process's share of the CPU cores that affinity and container allow."""
    return max(1, cpu_count() // local_world_size())


def each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int = 0,
    label: str = "",
    few: int = _FEW,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; `function` must be importable.

    workers: processes; 0: one per core. Fewer than `few` items are computed in this process.
    The result does not depend on the number of workers: native libraries always use one thread.
    Raises Problem if a process is killed.
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
            processes = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_begin)
        except (OSError, ImportError, NotImplementedError) as error:  # no semaphores: no /dev/shm
            print(f"  one process instead of {workers}: others cannot be started ({error})")
            yield from each(function, items, 1, label)
            return
        with processes as pool:
            try:
                for result in pool.map(function, items, chunksize=chunk):
                    yield result
                    bar.update()
            except BrokenProcessPool:
                doing = label or "working"
                raise Problem(
                    f"a process was killed while {doing}, perhaps out of memory: use fewer workers"
                ) from None


def _context() -> BaseContext:
    """Return how processes are started.

    A process with one thread is copied (fork), which takes no time; so are the scripts of a
    ScriptServer. A copy of a process with more threads may hang: then a server that has loaded the
    package once is copied (forkserver), or, on Windows, every process loads it (spawn).
    """
    threads = Path("/proc/self/task")
    if threads.is_dir() and len(list(threads.iterdir())) == 1:
        return multiprocessing.get_context("fork")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.startswith("VAE_model.")])
    return context


def _begin() -> None:
    """Limit a process to one thread, and let it end with its parent, which handles Ctrl-C.

    Otherwise it would still write images after its parent was killed and started again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # for libraries that are loaded later
    threadpool_limits(1)  # for those that are loaded


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
