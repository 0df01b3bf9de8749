"""Run the protocol of docs/PROTOCOL.md on its skies, and write docs/RESULTS.md.

Every sky is drawn, measured and removed by a process of its own (sky.py). First the cheap rivals
and the second survey on all skies, then the rivals that take long on the first of them. The same
command resumes. Results do not depend on the number of processes and threads beyond rounding.

Reads:  <results>/<seed>.json of the skies that are done
Writes: <results>/<seed>.json, <page> and, beside it, results.png

Example: python benchmarks/protocol/skies.py --processes 2 --threads 1
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Literal

from VAE_model.pipeline.parallel import cores
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import morphology, results, sky, survey_sky

Job = sky.Config | survey_sky.Config
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")


@dataclass(frozen=True)
class Config:
    """Constants of the protocol; see docs/PROTOCOL.md and sky.py."""

    seeds: tuple[int, ...] = tuple(range(201, 211))
    """Seeds of the skies."""
    long: int = 3
    """Skies, the first of them, on which the rivals that take long are measured too."""
    processes: int = 1
    """Skies at a time."""
    threads: int = 0
    """Threads of each; 0: the cores divided by the processes."""
    page: Path = Path("docs/RESULTS.md")
    """The page; its figure lies beside it."""
    folder: Path = sky.Config.folder
    """Folder of the runs, which are removed as they are done."""
    results: Path = sky.Config.results
    """Folder of the results."""
    galaxies: int = sky.Config.galaxies
    """Galaxies in each sky."""
    overlap: int = sky.Config.overlap
    """Those of them that BASS+MzLS observes too."""
    trees: int = sky.Config.trees
    """Trees per forest."""
    forests: int = sky.Config.forests
    """Forests with different seeds that are averaged."""
    epochs: int = sky.Config.epochs
    """Of every network; 0: those of the protocol."""
    min_test: int = sky.Config.min_test
    """Test galaxies that a question needs."""
    min_answer: int = sky.Config.min_answer
    """Galaxies that an answer needs in either split."""


def jobs_of(config: Config, tier: Literal[1, 2]) -> list[sky.Config]:
    """Return what is to be measured in a tier, one job per sky."""
    shared = {one.name for one in fields(sky.Config)} & {one.name for one in fields(Config)}
    one = sky.Config(tier=tier, **{name: getattr(config, name) for name in shared})
    return [replace(one, seed=s) for s in config.seeds[: None if tier == 1 else config.long]]


def run_one(job: Job, threads: int, script: Path) -> None:
    """Measure one sky by a script in a process with its own number of threads."""
    options = [word for of in fields(job) for word in words(of.name, getattr(job, of.name))]
    limits = {name: str(threads) for name in THREADS}
    command = [sys.executable, str(script), *options]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **limits}, check=True)


def words(name: str, value: object) -> list[str]:
    """Return the words of a command that set a constant."""
    return [option(name), *map(str, value if isinstance(value, tuple) else (value,))]


def option(name: str) -> str:
    """Return the option of a constant."""
    return f"--{name.replace('_', '-')}"


def run_all(
    jobs: Sequence[Job], processes: int, threads: int, script: Path, write: Callable[[], None]
) -> None:
    """Measure several skies by a script, some at a time, and write the page after each."""
    with ThreadPoolExecutor(processes) as pool:
        running = {pool.submit(run_one, job, threads, script): job for job in jobs}
        for one in as_completed(running):
            if isinstance(one.exception(), subprocess.CalledProcessError):
                pool.shutdown(wait=False, cancel_futures=True)
                seed = running[one].seed
                raise Problem(f"sky {seed} failed, see above: the same command resumes")
            one.result()
            write()


def main(config: Config) -> None:
    """Measure what is missing, one tier after the other, and write the page."""
    if not config.seeds or min(config.processes, config.galaxies) < 1:
        raise Problem("seeds, processes and galaxies must be at least one")
    jobs = [jobs_of(config, 1), jobs_of(config, 2)]
    wanted = [[job for job in of if sky.missing(job)] for of in jobs]
    if wanted[1]:
        morphology.check_installed()
    threads = config.threads or max(1, cores() // config.processes)
    left, every = (sum(map(len, of)) for of in (wanted, jobs))
    print(f"{every - left} of {every} parts are there; {config.processes} at a time with {threads} "
          "threads each", flush=True)  # fmt: skip
    write = partial(results.write, config.results, config.page, len(config.seeds))
    for of in wanted:
        run_all(of, config.processes, threads, Path(sky.__file__), write)
    write()


if __name__ == "__main__":
    start(main, Config, __doc__)
