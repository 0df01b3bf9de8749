"""The lock of a run: one script at a time; a second one is told the name of the first.

The lock is the kernel's (flock, by filelock): it ends with the process, even if that is killed, so
that no lock file must ever be deleted.
"""

import contextlib
import errno
import os
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from VAE_model.pipeline.files import is_alive
from VAE_model.pipeline.problem import Problem

LOCK = ".lock"  # in the run's folder, where it stays when the lock is released

_held: dict[Path, FileLock] = {}


def hold(folder: Path, shown: str, script: str) -> None:
    """Hold the lock of a run's folder until this process ends.

    Read-only users need no lock. A file system without locks is reported. Raises Problem if another
    process holds the lock, with its script and process number.
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


def user_of(folder: Path) -> str:
    """Return the other script that holds the lock of a run, with its process number, or nothing.

    Reads only, so that it can never keep another script from its lock.
    """
    try:
        by = (folder / LOCK).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    number = by.rsplit(" ", 1)[-1]
    others = number.isdigit() and int(number) != os.getpid() and is_alive(int(number))
    return by if others else ""


def _sign(script: str, descriptor: int) -> None:
    """Write script and process number into the lock file, unless the disk is full."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{script}, process {os.getpid()}\n".encode(), 0)
