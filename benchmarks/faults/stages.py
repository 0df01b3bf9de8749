"""The stages of a small run, one after the other, each with the run as it was before it.

Two runs are equal where every file but side-cars and the page with the seconds holds the same:
tensors, tables, pictures and lists bit by bit.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from VAE_model.files import list_files, sha256
from VAE_model.occupied import LOCK
from VAE_model.paths import ROOT, Run
from VAE_model.problem import Problem
from VAE_model.training import checkpoint

SMALL = {  # constants that make a stage small
    "data/simulate.py": "--galaxies 90 --overlap 70",
    "Galaxy_VAE_n.py": "--epochs 6",
    "analysis/choose_dimension.py": "--num-var 2 4 8 --epochs 1",
    "analysis/classify.py": "--min-test 5 --min-answer 2 --trees 20",
    "analysis/probe.py": "--trees 20 --draws 100",
    "transfer/adapt.py": "--epochs 3",
    "transfer/compare.py": "--min-test 5 --min-answer 2 --trees 20",
}


def names() -> list[str]:
    """The scripts of `make run`, in order, from the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    own = text.split("\nrun: setup")[1].split("\n\n")[0].splitlines()[1:-1]
    stages = text.split("\ndefine stages\n")[1].split("endef")[0].splitlines()
    return [shlex.split(line)[1] for line in [*own, *stages]]


def command(stage: str, run: Run, *more: str) -> list[str]:
    constants = [*shlex.split(SMALL.get(stage, "")), *more]
    return [sys.executable, str(ROOT / stage), "--run", str(run.folder), *constants]


def begin(stage: str, run: Run, *more: str) -> subprocess.Popen[str]:
    """Start a stage; what it says is kept, but not its bars."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.Popen(command(stage, run, *more), stdout=subprocess.DEVNULL, text=True,
                            stderr=subprocess.PIPE, env=environment)  # fmt: skip


def finish(stage: str, run: Run, *more: str) -> tuple[int, str]:
    """Run a stage to its end, with `more` constants: exit code, and what it said on stderr."""
    with begin(stage, run, *more) as process:
        said = process.communicate()[1]
    return process.returncode, said


def tally(what: str, wrong: list[str]) -> int:
    """Say what became of a stage, and the first of what went wrong; how much that is."""
    print("\n    ".join([f"  {what}", *wrong[:5]]), flush=True)
    return len(wrong)


def copy(source: Run, target: Path) -> Run:
    """A copy whose files are hard links: stages replace files, they do not change them."""
    subprocess.run(["cp", "-al", str(source.folder), str(target)], check=True)
    return Run(target)


def walk(folder: Path, wanted: tuple[str, ...]) -> Iterator[tuple[str, Run, Run]]:
    """Run every stage once. Gives each wanted one with the run before and after it."""
    run = Run(folder / "run")
    run.folder.mkdir()
    for number, stage in enumerate(names()):
        before = copy(run, folder / f"before_{number}") if stage in wanted else None
        code, said = finish(stage, run)
        if code:
            raise Problem(f"{stage} does not run undisturbed: {said.strip().splitlines()[-1]}")
        if before is not None:
            yield stage, before, run


def contents(run: Run) -> dict[str, str]:
    """Each file by its name in the run, with a hash of what counts in it."""
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


def timeless(value: Any) -> Any:
    """JSON without what differs from run to run: seconds."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key != "seconds"}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def hash_of(value: Any) -> Any:
    """A model's content as something that compares equal: bytes of tensors, no seconds."""
    if isinstance(value, torch.Tensor):
        return hash(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    if isinstance(value, dict):
        return tuple((str(k), hash_of(v)) for k, v in value.items() if k != "seconds")
    return tuple(hash_of(v) for v in value) if isinstance(value, list | tuple) else repr(value)


def leftovers(run: Run) -> list[str]:
    """Temporary files that are still there."""
    hidden = [path for path in run.folder.rglob(".*") if path.name not in (LOCK, ".simulated")]
    return [path.relative_to(run.folder).as_posix() for path in hidden]
