"""Each error names a command that can be pasted, and following them ends with the report."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_command, run_script
from own_images import NUM_VAR as NUMBER
from own_images import encoded_run

from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import Run

GOALS = (
    ("analysis/classify.py", "--label", "kind", "--min-test", "2", "--min-answer", "1",
     "--trees", "5", "--n-bootstrap", "10"),
    ("analysis/decals_4.py", "--trees", "5"),
    ("analysis/report.py",),
)  # fmt: skip


def remove(*names: str) -> Callable[[Run], None]:
    """Return a breakage that deletes files of a run with their side-cars."""

    def breakage(run: Run) -> None:
        for name in names:
            path = run.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            sidecar(path).unlink(missing_ok=True)

    return breakage


def write(name: str, content: bytes) -> Callable[[Run], None]:
    """Return a breakage that replaces the content of a file."""
    return lambda run: (run.folder / name).write_bytes(content) and None


def edit_sidecar(name: str, **values: object) -> Callable[[Run], None]:
    """Return a breakage that changes values in the side-car of a file."""

    def breakage(run: Run) -> None:
        beside = sidecar(run.folder / name)
        beside.write_text(json.dumps(json.loads(beside.read_text()) | values))

    return breakage


def another_training(run: Run) -> None:
    """Train the model again, so that all that follows is stale."""
    options = ("--num-var", str(NUMBER), "--epochs", "1", "--seed", "5")
    assert run_script("Galaxy_VAE_n.py", run, *options).returncode == 0


def one_image_less(run: Run) -> None:
    """Delete an image that train.txt lists."""
    next(run.images("mine").glob("*.fits")).unlink()


STATES = {
    "the list and its packed images are missing": remove("train.txt", "packed"),
    "the list is empty": write("train.txt", b""),
    "the model is missing": remove(f"model/vae_{NUMBER}.safetensors"),
    "the model is damaged": write(f"model/vae_{NUMBER}.safetensors", b"not a model"),
    "the model is another": another_training,
    "the latents are damaged": write(f"result/latents_{NUMBER}.parquet", b"PAR1PAR1"),
    "a side-car is damaged": lambda run: (
        sidecar(run.latents(NUMBER)).write_text("{") and None
    ),
    "an image has gone": one_image_less,
    "the code has changed": edit_sidecar(f"result/latents_{NUMBER}.parquet", code="0"),
    "a run did not end": edit_sidecar(
        "train.txt", begun=True, output={"sha256": "0", "rows": 1}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of images of one's own with everything up to the report, of few latents."""
    run = encoded_run(tmp_path_factory, tmp_path_factory.mktemp("suggestions") / "a run")
    for script, *options in GOALS:
        done = run_script(script, run, "--num-var", str(NUMBER), *options)
        assert done.returncode == 0, (script, done.stderr)
    return run


def paste(command: str) -> subprocess.CompletedProcess[str]:
    """Run a suggested command as it stands."""
    words = shlex.split(command)
    assert words[0] == "python"
    return run_command(words[1:])


def follow(first: list[str]) -> list[str]:
    """Run a command, and what its error suggests before the command again, until it succeeds.

    Return all commands, in order.
    """
    told = [shlex.join(["python", *first])]
    while (done := paste(told[-1])).returncode or told[-1] != told[0]:
        if done.returncode:
            error = done.stderr.strip().splitlines()[-1]
            found = re.search(r"run (python .+?)(?:;|, or |$)", error)
            assert found, f"no command to run in: {error}"
            print(error)
        told.append(found[1] if done.returncode else told[0])
        assert len(told) < 16, "\n".join(told)
    return told


@pytest.mark.parametrize("state", STATES)
def test_following_the_suggestions_ends_with_the_report(
    state: str, complete: Run, tmp_path: Path
) -> None:
    run = Run(tmp_path / "a run")
    shutil.copytree(complete.folder, run.folder)
    STATES[state](run)
    for script, *options in GOALS[1:]:
        told = follow([script, "--run", str(run.folder), "--num-var", str(NUMBER), *options])
        print(*told, sep="\n")
    assert run.report.exists()
    assert all(str(run.folder) in shlex.split(command) for command in told)
