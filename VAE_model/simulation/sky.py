"""One galaxy of the simulated sky, from its random numbers to its files and its table rows."""

from pathlib import Path

from VAE_model.paths import Run
from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.defects import draw_defects, spoil
from VAE_model.simulation.drawing import add_field, draw_scene
from VAE_model.simulation.population import draw_galaxy
from VAE_model.simulation.surveys import (
    BASSMZLS,
    DECALS,
    draw_conditions,
    observe,
    write_cutout,
)
from VAE_model.simulation.votes import measured, vote_fractions
from VAE_model.sky import iauname

SURVEYS = {DECALS: Purpose.DECALS, BASSMZLS: Purpose.BASSMZLS}

Row = dict[str, object]


def file_name(ra: float, dec: float) -> str:
    return f"{ra:.4f}_{dec:.4f}.fits"


def simulate_galaxy(
    item: tuple[int, float, float], seed: int, overlap: int, run: Run
) -> tuple[Row, Row]:
    """Draw galaxy `item` = (index, ra, dec) and write its cutouts under the run.

    Returns its rows of the catalogue and of the truth. The first `overlap` galaxies are seen by
    both surveys.
    """
    index, ra, dec = item
    galaxy = draw_galaxy(random_stream(seed, index, Purpose.POPULATION))
    defects = draw_defects(random_stream(seed, index, Purpose.DEFECTS), len(SURVEYS))
    scene = draw_scene(galaxy, random_stream(seed, index, Purpose.DRAWING))
    field = add_field(scene, random_stream(seed, index, Purpose.FIELD), "saturated_star" in defects)
    light = scene.fourier()
    star = (field["brightest_star_x"], field["brightest_star_y"])
    identity = {"iauname": iauname(ra, dec), "ra": ra, "dec": dec}
    truth = identity | {"index": index, "overlap": index < overlap} | galaxy.row() | field
    for (survey, purpose), defect in zip(SURVEYS.items(), defects, strict=True):
        rng = random_stream(seed, index, purpose)
        conditions = draw_conditions(survey, rng)
        seen = survey is DECALS or index < overlap
        truth |= conditions.row(survey) | {f"defect_{survey.name}": defect if seen else ""}
        if survey is DECALS:
            voters = random_stream(seed, index, Purpose.VOTES)
            votes = vote_fractions(galaxy, conditions, defect, voters)
            catalogue = identity | measured(galaxy, defect, voters) | votes
        if seen:
            image = observe(light, survey, conditions, rng)
            spoil(image, defect, conditions, star, rng)
            path = Path(run.images(survey.name)) / file_name(ra, dec)
            write_cutout(path, image, survey, ra, dec)
    return catalogue, truth
