"""Run "Several surveys" of docs/PROTOCOL.md on its skies, and write docs/TRANSFER.md.

Every sky is drawn, measured and removed by a process of its own (survey_sky.py). The same command
resumes. Results do not depend on the number of processes and threads beyond rounding.

Reads:  <results>/<seed>.json, <results>/<seed>_<survey>.npz of the skies that are done
Writes: these, <page> and, beside it, transfer.png

Example: python benchmarks/protocol/surveys.py --processes 2 --threads 1
"""

import sys
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from VAE_model.pipeline.files import write_json
from VAE_model.pipeline.parallel import cores
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start
from VAE_model.surveys import BASSMZLS, SDSS

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import survey_page, survey_search, survey_sky
from benchmarks.protocol.skies import run_all


@dataclass(frozen=True)
class Config(survey_sky.Constants):
    """Constants of the protocol; see docs/PROTOCOL.md and survey_sky.py."""

    seeds: tuple[int, ...] = tuple(range(301, 309))
    """Seeds of the skies."""
    long: int = 3
    """Skies, the first of them, on which the published network is measured too."""
    published: tuple[str, ...] = (BASSMZLS.name, SDSS.name)
    """Those of the surveys to which it is adapted."""
    processes: int = 1
    """Skies at a time."""
    threads: int = 0
    """Threads of each; 0: the cores divided by the processes."""
    page: Path = Path("docs/TRANSFER.md")
    """The page; its figure lies beside it."""


def jobs_of(config: Config) -> list[survey_sky.Config]:
    """Return what is to be measured, one job per sky."""
    shared = {one.name: getattr(config, one.name) for one in fields(survey_sky.Constants)}
    published = tuple(name for name in config.published if name in config.surveys)
    return [survey_sky.Config(seed=seed, published=published * (place < config.long), **shared)
            for place, seed in enumerate(config.seeds)]  # fmt: skip


def search(jobs: list[survey_sky.Config]) -> None:
    """Add the search among all skies to the results of each, if it is not there."""
    contents = {job.seed: survey_sky.read_result(job) for job in jobs}
    seeds, surveys = list(contents), jobs[0].surveys
    there = [content.get("search", {"seeds": [], "surveys": ()}) for content in contents.values()]
    if all(of["seeds"] == seeds and set(surveys) <= set(of["surveys"]) for of in there):
        return
    folder = survey_sky.path_of(jobs[0]).parent
    for job, found in zip(jobs, survey_search.search(folder, seeds, surveys).values(), strict=True):
        write_json(survey_sky.path_of(job), contents[job.seed] | {"search": found})


def main(config: Config) -> None:
    """Measure what is missing, and write the page."""
    if not config.seeds or not config.surveys or min(config.processes, config.galaxies) < 1:
        raise Problem("seeds, surveys, processes and galaxies must be at least one")
    if unknown := set(config.published) - set(survey_sky.OTHERS):
        raise Problem(f"published: there is no survey {min(unknown)!r} beside DECaLS")
    jobs = jobs_of(config)
    wanted = [job for job in jobs if survey_sky.missing(job)]
    threads = config.threads or max(1, cores() // config.processes)
    print(f"{len(jobs) - len(wanted)} of {len(jobs)} skies are there; {config.processes} at a time "
          f"with {threads} threads each", flush=True)  # fmt: skip
    write = partial(survey_page.write, config.results, config.page, len(config.seeds))
    run_all(wanted, config.processes, threads, Path(survey_sky.__file__), write)
    search(jobs)
    write()


if __name__ == "__main__":
    start(main, Config, __doc__)
