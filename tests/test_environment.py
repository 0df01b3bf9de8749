"""Claims about where a stage runs: batch systems, containers, pipes, and odd variables."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from conftest import draw_galaxy, run_script, succeeded

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.pipeline import parallel
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.training import distributed

ALONE = {"MASTER_ADDR": "", "MASTER_PORT": "", "WORLD_SIZE": "", "RANK": ""}


@pytest.fixture
def three(tmp_path: Path) -> Run:
    """A run of three images under a path with a blank and a letter beyond ASCII."""
    run, rng = Run(tmp_path / "rün 1"), np.random.default_rng(0)
    for number in range(3):
        flux = draw_galaxy("round", 0, rng)
        write_cutout(run.images() / f"{number}.fits", flux, 150.0 + number, 2.0, "DR9-south")
    return run


def command(run: Run) -> list[str]:
    return [sys.executable, str(ROOT / "make_datatxt.py"), "--run", str(run.folder)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


@pytest.mark.parametrize("streams", ["2>&-", "<&- >&- 2>&-"])
def test_a_stage_works_with_its_streams_closed(three: Run, streams: str):
    """As a daemon starts it: and nothing is written into a file in place of the stream."""
    before = {path.name: path.read_bytes() for path in three.images().iterdir()}
    line = ["sh", "-c", f'"$@" {streams}', "sh", *command(three)]
    done = subprocess.run(line, env=environment(), check=False, timeout=120)
    assert done.returncode == 0
    assert len(three.train_txt.read_text().splitlines()) == 3
    assert before == {path.name: path.read_bytes() for path in three.images().iterdir()}


def test_a_stage_whose_reader_has_gone_ends_in_one_line(three: Run):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command(three), stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
        env=environment(), timeout=120,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 141, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: the reader of the output")
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_terminal_without_the_letters_gets_their_codes(three: Run):
    done = succeeded(run_script(
        "make_datatxt.py", three, PYTHONIOENCODING="ascii", LC_ALL="POSIX", PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    ))  # fmt: skip
    assert "n 1/train.txt" in done.stdout and done.stdout.isascii()


INTERRUPTED = """
import os, signal, sys
import make_datatxt
from VAE_model.pipeline.stage import start
listed = make_datatxt.list_files
def list_files(folder):
    os.kill(os.getpid(), signal.SIGINT)
    return listed(folder)
make_datatxt.list_files = list_files
start(make_datatxt.main, make_datatxt.Config, "")
"""


@pytest.mark.parametrize(
    ("handler", "code"), [(signal.SIG_DFL, 130), (signal.SIG_IGN, 0)], ids=["shell", "nohup"]
)
def test_ctrl_c_ends_a_stage_unless_it_was_started_to_ignore_it(three: Run, handler, code: int):
    """SIG_IGN: as `nohup` and batch systems start a job, these tests perhaps as well."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "--run", str(three.folder)], env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler), capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert ("interrupted: the same command resumes from here" in done.stderr) == (code == 130)
    assert "Traceback" not in done.stderr


NAMELESS = """
import pwd
def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = unknown
import VAE_model
from astropy.io import fits
"""


def test_a_user_without_a_home_or_a_name_can_work():
    """As containers run a process under a number that no /etc/passwd has."""
    bare = {name: value for name, value in environment().items() if name != "HOME"}
    subprocess.run([sys.executable, "-c", NAMELESS], env=bare, check=True)


@pytest.mark.parametrize(
    "left",
    [
        {"WORLD_SIZE": "4"},
        {"WORLD_SIZE": "4", "RANK": "3"},
        {"RANK": "3", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "0"},
        {"WORLD_SIZE": "", "RANK": "", "LOCAL_WORLD_SIZE": ""},
        {"WORLD_SIZE": "many", "RANK": "first", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"},
    ],
)
def test_what_a_batch_system_leaves_in_the_environment_makes_no_group(monkeypatch, left: dict):
    for name, value in {**ALONE, **left}.items():
        monkeypatch.setenv(name, value)
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    assert parallel.cores() >= 1


def test_torchrun_makes_a_group(monkeypatch):
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "4", "RANK": "3"}
    for name, value in {**meeting, "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert (distributed.world_size(), distributed.rank(), distributed.local_world_size()) == (
        4,
        3,
        2,
    )


def test_cores_are_those_that_the_process_may_use():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += "from VAE_model.pipeline.parallel import cores; print(cores())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(**ALONE), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "1"


def test_without_semaphores_one_process_does_the_work(monkeypatch, capsys):
    """Where there is no /dev/shm, or none that can be written to."""

    def refused(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", refused)
    assert list(parallel.each(abs, range(-100, 0), 2)) == list(range(100, 0, -1))
    assert "one process instead of 2" in capsys.readouterr().out


def native_threads(_: int) -> list[int]:
    """Threads of each native library of this process, as it was loaded."""
    return [library["num_threads"] for library in threadpoolctl.threadpool_info()]


def test_native_libraries_of_other_processes_run_one_thread(monkeypatch):
    """BLAS takes its number of threads from the environment when it is loaded."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = list(parallel.each(native_threads, range(4), workers=2, few=1))
    assert all(found)
    assert {count for counts in found for count in counts} == {1}
    assert os.environ["OPENBLAS_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in os.environ
