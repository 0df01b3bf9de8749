"""Simulate galaxies in several exposures, for training across exposures (docs/WEIGHTS.md).

No images are written: each galaxy is observed by the surveys of the demo on several nights, and
once much deeper and sharper than a survey does. Each exposure is prepared at once (contaminants
masked, pose and structure vector measured). Galaxy_VAE_n.py trains on them beside the images of
train.txt. There are no defects.

Reads:  nothing
Writes: exposures/simulated.float16 under the run: prepared inputs and poses, galaxy by galaxy

Example: python data/simulate_exposures.py --run data/weights --galaxies 24000
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from VAE_model import models
from VAE_model.pipeline.files import atomic
from VAE_model.pipeline.origin import SIMULATED, check_origin
from VAE_model.pipeline.parallel import each
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.preparation.stretch import Stretch
from VAE_model.simulation.repeats import exposures


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/weights")
    """Folder of the run."""
    galaxies: int = 24000
    """Number of galaxies."""
    nights: int = 2
    """Exposures of each galaxy by each survey."""
    seed: int = 41
    """Seed of the random numbers; that of a sky on which latents are tested must be another."""
    workers: int = 0
    """Processes; 0: one per core. The file does not depend on it."""


def main(config: Config) -> None:
    """Simulate the galaxies and write their prepared exposures."""
    run = Run(config.run)
    stage = Stage(__file__, run, config, inputs=[], outputs=[run.exposures])
    if min(config.galaxies, config.nights) < 1:
        raise Problem("galaxies and nights must be at least one")
    check_origin(run, SIMULATED)
    if stage.is_up_to_date():
        return
    stage.begin()
    task = partial(prepared, seed=config.seed, number=config.nights)
    rows = 0
    with atomic(run.exposures) as temporary, open(temporary, "wb") as file:
        for block in each(task, range(config.galaxies), config.workers, "galaxies"):
            file.write(block.tobytes())
            rows += len(block)
    print(f"{config.galaxies:,} galaxies, {rows:,} exposures")
    stage.finish(galaxies=config.galaxies, exposures=rows // config.galaxies)


def prepared(index: int, seed: int, number: int) -> NDArray[np.float16]:
    """Return inputs and poses of the exposures of one galaxy, (exposures, D + poses)."""
    flux = torch.from_numpy(exposures(seed, index, number))
    with torch.no_grad():
        inputs, where = models.ResidualVAE(1).prepare(Stretch()(flux))
    return torch.cat([inputs, torch.stack(where, dim=1)], dim=1).half().numpy()


if __name__ == "__main__":
    start(main, Config, __doc__)
