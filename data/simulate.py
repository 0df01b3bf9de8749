"""Simulate the sky: galaxies as observed by two surveys, the votes of volunteers, and the truth.

Stage 0. Each galaxy is drawn from its own random stream, so the files depend only on the seed.
DECaLS observes every galaxy; BASS+MzLS, and any other survey in VAE_model/surveys, those in the
strip around Dec 32.375 deg.

Reads: nothing.
Writes: images/decals/, images/bassmzls/ ({ra}_{dec}.fits), catalogue.parquet, truth.parquet and
figures/sky.png, under the run.

Example: python data/simulate.py --galaxies 200 --overlap 50
"""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.origin import SIMULATED, check_origin
from VAE_model.pipeline.parallel import each
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.population import draw_positions
from VAE_model.simulation.sheet import contact_sheet
from VAE_model.simulation.sky import simulate_galaxy
from VAE_model.surveys import SURVEYS, label_of

MARK = ".simulated"  # marks a folder whose images this script wrote and may replace


@dataclass(frozen=True)
class Config:
    """Constants of the script."""

    run: Path = Path("data/demo")
    """Folder of the run."""
    galaxies: int = 2000
    """Number of galaxies, all observed by DECaLS."""
    overlap: int = 1500
    """Number of galaxies in the strip that the other surveys observe too."""
    seed: int = 1
    """Seed of the random numbers; each seed gives a different sky."""
    workers: int = 0
    """Processes; 0: one per core. The files do not depend on it."""


def main(config: Config) -> None:
    """Simulate the sky and write its images, catalogue and truth."""
    run = Run(config.run)
    images = [run.images(survey) for survey in SURVEYS]
    tables = [run.catalogue, run.truth]
    figure = run.figure("sky.png")
    stage = Stage(__file__, run, config, inputs=[], outputs=[*tables, figure, *images])
    if config.galaxies < 1 or not 0 <= config.overlap <= config.galaxies:
        raise Problem(
            f"galaxies = {config.galaxies}, overlap = {config.overlap}: there must be at least "
            "one galaxy, and no more in the overlap than in all"
        )
    check_origin(run, SIMULATED)
    if stage.is_up_to_date():
        return
    stage.begin()
    for folder in images:  # files of another sky would count as galaxies of this one
        if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
            raise Problem(
                f"{run.show(folder)} holds images that were not simulated: they stay as they are; "
                "choose another folder with --run"
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / MARK).touch()
    catalogue, truth = simulate(config, run)
    write_parquet(run.catalogue, catalogue)
    write_parquet(run.truth, truth)
    contact_sheet(figure, run, truth)
    defects = {name: int((truth[f"defect_{name}"] > "").sum()) for name in SURVEYS}
    of_each = [f"{label_of(name)} ({count})" for name, count in defects.items()]
    print(
        f"{len(truth):,} galaxies in {of_each[0]}, {config.overlap:,} of them in "
        f"{' and '.join(of_each[1:])}; in brackets, frames with a defect"
    )
    stage.finish(galaxies=len(truth), overlap=config.overlap, defects=defects)


def simulate(config: Config, run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the images; return the catalogue and the truth, one row per galaxy."""
    positions = random_stream(config.seed, 0, Purpose.POSITIONS)
    ra, dec = draw_positions(positions, config.galaxies, config.overlap)
    task = partial(simulate_galaxy, seed=config.seed, overlap=config.overlap, run=run)
    items = list(zip(range(config.galaxies), ra.tolist(), dec.tolist(), strict=True))
    rows = list(each(task, items, config.workers, "galaxies"))
    return pd.DataFrame([row[0] for row in rows]), pd.DataFrame([row[1] for row in rows])


if __name__ == "__main__":
    start(main, Config, __doc__)
