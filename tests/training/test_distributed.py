"""Two processes work as one: the same losses, the same latents, and an end that says why."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import run_script, succeeded
from pandas.testing import assert_frame_equal

from VAE_model.pipeline.run import ROOT, Run

SETTINGS = (
    "--num-var",
    "3",
    "--network",
    "published",
    "--batch-size",
    "10",
    "--precision",
    "float32",
)


def torchrun(script: str, run: Run, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--", str(ROOT / script), "--run", str(run.folder), *arguments,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run_two(script: str, run: Run, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        torchrun(script, run, *arguments), env=environment(), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def log(run: Run) -> list[dict]:
    return [json.loads(line) for line in run.model_log(3).read_text().splitlines()]


@pytest.fixture(scope="module")
def one_and_two(tiny_run: Run, tmp_path_factory) -> tuple[Run, Run]:
    """The same run trained and extracted by one process, and by two."""
    folder = tmp_path_factory.mktemp("distributed")
    runs = []
    for name, start in (("one", run_script), ("two", run_two)):
        run = Run(shutil.copytree(tiny_run.folder, folder / name))
        for script, arguments in (
            ("Galaxy_VAE_n.py", (*SETTINGS, "--epochs", "3")),
            ("analysis/extract_latents.py", ("--num-var", "3", "--batch-size", "7")),
        ):
            if name == "two" and script != "Galaxy_VAE_n.py":
                for file in ("vae_3.safetensors", "vae_3.safetensors.json"):  # the same model
                    shutil.copy2(runs[0].folder / "model" / file, run.folder / "model" / file)
            done = start(script, run, *arguments)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("wrote") == 1, "one process alone writes and speaks"
        runs.append(run)
    return tuple(runs)


def test_two_processes_have_the_loss_curve_of_one(one_and_two: tuple[Run, Run]):
    one, two = map(log, one_and_two)
    assert len(one) == len(two) == 3
    for alone, shared in zip(one, two, strict=True):
        for name in ("train_reconstruction", "train_kl", "validation_loss"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-3)


def test_two_processes_extract_the_same_table(one_and_two: tuple[Run, Run]):
    one, two = (pd.read_parquet(run.latents(3)) for run in one_and_two)
    assert_frame_equal(one, two, check_exact=True)
    assert not list(one_and_two[1].result("").glob(".latents*"))


def test_a_process_without_a_batch_waits_for_the_others(one_and_two: tuple[Run, Run], tmp_path):
    run = Run(shutil.copytree(one_and_two[1].folder, tmp_path / "run"))
    done = run_two("analysis/extract_latents.py", run, "--num-var", "3", "--batch-size", "1000")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(run.latents(3))) == len(run.train_txt.read_text().splitlines())


def test_a_killed_process_ends_the_job_in_one_line_and_one_process_goes_on(
    copy_of_tiny_run: Run, one_and_two: tuple[Run, Run]
):
    run = copy_of_tiny_run
    command = torchrun("Galaxy_VAE_n.py", run, *SETTINGS, "--epochs", "9")
    job = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not run.model_log(3).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = subprocess.run(
        ["pgrep", "-P", str(job.pid), "-f", "Galaxy_VAE_n.py"], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    _, said = job.communicate(timeout=120)
    assert job.returncode != 0
    ours = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(ours) == 1 and "the same command resumes" in ours[0], said
    epochs = len(log(run))
    assert 1 <= epochs < 9
    more = succeeded(run_script("Galaxy_VAE_n.py", run, *SETTINGS, "--epochs", "9"))
    assert f"resumes after epoch {epochs} of 9" in more.stdout
    assert np.isfinite([line["validation_loss"] for line in log(run)]).all()


def test_a_script_for_one_process_says_so(tiny_run: Run):
    done = run_two("analysis/decals_1.py", tiny_run)
    assert done.returncode != 0
    assert "is a job for one process: start it with python" in done.stderr
