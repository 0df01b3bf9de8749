"""Simulate the sky: galaxies as observed by two surveys, the votes of volunteers, and the truth.

Stage 0. Each galaxy is drawn from its own random stream, so the files depend only on the seed.
DECaLS observes every galaxy; BASS+MzLS, or with --surveys others of VAE_model/surveys, those in
the strip around Dec 32.375 deg. A survey's images do not depend on which others are drawn.

Reads: nothing.
Writes: images/decals/, images/bassmzls/ ({ra}_{dec}.fits), catalogue.parquet, truth.parquet and
figures/sky.png, under the run.

Example: python data/simulate.py --galaxies 200 --overlap 50 --surveys decals sdss
"""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from VAE_model.pipeline.files import write_parquet
from VAE_model.pipeline.origin import SIMULATED, check_origin
from VAE_model.pipeline.parallel import each
from VAE_model.pipeline.provenance import sidecar
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem, Stage, start
from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.population import draw_positions
from VAE_model.simulation.sheet import contact_sheet
from VAE_model.simulation.sky import simulate_galaxy
from VAE_model.surveys import DECALS, DEMO, SURVEYS, label_of

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
    surveys: tuple[str, ...] = DEMO
    """Surveys of VAE_model/surveys, DECaLS first: decals, bassmzls, des, sdss, hsc."""
    seed: int = 1
    """Seed of the random numbers; each seed gives a different sky."""
    workers: int = 0
    """Processes; 0: one per core. The files do not depend on it."""


def main(config: Config) -> None:
    """Simulate the sky and write its images, catalogue and truth."""
    run = Run(config.run)
    images = [run.images(survey) for survey in config.surveys]
    tables = [run.catalogue, run.truth]
    figure = run.figure("sky.png")
    stage = Stage(__file__, run, config, inputs=[], outputs=[*tables, figure, *images])
    check_surveys(config.surveys)
    if config.galaxies < 1 or not 0 <= config.overlap <= config.galaxies:
        raise Problem(
            f"galaxies = {config.galaxies}, overlap = {config.overlap}: there must be at least "
            "one galaxy, and no more in the overlap than in all"
        )
    check_origin(run, SIMULATED)
    if stage.is_up_to_date():
        return
    stage.begin()
    # Files of another sky would count as galaxies of this one.
    before = [mark.parent for mark in run.images().parent.glob(f"*/{MARK}")]
    for folder in {*images, *before}:
        if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
            raise Problem(
                f"{run.show(folder)} holds images that were not simulated: they stay as they are; "
                "choose another folder with --run"
            )
        shutil.rmtree(folder, ignore_errors=True)
        sidecar(folder).unlink(missing_ok=True)
    for folder in images:
        folder.mkdir(parents=True)
        (folder / MARK).touch()
    catalogue, truth = simulate(config, run)
    write_parquet(run.catalogue, catalogue)
    write_parquet(run.truth, truth)
    contact_sheet(figure, run, truth)
    defects = {name: int((truth[f"defect_{name}"] > "").sum()) for name in config.surveys}
    first, *others = (f"{label_of(name)} ({count})" for name, count in defects.items())
    also = f", {config.overlap:,} of them in {' and '.join(others)}" if others else ""
    print(f"{len(truth):,} galaxies in {first}{also}; in brackets, frames with a defect")
    stage.finish(galaxies=len(truth), overlap=config.overlap, defects=defects)


def check_surveys(surveys: tuple[str, ...]) -> None:
    """Raise Problem where a survey is unknown or named twice, or DECaLS is not the first."""
    for name in surveys:
        if name not in SURVEYS:
            raise Problem(f"there is no survey {name!r}: choose among {', '.join(SURVEYS)}")
    if surveys[:1] != (DECALS.name,) or len(set(surveys)) < len(surveys):
        raise Problem(
            f"surveys = {' '.join(surveys)}: each survey once, and first {DECALS.name}, whose "
            "images the volunteers classify"
        )


def simulate(config: Config, run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the images; return the catalogue and the truth, one row per galaxy."""
    positions = random_stream(config.seed, 0, Purpose.POSITIONS)
    ra, dec = draw_positions(positions, config.galaxies, config.overlap)
    task = partial(
        simulate_galaxy, seed=config.seed, overlap=config.overlap, run=run, surveys=config.surveys
    )
    items = list(zip(range(config.galaxies), ra.tolist(), dec.tolist(), strict=True))
    rows = list(each(task, items, config.workers, "galaxies"))
    return pd.DataFrame([row[0] for row in rows]), pd.DataFrame([row[1] for row in rows])


if __name__ == "__main__":
    start(main, Config, __doc__)
