"""Part II on larger skies of several seeds: is what the demo shows more than its luck?

Makes each sky, runs the stages up to transfer/compare.py on it, and writes one table over all
seeds. Then the same with a third survey of the same galaxies, far poorer than BASS+MzLS, which no
survey of these is: does adaptation close a gap where there is one? What is there is not done
again. Some 20 minutes a seed on 2 cores and 10 GB on disk.

Reads:  nothing
Writes: <folder>/<seed>/ and <folder>/<seed>_poor/ (two runs a seed), docs/TRANSFER.md

Example: python benchmarks/larger_sky.py --seeds 2 3 4
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from VAE_model.comparison_report import CARRIED, HOME, label_of, shown, surveys_of
from VAE_model.cutout_writer import write_cutout
from VAE_model.cutouts import ENDINGS, PIXEL_SCALE, BadCutout, read_cutout
from VAE_model.pipeline import parallel, stages
from VAE_model.pipeline.files import list_files, write_text
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import start
from VAE_model.surveys import BASSMZLS, DECALS
from VAE_model.transfer.adaptation import BEFORE

STAGES = [entry.script for entry in stages.needed("take", "compare")]
TRANSFER = [script for script in STAGES if script.startswith("transfer/")]
POOR = "poor"  # the folder of the third survey's images


@dataclass(frozen=True)
class Config:
    folder: Path = Path("data/larger")
    """Where the runs lie, one a seed."""
    seeds: tuple[int, ...] = (2, 3, 4)
    """Seeds of the skies; methods and their weights were chosen on seed 11."""
    galaxies: int = 3000
    """Galaxies that DECaLS sees in each."""
    overlap: int = 2700
    """Those of them that BASS+MzLS sees too."""
    poor_fwhm: float = 2.5
    """Seeing of the poor survey, arcsec; 0: no such survey."""
    poor_noise: float = 3.0
    """White noise that it adds, in units of that of DECaLS."""
    workers: int = 0
    """Processes that draw its images; 0: one a core."""


def do(run: Run, scripts: list[str], **constants: dict[str, object]) -> None:
    """Run stages on a run; constants: by the name of the script."""
    for stage in scripts:
        given = [
            part
            for name, value in constants.get(Path(stage).stem, {}).items()
            for part in (f"--{name}", str(value))
        ]
        print("python", stage, *given, flush=True)
        command = [sys.executable, stage, "--run", str(run.folder), *given]
        subprocess.run(command, cwd=ROOT, check=True)


def make_run(config: Config, seed: int) -> Run:
    """The run of one seed, with every stage done."""
    run = Run(config.folder / str(seed))
    sky = {"galaxies": config.galaxies, "overlap": config.overlap, "seed": seed}
    do(run, STAGES, simulate=sky)
    return run


def make_poor_run(config: Config, rich: Run) -> Run:
    """The same galaxies, model and labels as `rich`, with the poor survey as the second one."""
    run = Run(f"{rich.folder}_{POOR}")
    if not run.folder.exists():
        unwanted = shutil.ignore_patterns("transfer", "bassmzls*", "figures", ".partial*")
        shutil.copytree(rich.folder, run.folder, copy_function=os.link, ignore=unwanted)
    paths = [
        (path, run.images(POOR) / path.name, config.poor_fwhm, config.poor_noise)
        for path in list_files(rich.images("bassmzls"), ENDINGS)
        if not (run.images(POOR) / path.name).exists()
    ]
    for _ in parallel.each(draw_poor, paths, config.workers, "drawing the poor survey"):
        pass
    do(run, TRANSFER, make_pairs={"other": POOR})
    return run


def draw_poor(job: tuple[Path, Path, float, float]) -> None:
    """A northern frame, blurred to a seeing of `fwhm` arcsec, with white noise on top."""
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


def pooled(estimates: list[dict[str, float]], sign: bool = False) -> str:
    """The mean over independent skies with its 95 % interval, from the width of each one's own;
    behind it the values of the skies."""
    values = np.array([of["value"] for of in estimates])
    widths = np.array([of["high"] - of["low"] for of in estimates])
    half = np.sqrt((widths**2).sum()) / len(values) / 2
    number = "{:+.3f}" if sign else "{:.3f}"
    interval = ", ".join(number.format(values.mean() + side * half) for side in (-1, 1))
    each = ", ".join(number.format(value) for value in values)
    return f"{number.format(values.mean())} [{interval}] ({each})"


def table(results: list[dict[str, Any]]) -> list[str]:
    """A line a method: forest scores, what changed, and how alike the two views are."""
    first, second = surveys_of(results[0])
    head = ["method", f"{first} → {first}", f"{first} → {second}", f"change of {second}",
            f"change of {first}", "AUC of the survey", "recall at 1",
            "distance (scatters)"]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for method in results[0]["methods"]:
        of = [result["methods"][method] for result in results]
        mean = {r: pooled([m["transfer"]["mean"][r] for m in of]) for r in (HOME, CARRIED)}
        change = {
            r: "–" if method == BEFORE else pooled([m["transfer"]["change"][r] for m in of], True)
            for r in (HOME, CARRIED)
        }
        found = [pooled([m["agreement"][name] for m in of])
                 for name in ("auc", "recall_at_1", "distance")]  # fmt: skip
        lines.append([label_of(method), mean[HOME], mean[CARRIED], change[CARRIED], change[HOME],
                      *found])  # fmt: skip
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def better(results: list[dict[str, Any]], method: str = "paired") -> list[str]:
    """A line a rival: the recommended method minus it, forest of the first survey on the second."""
    lines = []
    for other in results[0]["methods"][method]["transfer"]["better_than"]:
        each = [r["methods"][method]["transfer"]["better_than"][other] for r in results]
        lines.append(f"- {method} minus {label_of(other)}: {pooled(each, True)}")
    return lines


def section(results: list[dict[str, Any]], seeds: tuple[int, ...]) -> list[str]:
    """n, the gap, the table of methods, and the recommended method against each other one."""
    first, second = surveys_of(results[0])
    pairs = ", ".join(f"{r['pairs']['train']:,} + {r['pairs']['test']:,}" for r in results)
    gaps = [r["methods"][BEFORE]["transfer"]["gap"] for r in results]
    tested = []
    for asked in zip(*(result["questions"] for result in results), strict=True):
        counts = ", ".join(str(sum(of["n_test"].values())) for of in asked)
        tested.append(f"{asked[0]['question']} {counts}")
    return [
        f"Usable training + test pairs: {pairs}. Test galaxies a question: {'; '.join(tested)}.",
        "",
        f"**Gap before adaptation** ({first} → {first} minus {first} → {second}): "
        f"{pooled(gaps, True)}",
        "",
        *table(results),
        "",
        f"The forest of {first} asked about {second}, paired on the same galaxies:",
        "",
        *better(results),
        "",
        *closed(results, seeds),
    ]


def closed(results: list[dict[str, Any]], seeds: tuple[int, ...]) -> list[str]:
    """A line a sky whose gap has an interval clear of zero: the share that each method closes."""
    lines = []
    for seed, result in zip(seeds, results, strict=True):
        gap = result["methods"][BEFORE]["transfer"]["gap"]
        if gap["low"] > 0:
            shares = "; ".join(
                f"{name} {shown(of['transfer']['closed'])}"
                for name, of in result["methods"].items()
                if name != BEFORE
            )
            lines.append(f"- seed {seed}, gap {shown(gap, True)}, share closed: {shares}")
    none = "No sky's gap has an interval clear of zero, so no share of it is given."
    if lines:
        lines.insert(0, "The skies whose gap has an interval clear of zero:")
        lines.insert(1, "")
    return [*(lines or [none]), ""]


def page(config: Config, results: list[dict[str, Any]], poor: list[dict[str, Any]]) -> str:
    lines = [
        "# Part II on larger skies",
        "",
        f"Made by `python benchmarks/larger_sky.py`: simulated skies of {config.galaxies:,} "
        f"galaxies, {config.overlap:,} of them in both surveys, seeds "
        f"{', '.join(map(str, config.seeds))}; methods and weights were chosen on seed 11. Each "
        "number is the mean of the skies with its 95 % interval (from the bootstrap of each sky's "
        "test galaxies; that of other training samples is not in it), behind it the skies' own "
        "values. Balanced accuracy, mean of the seven questions, forest of the first survey "
        "named → asked about the second, on test pairs that no adaptation and no forest has seen.",
        "",
        "## DECaLS and BASS+MzLS, as different as they are",
        "",
        *section(results, config.seeds),
    ]
    if poor:
        lines += [
            "## A stress test: a survey far poorer than BASS+MzLS",
            "",
            f"The northern frames of the same galaxies, blurred to a seeing of {config.poor_fwhm} "
            f"arcsec, with {config.poor_noise:g} times the noise of DECaLS on top. No survey here "
            "is as poor: this only asks whether the methods close a gap where there is one.",
            "",
            *section(poor, config.seeds),
        ]
    return "\n".join(lines)


def results_of(runs: list[Run]) -> list[dict[str, Any]]:
    return [json.loads(run.comparison().read_text(encoding="utf-8")) for run in runs]


def main(config: Config) -> None:
    runs = [make_run(config, seed) for seed in config.seeds]
    poor = [make_poor_run(config, run) for run in runs] if config.poor_fwhm else []
    text = page(config, results_of(runs), results_of(poor))
    write_text(ROOT / "docs" / "TRANSFER.md", text)
    print(text)


if __name__ == "__main__":
    start(main, Config, __doc__)
