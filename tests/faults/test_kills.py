"""Kill every stage with SIGKILL at random moments; what it leaves in the end must be the same.

A kill that comes after the stage has ended does not count: its run begins anew from the files
before it. After every kill, each file with its final name must be whole; after the last one the
same command must end with what an undisturbed run has, and leave no temporary file.

Reads:  nothing
Writes: nothing but its own temporary folder; prints the counts, ends with 1 on a fault

Example: python benchmarks/faults/kill_stages.py --kills 20 --stages Galaxy_VAE_n.py
"""

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import stages as pipeline

from VAE_model.pipeline.command_line import start
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run


@dataclass(frozen=True)
class Config:
    kills: int = 20
    """Kills of each stage."""
    more: int = 40
    """Kills of the stages that take long: training and adaptation."""
    stages: tuple[str, ...] = ()
    """Which stages; none: all of `make run`."""
    seed: int = 0
    """Decides the moments."""


_LONG = ("Galaxy_VAE_n.py", "transfer/adapt.py")


def torn(now: dict[str, str], before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Files that are neither as they were before the stage nor as they are after it.

    The state of a training is another after every epoch; the packed copies may come at any time.
    """
    growing = ("model/", "packed/", "transfer/packed/", "images/")
    return [
        name
        for name, content in now.items()
        if content not in (before.get(name), after.get(name)) and not name.startswith(growing)
    ]


def disturb(
    config: Config, stage: str, before: Run, after: Run, folder: Path
) -> tuple[int, int, list[str]]:
    """Kills that met the stage at work, kills that came too late, and what was wrong."""
    rng = np.random.default_rng([config.seed, pipeline.names().index(stage)])
    was, whole = pipeline.contents(before), pipeline.contents(after)
    kills, met, late = config.more if stage in _LONG else config.kills, 0, 0
    wrong: list[str] = []
    run = pipeline.copy(before, folder)
    began = time.monotonic()
    pipeline.finish(stage, run)
    longest = time.monotonic() - began
    shutil.rmtree(folder)
    run = pipeline.copy(before, folder)
    while met < kills and late < 3 * kills:
        began, at_work = time.monotonic(), False
        with pipeline.begin(stage, run) as process:
            try:
                process.communicate(timeout=rng.uniform(0.2, 1.0) * longest)
            except subprocess.TimeoutExpired:
                at_work = True
                process.kill()
                process.communicate()
        if at_work:
            met += 1
            wrong += [f"{name} half written" for name in torn(pipeline.contents(run), was, whole)]
        else:
            late, longest = late + 1, time.monotonic() - began
            shutil.rmtree(folder)
            run = pipeline.copy(before, folder)
    code, said = pipeline.finish(stage, run)
    if code:
        wrong.append(f"does not go on: {said.strip().splitlines()[-1]}")
    now = pipeline.contents(run)
    differing = sorted(name for name in {*whole, *now} if whole.get(name) != now.get(name))
    wrong += [f"{name} differs" for name in differing]
    wrong += [f"{name} left behind" for name in pipeline.leftovers(run)]
    shutil.rmtree(folder)
    return met, late, wrong


def main(config: Config) -> None:
    wanted, faults = config.stages or tuple(pipeline.names()), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stage, before, after in pipeline.walk(folder, wanted):
            began = time.monotonic()
            met, late, wrong = disturb(config, stage, before, after, folder / "disturbed")
            same = "yes" if not wrong else "NO"
            faults += pipeline.tally(
                f"{stage:<30} {met} kills at work, {late} too late, then the same outputs: {same} "
                f"({time.monotonic() - began:.0f} s)",
                wrong,
            )
            shutil.rmtree(before.folder)
    if faults:
        raise Problem(f"{faults} faults")


if __name__ == "__main__":
    start(main, Config, __doc__)
