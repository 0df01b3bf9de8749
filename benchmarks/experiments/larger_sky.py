"""Part II on larger skies of several seeds, to test whether the demo's result holds in general.

Makes each sky, runs the stages up to transfer/compare.py on it, and writes one table over all
seeds. Then the same with a third survey of the same galaxies, much poorer than BASS+MzLS: does
adaptation close a gap where there is one? Finished stages are not repeated. About 20 minutes per
seed on 2 cores and 10 GB on disk.

Reads:  nothing
Writes: <folder>/<seed>/ and <folder>/<seed>_poor/ (two runs per seed), docs/TRANSFER.md

Example: python benchmarks/experiments/larger_sky.py --seeds 2 3 4
"""

import functools
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from operator import getitem
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from scipy.ndimage import gaussian_filter

from VAE_model.data.cutout_writer import write_cutout
from VAE_model.data.cutouts import ENDINGS, PIXEL_SCALE, BadCutout, read_cutout
from VAE_model.evaluation.bootstrap import Estimate
from VAE_model.pipeline import parallel, stages
from VAE_model.pipeline.files import list_files, read_json, write_text
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import start
from VAE_model.report.tables import Table
from VAE_model.report.transfer import CARRIED, HOME, label_of, surveys_of, text
from VAE_model.surveys import BASSMZLS, DECALS
from VAE_model.transfer.adaptation import BEFORE

STAGES = [entry.script for entry in stages.needed("take", "compare")]
TRANSFER = [script for script in STAGES if script.startswith("transfer/")]
POOR = "poor"  # folder of the third survey's images
Content = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Constants of the experiment."""

    folder: Path = Path("data/larger")
    """Folder of the runs, one per seed."""
    seeds: tuple[int, ...] = (2, 3, 4)
    """Seeds of the skies; methods and their weights were chosen on seed 11."""
    galaxies: int = 3000
    """Galaxies that DECaLS observes in each."""
    overlap: int = 2700
    """Those of them that BASS+MzLS observes too."""
    poor_fwhm: float = 2.5
    """Seeing of the poor survey (arcsec); 0: no such survey."""
    poor_noise: float = 3.0
    """Added white noise, in units of that of DECaLS."""
    workers: int = 0
    """Processes that draw the images of the poor survey; 0: one per core."""


def do(run: Run, scripts: list[str], **constants: object) -> None:
    """Run stages on a run, the first of them with constants."""
    for number, stage in enumerate(scripts):
        given = constants.items() if number == 0 else ()
        options = [part for name, value in given for part in (f"--{name}", str(value))]
        print("python", stage, *options, flush=True)
        command = [sys.executable, stage, "--run", str(run.folder), *options]
        subprocess.run(command, cwd=ROOT, check=True)


def make_run(config: Config, seed: int) -> Run:
    """Return the run of one seed, with every stage done."""
    run = Run(config.folder / str(seed))
    do(run, STAGES, galaxies=config.galaxies, overlap=config.overlap, seed=seed)
    return run


def make_poor_run(config: Config, rich: Run) -> Run:
    """Return a run with the galaxies, model and labels of `rich`, and the poor survey."""
    run = Run(f"{rich.folder}_{POOR}")
    if not run.folder.exists():
        unwanted = shutil.ignore_patterns("transfer", "bassmzls*", "figures", ".partial*")
        shutil.copytree(rich.folder, run.folder, copy_function=os.link, ignore=unwanted)
    jobs = [
        (path, run.images(POOR) / path.name, config.poor_fwhm, config.poor_noise)
        for path in list_files(rich.images("bassmzls"), ENDINGS)
        if not (run.images(POOR) / path.name).exists()
    ]
    list(parallel.each(draw_poor, jobs, config.workers, "drawing the poor survey"))
    do(run, TRANSFER, other=POOR)
    return run


def draw_poor(job: tuple[Path, Path, float, float]) -> None:
    """Blur a northern image to a seeing of `fwhm` arcsec, and add white noise."""
    source, target, fwhm, noise = job
    try:
        cutout = read_cutout(source)
    except BadCutout:
        return
    if cutout.survey != BASSMZLS.name:
        return
    blur = np.sqrt(np.maximum(fwhm**2 - np.square(BASSMZLS.fwhm), 0)) / 2.3548 / PIXEL_SCALE
    rng = np.random.default_rng([int(1e4 * cutout.ra), int(1e4 * cutout.dec)])
    flux = np.stack([
        gaussian_filter(plane, sigma) + noise * level * rng.standard_normal(plane.shape)
        for plane, sigma, level in zip(cutout.flux, blur, DECALS.noise, strict=True)
    ])  # fmt: skip
    write_cutout(target, flux, cutout.ra, cutout.dec, release="POOR")


def pooled_text(values: list[dict[str, float]], spec: str = ".3f") -> str:
    """Return the mean of independent skies, and behind it the values of the skies.

    Its 95 % interval follows from the widths of the skies' own intervals.
    """
    mean = float(np.mean([of["value"] for of in values]))
    half = math.hypot(*(of["high"] - of["low"] for of in values)) / len(values) / 2
    each = ", ".join(format(of["value"], spec) for of in values)
    return f"{Estimate(mean, mean - half, mean + half):{spec}} ({each})"


def method_table(results: list[Content]) -> Table:
    """Return a row per method: forest scores, their changes, and the agreement of the latents."""
    first, second = surveys_of(results[0])
    head = ["method", f"{first} → {first}", f"{first} → {second}", f"change of {second}",
            f"change of {first}", "AUC of the survey", "recall at 1",
            "distance (standard deviations)"]  # fmt: skip
    rows = []
    for method in results[0]["methods"]:
        of = [result["methods"][method] for result in results]
        means, changes = (
            {route: [m["transfer"][key][route] for m in of] for route in (HOME, CARRIED)}
            for key in ("mean", "change")
        )
        rows.append([
            label_of(method), pooled_text(means[HOME]), pooled_text(means[CARRIED]),
            *(None if method == BEFORE else pooled_text(changes[route], "+.3f")
              for route in (CARRIED, HOME)),
            *(pooled_text([m["agreement"][key] for m in of])
              for key in ("auc", "recall_at_1", "distance")),
        ])  # fmt: skip
    return Table(head, rows)


def pooled_difference(results: list[Content], method: str, *keys: str) -> str:
    """Return the pooled value of `transfer` of a method at `keys`, a difference."""
    values = (result["methods"][method]["transfer"] for result in results)
    return pooled_text([functools.reduce(getitem, keys, of) for of in values], "+.3f")


def results_of(config: Config, runs: list[Run]) -> list[Content]:
    """Return the comparison of each run with its seed, and its gap where that is significant."""
    results = []
    for seed, run in zip(config.seeds, runs, strict=False):
        result = read_json(run.comparison())
        gap = result["methods"][BEFORE]["transfer"]["gap"]
        results.append(result | {"seed": seed, "gap": gap if gap["low"] > 0 else None})
    return results


def main(config: Config) -> None:
    """Make all runs, and write the page."""
    runs = [make_run(config, seed) for seed in config.seeds]
    poor = [make_poor_run(config, run) for run in runs] if config.poor_fwhm else []
    template = jinja2.Environment(  # noqa: S701 (Markdown)
        undefined=jinja2.StrictUndefined, trim_blocks=True
    ).from_string(Path(__file__).with_suffix(".md.j2").read_text(encoding="utf-8"))
    page = template.render(
        config=config, rich=results_of(config, runs), poor=results_of(config, poor),
        surveys_of=surveys_of, pooled=pooled_difference, method_table=method_table,
        label_of=label_of, text=text, BEFORE=BEFORE,
    )  # fmt: skip
    write_text(ROOT / "docs" / "TRANSFER.md", page)
    print(page)


if __name__ == "__main__":
    start(main, Config, __doc__)
