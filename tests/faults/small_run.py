"""A small run that goes through the stages one by one, and what counts in its files.

Two runs are equal where every file but side-cars and the page with the seconds holds the same:
tensors, tables, pictures and lists bit by bit.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from conftest import SMALL

from VAE_model.pipeline import stages
from VAE_model.pipeline.files import list_files, sha256
from VAE_model.pipeline.lock import LOCK
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.training import checkpoint

PIPELINE = [entry.script for entry in stages.pipeline()]
MORE = {"Galaxy_VAE_n.py": "--epochs 6", "transfer/adapt.py": "--epochs 3"}  # to be killed in


def begin(stage: str, run: Run, workers: int = 2) -> subprocess.Popen[str]:
    """Start a stage, with so many workers where it has any; what it says on stderr is kept."""
    constants = [*SMALL.get(stage, ()), *shlex.split(MORE.get(stage, ""))]
    if "    workers: int" in (ROOT / stage).read_text(encoding="utf-8"):
        constants += ["--workers", str(workers)]
    command = [sys.executable, str(ROOT / stage), "--run", str(run.folder), *constants]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True,
                            stderr=subprocess.PIPE, env=environment)  # fmt: skip


def finish(stage: str, run: Run, workers: int = 2) -> tuple[int, str]:
    """Run a stage to its end; return its exit code, and what it said on stderr."""
    with begin(stage, run, workers) as process:
        said = process.communicate()[1]
    return process.returncode, said


class Walk:
    """A run on which the stages are done in order, as far as they are asked for."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder, self.workers, self.todo = folder, workers, list(PIPELINE)
        self.run = Run(folder / "run")
        self.run.folder.mkdir(parents=True)

    def through(self, stage: str) -> tuple[Run, Run]:
        """Do all stages up to this one; return the run as it was before it, and after it."""
        while self.todo:
            script = self.todo.pop(0)
            before = copy(self.run, self.folder / f"before_{len(self.todo)}")
            code, said = finish(script, self.run, self.workers)
            assert code == 0, f"{script} does not run undisturbed: {said}"
            if script == stage:
                return before, self.run
        raise ValueError(f"{stage} was done before")


def copy(source: Run, target: Path) -> Run:
    """Return a copy whose files are hard links: stages replace files, they do not change them."""
    subprocess.run(["cp", "-al", str(source.folder), str(target)], check=True)
    (target / LOCK).unlink(missing_ok=True)  # a linked lock would be one for both
    return Run(target)


def contents(run: Run) -> dict[str, str]:
    """Return a hash of what counts in each file, by its name in the run."""
    found = {}
    for path in list_files(run.folder):
        name = path.relative_to(run.folder).as_posix()
        if path.with_suffix("").exists() or path == run.report:
            continue  # a side-car or the report: they hold seconds
        if path.suffix == ".safetensors":
            found[name] = str(hash_of(checkpoint.load(path)))
        elif path.suffix in (".json", ".jsonl"):
            lines = path.read_text(encoding="utf-8")
            parts = lines.splitlines() if path.suffix == ".jsonl" else [lines]
            found[name] = json.dumps([timeless(json.loads(part)) for part in parts])
        else:
            found[name] = sha256(path)
    return found


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of files that are not the same in both runs."""
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def timeless(value: Any) -> Any:
    """Return JSON without what differs from run to run: seconds."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key != "seconds"}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def hash_of(value: Any) -> Any:
    """Return a model's content as something that compares equal: bytes of tensors, no seconds."""
    if isinstance(value, torch.Tensor):
        return hash(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    if isinstance(value, dict):
        return tuple((str(k), hash_of(v)) for k, v in value.items() if k != "seconds")
    return tuple(hash_of(v) for v in value) if isinstance(value, list | tuple) else repr(value)


def leftovers(run: Run) -> list[str]:
    """Return the temporary files that are still there."""
    hidden = [path for path in run.folder.rglob(".*") if path.name not in (LOCK, ".simulated")]
    return [path.relative_to(run.folder).as_posix() for path in hidden]
