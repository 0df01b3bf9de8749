"""Part II on larger skies of several seeds: is what the demo shows more than its luck?

Makes each sky, runs the stages up to transfer/compare.py on it, and writes one table over all
seeds. What is there is not done again. Some 15 minutes a seed on 2 cores and 5 GB on disk.

Reads:  nothing
Writes: <folder>/<seed>/ (a run a seed), docs/TRANSFER.md

Example: python benchmarks/larger_sky.py --seeds 2 3 4
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from VAE_model.adaptation import BEFORE
from VAE_model.comparison_report import CARRIED, HOME, label_of, surveys_of
from VAE_model.files import write_text
from VAE_model.paths import ROOT, Run
from VAE_model.stage import start

STAGES = (
    "make_datatxt.py",
    "Galaxy_VAE_n.py",
    "analysis/extract_latents.py",
    "analysis/decals_1.py",
    "analysis/decals_2_1.py",
    "analysis/decals_2_2.py",
    "transfer/make_pairs.py",
    "transfer/encode_pairs.py",
    "transfer/adapt.py",
    "transfer/compare.py",
)


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


def make_run(config: Config, seed: int) -> Run:
    """The run of one seed, with every stage done."""
    run = Run(config.folder / str(seed))
    sky = ["--galaxies", config.galaxies, "--overlap", config.overlap, "--seed", seed]
    for stage, constants in (("data/simulate.py", sky), *((stage, []) for stage in STAGES)):
        command = [sys.executable, stage, "--run", run.folder, *constants]
        print("python", *(str(part) for part in [stage, *constants]), flush=True)
        subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    return run


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


def page(config: Config, results: list[dict[str, Any]]) -> str:
    first, second = surveys_of(results[0])
    pairs = ", ".join(f"{r['pairs']['train']:,} + {r['pairs']['test']:,}" for r in results)
    gap = pooled([r["methods"][BEFORE]["transfer"]["gap"] for r in results], True)
    tested = []
    for asked in zip(*(result["questions"] for result in results), strict=True):
        counts = ", ".join(str(sum(of["n_test"].values())) for of in asked)
        tested.append(f"{asked[0]['question']} {counts}")
    return "\n".join(
        [
            "# Part II on larger skies",
            "",
            f"Made by `python benchmarks/larger_sky.py`: simulated skies of {config.galaxies:,} "
            f"galaxies, {config.overlap:,} of them in both surveys, seeds "
            f"{', '.join(map(str, config.seeds))}. Usable training + test pairs: {pairs}. Each "
            "number is the mean of the skies with its 95 % interval (from the bootstrap of each "
            "sky's test galaxies; that of other training samples is not in it), behind it the "
            f"skies' own values. Balanced accuracy, mean of the seven questions, forest of the "
            "first survey named → asked about the second.",
            "",
            f"Test galaxies a question: {'; '.join(tested)}.",
            "",
            f"**Gap before adaptation** ({first} → {first} minus {first} → {second}): {gap}",
            "",
            *table(results),
            "",
            f"The forest of {first} asked about {second}, paired on the same galaxies:",
            "",
            *better(results),
            "",
        ]
    )


def main(config: Config) -> None:
    runs = [make_run(config, seed) for seed in config.seeds]
    results = [json.loads(run.comparison().read_text(encoding="utf-8")) for run in runs]
    text = page(config, results)
    write_text(ROOT / "docs" / "TRANSFER.md", text)
    print(text)


if __name__ == "__main__":
    start(main, Config, __doc__)
