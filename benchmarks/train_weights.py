"""Train the weights that travel with the project (VAE_model/weights), on a sky drawn on the spot.

The stages run as a user runs them: the images of a sky of 600 galaxies, simulated galaxies in
several exposures, and Galaxy_VAE_n.py from random weights on both. Nothing is downloaded. The same
command resumes. On two cores drawing the galaxies takes about 45 minutes and training 25. It
has not been timed on a GPU.

Reads:  nothing
Writes: <run>/ (a run), VAE_model/weights/residual_40.safetensors and residual_40.json (the card)

Example: python benchmarks/train_weights.py --galaxies 24000 --epochs 12
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from VAE_model.pipeline.files import sha256, write_text
from VAE_model.pipeline.provenance import read_sidecar, versions
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.pipeline.stage import start
from VAE_model.pretrained import NETWORK, NUM_VAR, WEIGHTS
from VAE_model.training import checkpoint


@dataclass(frozen=True)
class Config:
    """Constants of the training."""

    run: Path = Path("data/weights")
    """Folder of the run."""
    galaxies: int = 24000
    """Galaxies in several exposures, for training."""
    images: int = 600
    """Galaxies of the sky whose images join."""
    epochs: int = 12
    """Passes over the galaxies."""
    batch_size: int = 128
    """Galaxies per step."""
    learning_rate: float = 2e-3
    """Largest learning rate of Adam."""
    seed: int = 41
    """Seed of the galaxies; that of the images is one more. Of 1 to 99."""


def main(config: Config) -> None:
    """Run the stages, and write weights and card."""
    for script, options in stages(config).items():
        run_stage(script, config.run, options)
    ship(config, Run(config.run).model(NUM_VAR))


def stages(config: Config) -> dict[str, dict[str, Any]]:
    """Return the options of each stage, in order."""
    return {
        "data/simulate.py": {"galaxies": config.images, "overlap": 0, "seed": config.seed + 1},
        "make_datatxt.py": {},
        "data/simulate_exposures.py": {"galaxies": config.galaxies, "seed": config.seed},
        "Galaxy_VAE_n.py": {
            "network": NETWORK, "num-var": NUM_VAR, "start": "random", "epochs": config.epochs,
            "batch-size": config.batch_size, "learning-rate": config.learning_rate,
            "seed": config.seed,
        },
    }  # fmt: skip


def run_stage(script: str, folder: Path, options: Mapping[str, Any]) -> None:
    """Run a stage on a run."""
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, script, "--run", str(folder), *given], cwd=ROOT, check=True)


def ship(config: Config, model: Path) -> None:
    """Write the model in half precision, and its card."""
    content, made = checkpoint.load(model), read_sidecar(model)
    kept = {
        name: value.half() if name.endswith(("weight", "bias")) else value.float()
        for name, value in content["weights"].items()
    }
    kept = {name: value.to(torch.device("cpu")) for name, value in kept.items()}
    WEIGHTS.parent.mkdir(exist_ok=True)
    checkpoint.save(WEIGHTS, {"config": {**content["config"], "any_unit": True}, "weights": kept})
    best = min(content["history"], key=lambda record: record["validation_loss"])
    card = {
        "file": WEIGHTS.name,
        "sha256": sha256(WEIGHTS),
        "megabytes": round(WEIGHTS.stat().st_size / 1e6, 1),
        "command": "python benchmarks/train_weights.py",
        "constants": {k: v for k, v in asdict(config).items() if k != "run"},
        "trained_on": f"{config.galaxies:,} simulated galaxies, each in exposures by every survey "
        f"and a deep one, and the images of {config.images:,} others; no labels",
        "best_epoch": best,
        "seconds": made["seconds"],
        "code": made["code"],
        "versions": versions(),
        "scores": "docs/RESULTS.md, docs/REAL.md",
    }
    write_text(WEIGHTS.with_suffix(".json"), json.dumps(card, indent=2, default=str) + "\n")
    print(f"{WEIGHTS}: {card['megabytes']} MB")


if __name__ == "__main__":
    start(main, Config, __doc__)
