"""Claims about the lock of a run, beside those of tests/test_faults.py about killed scripts."""

import errno
import os
import subprocess
import sys

import pytest
from filelock import FileLock

from VAE_model.pipeline import lock
from VAE_model.pipeline.problem import Problem

HOLD = "from pathlib import Path; from VAE_model.pipeline.lock import hold; "


def test_a_second_process_is_told_which_script_holds_the_run(tmp_path):
    lock.hold(tmp_path, "data/demo", "analysis/map.py")
    lock.hold(tmp_path, "data/demo", "analysis/map.py")  # twice is once
    program = HOLD + f"hold(Path({str(tmp_path)!r}), 'data/demo', 'analysis/probe.py')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    said = done.stderr.strip().splitlines()[-1]
    assert f"data/demo is in use by analysis/map.py, process {os.getpid()}: wait" in said
    lock._held.pop(tmp_path.resolve()).release()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / lock.LOCK).read_text().startswith("analysis/probe.py, process ")


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EACCES, ""), (errno.EROFS, ""), (errno.ENOLCK, "cannot be locked"),
     (errno.ENOSYS, "cannot be locked")],
)  # fmt: skip
def test_without_the_right_to_write_no_lock_is_needed_and_without_locks_one_is_told(
    tmp_path, monkeypatch, capsys, code, words
):
    def acquire(self):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    lock.hold(tmp_path, "data/demo", "analysis/map.py")
    said = capsys.readouterr().out
    assert (words in said) if words else not said
    assert tmp_path.resolve() not in lock._held


def test_a_lock_on_a_file_system_without_flock_is_not_taken_in_silence(
    tmp_path, monkeypatch, capsys
):
    """The answer of the kernel where a network file system has no locks."""
    import fcntl

    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    try:
        lock.hold(tmp_path, "data/demo", "analysis/map.py")
    except Problem:
        pytest.fail("a run that cannot be locked can be used")
    assert "data/demo cannot be locked" in capsys.readouterr().out
