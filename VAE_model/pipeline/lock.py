"""One script at a time on a run's folder: a second one is told who is at work.

The kernel lets go of the lock (flock) when the process ends, however it ends, so that a killed
script leaves nothing that a person would have to clear away.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO

from VAE_model.pipeline.files import alive
from VAE_model.pipeline.problem import Problem

LOCK = ".lock"  # in the run's folder; it stays there, and means nothing unless it is held

_held: dict[Path, IO[str]] = {}


def occupy(folder: Path, shown: str) -> None:
    """Hold the folder until this process ends; twice is once.

    Raises Problem where another process holds it.
    """
    folder = folder.resolve()
    if folder in _held:
        return
    try:
        lock = (folder / LOCK).open("a+", encoding="utf-8")  # open as long as it is held
    except OSError:  # who cannot write there disturbs nobody; the stage says so if it must write
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        name, _, process = lock.read().strip().rpartition(" ")
        lock.close()
        by = f"{name} {process}" if process.isdigit() and alive(int(process)) else "another script"
        raise Problem(
            f"{shown} is in use by {by}: wait until it has ended, or choose another folder "
            "with --run"
        ) from None
    except OSError as error:
        print(f"  {shown} cannot be locked ({error.strerror}): start one script at a time on it")
        lock.close()
        return
    _held[folder] = lock


def sign(folder: Path, script: str) -> None:
    """Leave word of who is at work, for whoever comes meanwhile."""
    if lock := _held.get(folder.resolve()):
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
            lock.truncate(0)
            lock.write(f"{script}, process {os.getpid()}\n")
            lock.flush()
