"""One script at a time on a run: a second one is told which script is at work.

The lock is the kernel's (flock, by filelock): it ends with the process, even one that was killed,
so that there is never a lock file to delete.
"""

import errno
import os
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from VAE_model.pipeline.problem import Problem

LOCK = ".lock"  # in the run's folder; it stays there, and means nothing unless it is held

_held: dict[Path, FileLock] = {}


def hold(folder: Path, shown: str, script: str) -> None:
    """Hold the lock of a run's folder until this process ends.

    Without the right to write there is no lock. A file system that has no locks is reported.
    Raises Problem where another process holds the lock, with its script and process number.
    """
    folder = folder.resolve()
    if folder in _held:
        return
    lock = FileLock(folder / LOCK, timeout=0, on_acquired=partial(_sign, script))
    try:
        lock.acquire()
    except Timeout:
        by = (folder / LOCK).read_text(encoding="utf-8").strip() or "another script"
        raise Problem(
            f"{shown} is in use by {by}: wait until it has ended, or choose another folder "
            "with --run"
        ) from None
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", None) not in (errno.EACCES, errno.EPERM, errno.EROFS):
            print(f"  {shown} cannot be locked ({error}): start one script at a time on it")
        return
    _held[folder] = lock


def _sign(script: str, descriptor: int) -> None:
    """Write into the lock file who holds it; on a full disk it stays without a name."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{script}, process {os.getpid()}\n".encode(), 0)
    except OSError:
        pass
