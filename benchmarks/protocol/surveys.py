"""Run "Several surveys" of docs/PROTOCOL.md on its skies, and write docs/TRANSFER.md.

Every sky is drawn, measured and removed by a process of its own (survey_sky.py). The same command
resumes. Results do not depend on the number of processes and threads beyond rounding.

Reads:  <results>/<seed>.json of the skies that are done
Writes: <results>/<seed>.json, <page> and, beside it, transfer.png

Example: python benchmarks/protocol/surveys.py --processes 2 --threads 1
"""

import sys
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from VAE_model.pipeline.parallel import cores
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import survey_page, survey_sky
from benchmarks.protocol.skies import run_all


@dataclass(frozen=True)
class Config:
    """Constants of the protocol; see docs/PROTOCOL.md and survey_sky.py."""

    seeds: tuple[int, ...] = tuple(range(301, 309))
    """Seeds of the skies."""
    surveys: tuple[str, ...] = survey_sky.Config.surveys
    """Surveys beside DECaLS: bassmzls, des, sdss, hsc."""
    processes: int = 1
    """Skies at a time."""
    threads: int = 0
    """Threads of each; 0: the cores divided by the processes."""
    page: Path = Path("docs/TRANSFER.md")
    """The page; its figure lies beside it."""
    folder: Path = survey_sky.Config.folder
    """Folder of the runs, which are removed as they are done."""
    results: Path = survey_sky.Config.results
    """Folder of the results."""
    galaxies: int = survey_sky.Config.galaxies
    """Galaxies in each sky; every survey observes all of them."""
    trees: int = survey_sky.Config.trees
    """Trees per forest."""
    forests: int = survey_sky.Config.forests
    """Forests with different seeds that are averaged."""
    epochs: int = survey_sky.Config.epochs
    """Of every training; 0: those of the stages."""
    min_test: int = survey_sky.Config.min_test
    """Test galaxies that a question needs."""
    min_answer: int = survey_sky.Config.min_answer
    """Galaxies that an answer needs in either split."""


def jobs_of(config: Config) -> list[survey_sky.Config]:
    """Return what is to be measured, one job per sky."""
    names = {one.name for one in fields(survey_sky.Config)} & {one.name for one in fields(Config)}
    shared = {name: getattr(config, name) for name in names}
    return [survey_sky.Config(seed=seed, **shared) for seed in config.seeds]


def main(config: Config) -> None:
    """Measure what is missing, and write the page."""
    if not config.seeds or not config.surveys or min(config.processes, config.galaxies) < 1:
        raise Problem("seeds, surveys, processes and galaxies must be at least one")
    jobs = jobs_of(config)
    wanted = [job for job in jobs if survey_sky.missing(job)]
    threads = config.threads or max(1, cores() // config.processes)
    print(f"{len(jobs) - len(wanted)} of {len(jobs)} skies are there; {config.processes} at a time "
          f"with {threads} threads each", flush=True)  # fmt: skip
    write = partial(survey_page.write, config.results, config.page, len(config.seeds))
    run_all(wanted, config.processes, threads, Path(survey_sky.__file__), write)
    write()


if __name__ == "__main__":
    start(main, Config, __doc__)
