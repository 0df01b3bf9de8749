"""Run every stage twice, with one and with four worker processes; the outputs must be the same.

Two skies are simulated and gone through from the seed: list, split, weights, tables, pictures and
pages must not depend on how the work was shared out.

Reads:  nothing
Writes: nothing but its own temporary folder; prints the counts, ends with 1 on a fault

Example: python benchmarks/faults/same_again.py
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import stages as pipeline

from VAE_model.pipeline.command_line import start
from VAE_model.pipeline.files import read_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import ROOT, Run


@dataclass(frozen=True)
class Config:
    workers: tuple[int, int] = (1, 4)
    """Worker processes of the two runs."""
    stages: tuple[str, ...] = ()
    """Up to the last of these; none: all of `make run`."""


def finish(stage: str, run: Run, workers: int) -> None:
    """Run a stage, with so many workers where it has any."""
    shared = "    workers: int" in (ROOT / stage).read_text(encoding="utf-8")
    code, said = pipeline.finish(stage, run, *(("--workers", str(workers)) if shared else ()))
    if code:
        raise Problem(f"{stage} does not run: {said.strip().splitlines()[-1]}")


def contents(run: Run) -> dict[str, object]:
    """As pipeline.contents; of an index of packed images all but the times of the files."""
    found: dict[str, object] = dict(pipeline.contents(run))
    for path in run.folder.rglob("index.parquet"):
        index = read_parquet(path).drop(columns="modified")
        found[path.relative_to(run.folder).as_posix()] = index.to_csv(index=False)
    return found


def main(config: Config) -> None:
    names, faults = pipeline.names(), 0
    last = max((names.index(stage) for stage in config.stages), default=len(names) - 1)
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        runs = [Run(Path(name) / f"run_{number}" / "run") for number in (1, 2)]
        for run in runs:
            run.folder.mkdir(parents=True)
        for stage in names[: last + 1]:
            for run, workers in zip(runs, config.workers, strict=True):
                finish(stage, run, workers)
            one, other = map(contents, runs)
            differing = [n for n in sorted({*one, *other}) if one.get(n) != other.get(n)]
            wrong = [f"{n} differs" for n in differing if n not in seen]
            seen |= set(differing)
            faults += pipeline.tally(
                f"{stage:<30} {len(one)} files so far, the same: {'NO' if wrong else 'yes'}", wrong
            )
    if faults:
        raise Problem(f"{faults} faults")


if __name__ == "__main__":
    start(main, Config, __doc__)
