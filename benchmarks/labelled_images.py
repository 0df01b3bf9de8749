"""Real labelled images, as their owner would bring them: imported, trained on, classified.

Three sets of colour images (gz2_spiral, gz2_defect, gzdecals_ring), each a run of its own, with
every constant of every script at its default. What is there is not done again. The table says how
well a forest on the latents answers the label, beside the majority and a forest on principal
components, on the test images: those that the table gives (gz2_spiral), else a fifth by position
or name. Some 15 minutes on 2 cores and 6 GB on disk.

Reads:  <real>/<set>/images and labels.csv
Writes: <folder>/<set>/ (a run each), the table on the screen

Example: python benchmarks/labelled_images.py --real ../shared/real
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from VAE_model.paths import ROOT, Run
from VAE_model.stage import Problem, start

LABELS = {"gz2_spiral": "label", "gz2_defect": "label", "gzdecals_ring": "ring"}
STAGES = ("make_datatxt.py", "Galaxy_VAE_n.py", "analysis/extract_latents.py")


@dataclass(frozen=True)
class Config:
    real: Path = Path(os.environ.get("GALAXY_VAE_REAL") or "../shared/real")
    """Folder of the sets."""
    folder: Path = Path("data/labelled")
    """Where the runs lie."""
    sets: tuple[str, ...] = tuple(LABELS)
    """Which of them."""


def do(run: Run, script: str, *arguments: str) -> None:
    print("python", script, *arguments, flush=True)
    command = [sys.executable, script, "--run", str(run.folder), *arguments]
    subprocess.run(command, cwd=ROOT, check=True)


def classify(config: Config, name: str) -> dict[str, Any]:
    """What analysis/classify.py says of a set's label."""
    source, run = ROOT / config.real / name, Run(config.folder / name)
    if not source.is_dir():
        raise Problem(f"{source} is missing: say with --real where the sets are")
    do(run, "data/import_images.py", "--folder", str(source / "images"),
       "--table", str(source / "labels.csv"))  # fmt: skip
    for stage in STAGES:
        do(run, stage)
    do(run, "analysis/classify.py", "--label", LABELS[name])
    return json.loads(run.classification(40).read_text(encoding="utf-8"))["questions"][0]


def line(name: str, question: dict[str, Any]) -> str:
    """A row of the table."""

    def shown(value: dict[str, float], sign: str = "") -> str:
        middle, low, high = (f"{value[k]:{sign}.3f}" for k in ("value", "low", "high"))
        return f"{middle} ({low} to {high})"

    counts = ["/".join(map(str, question[n].values())) for n in ("n_train", "n_test")]
    cells = [name, " / ".join(question["n_test"]), *counts]
    if question["no_score_because"]:
        cells += ["–", "–", "–", f"no score: {question['no_score_because']}"]
    else:
        scores = [question[of]["balanced_accuracy"] for of in ("pca", "latents", "difference")]
        crosses = ", crosses zero" if scores[2]["crosses_zero"] else ""
        cells += [f"{question['majority']:.3f}", shown(scores[0]), shown(scores[1]),
                  shown(scores[2], "+") + crosses]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main(config: Config) -> None:
    rows = [line(name, classify(config, name)) for name in config.sets]
    print("| set | answers | n train | n test | majority | PCA-40 | 40 latents | difference |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    start(main, Config, __doc__)
