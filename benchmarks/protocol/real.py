"""Morphology of real galaxies in the latents, beside simple and supervised rivals.

The protocol is the upper part of docs/REAL.md. Each result is kept in a file, so that the same
command resumes; results of other code or images are measured again. `--accept` keeps those of other
code. Rivals that take minutes come last, one seed after the other. The tables hold all results that
are there; fewer seeds and results of other code are marked.

Reads:  <real>/<set>/images and labels.csv, if something is to be measured
Writes: <folder>/<set>/ (a run each, 9 GB in all), <results>/<set>/, docs/REAL.md with --write

Example: python benchmarks/protocol/real.py --write
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from VAE_model.pipeline.command_line import given
from VAE_model.pipeline.files import read_json, write_json
from VAE_model.pipeline.run import ROOT
from VAE_model.pipeline.stage import Problem, start

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import morphology, real_sets
from benchmarks.protocol.real_page import SETS, page
from benchmarks.protocol.real_sets import DEFECT, RANKING, measure, open_set
from benchmarks.protocol.rivals import RIVALS
from benchmarks.timing import write_below_the_line

SLOW = ("published", "resnet", "statmorph")  # beginnings of the names of rivals


@dataclass(frozen=True)
class Config:
    """Constants of the protocol."""

    real: Path = Path(os.environ.get("GALAXY_VAE_REAL") or "../shared/real")
    """Folder of the real sets."""
    folder: Path = Path("data/real_sets")
    """Folder of the runs."""
    results: Path = Path("benchmarks/protocol/results/real")
    """Folder of the results."""
    sets: tuple[str, ...] = SETS
    """Sets to measure; none: only the page."""
    rivals: tuple[str, ...] = tuple(RIVALS)
    """Rivals to measure."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of networks, forests and random projections."""
    trees: int = 300
    """Trees per forest."""
    min_test: int = 40
    """Test galaxies that a question needs, except in gz_examples."""
    n_bootstrap: int = 1000
    """Resamples behind an interval, except of EFIGI (200, kept with the results)."""
    quick: bool = False
    """One epoch, to try the command."""
    write: bool = False
    """Write docs/REAL.md."""


def todo(config: Config) -> Iterator[tuple[str, str, int]]:
    """Yield set, rival and seed in the order of measurement: the slow rivals seed by seed, last."""
    slow = [rival for rival in config.rivals if rival.startswith(SLOW)]
    fast = [rival for rival in config.rivals if rival not in slow]
    yield from ((name, r, seed) for name in config.sets for r in fast for seed in config.seeds)
    yield from ((name, r, seed) for seed in config.seeds for name in config.sets for r in slow)


def measure_all(config: Config) -> None:
    """Measure what is missing or not up to date. Raises Problem for an unknown set or rival."""
    for given_names, known in ((config.sets, SETS), (config.rivals, tuple(RIVALS))):
        if unknown := [name for name in given_names if name not in known]:
            raise Problem(f"unknown: {', '.join(unknown)}; choose from {', '.join(known)}")
    if "statmorph" in config.rivals and config.sets:
        morphology.check_installed()
    folder, opened = ROOT / config.results, {}
    for name in config.sets:
        opened[name] = open_set(ROOT / config.real, config.folder, name, config.min_test)
        write_json(folder / name / "set.json", opened[name].describe())
    for name, rival, seed in todo(config):
        if name == DEFECT and rival not in RANKING:
            continue
        path = folder / name / f"{rival}_{seed}.json"
        constants = {"images": read_json(folder / name / "set.json")["hash"],
                     "trees": config.trees, "quick": config.quick}  # fmt: skip
        made_by = {"constants": constants, "code": real_sets.code_of(rival)}
        done = read_json(path) if path.exists() else {}
        if done.get("constants") == constants and given.accept and done["code"] != made_by["code"]:
            write_json(path, done | {"code": made_by["code"], "accepted": True})
        elif not made_by.items() <= done.items():
            print(f"{name}: {rival}, seed {seed}", flush=True)
            found = measure(opened[name], rival, seed, config.trees, config.quick)
            write_json(path, made_by | found)


def main(config: Config) -> None:
    """Measure, print the tables, and write them if wanted."""
    measure_all(config)
    text = page(ROOT / config.results, config.seeds, config.n_bootstrap)
    print(text)
    if config.write:
        write_below_the_line(ROOT / "docs" / "REAL.md", text)


if __name__ == "__main__":
    start(main, Config, __doc__)
