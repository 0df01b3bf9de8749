"""One galaxy of the simulated sky, from its random numbers to its files and table rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.data.sky import iauname
from VAE_model.pipeline.run import Run
from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.camera import observe, write_cutout
from VAE_model.simulation.conditions import draw_conditions
from VAE_model.simulation.defects import draw_defects, spoil
from VAE_model.simulation.drawing import add_field, draw_scene
from VAE_model.simulation.population import Galaxy, draw_galaxy
from VAE_model.simulation.scene import Light
from VAE_model.simulation.votes import measured, vote_fractions
from VAE_model.surveys import DECALS, DEMO, SURVEYS

Row = dict[str, object]

# Wrong answers of a cutout service to a request for a northern frame: an image of the southern
# layer (Survey.mistaken_for), or one centred on another position.
SOUTHERN, DISPLACED = "southern", "displaced"
MISTAKES = {SOUTHERN: 0.015, DISPLACED: 0.04}  # shares of the northern frames
FARTHEST = 30  # pixels
NEAR = 17.0  # arcsec; the truth table has the field's light within this radius of the galaxy


def file_name(ra: float, dec: float) -> str:
    """Return the file name of the cutout at a position in degrees."""
    return f"{ra:.4f}_{dec:.4f}.fits"


def simulate_galaxy(
    item: tuple[int, float, float], seed: int, overlap: int, run: Run,
    surveys: Sequence[str] = DEMO,
) -> tuple[Row, Row]:  # fmt: skip
    """Draw galaxy `item` = (index, ra, dec), write its cutouts, and return its table rows.

    The rows are those of the catalogue and of the truth. surveys: names, DECaLS among them; it
    observes every galaxy, the others the first `overlap`.
    """
    index, ra, dec = item
    galaxy, field, defects, light = draw_light(seed, index)
    star = (field["brightest_star_x"], field["brightest_star_y"])
    identity = {"iauname": iauname(ra, dec), "ra": ra, "dec": dec}
    truth = identity | {"index": index, "overlap": index < overlap} | galaxy.row() | field
    for survey in map(SURVEYS.__getitem__, surveys):
        defect = defects[survey.name]
        rng = random_stream(seed, index, survey.stream)
        conditions = draw_conditions(survey, rng)
        seen = survey is DECALS or index < overlap
        truth |= conditions.row(survey) | {f"defect_{survey.name}": defect if seen else ""}
        if survey is DECALS:
            voters = random_stream(seed, index, Purpose.VOTES)
            votes = vote_fractions(galaxy, conditions, defect, voters)
            catalogue = identity | measured(galaxy, defect, voters) | votes
        mistake, centre = "", (0, 0)
        if survey.mistaken_for:
            mistake, centre = draw_mistake(random_stream(seed, index, Purpose.MISTAKES))
            truth[f"mistake_{survey.name}"] = mistake if seen else ""
        if seen:
            camera = SURVEYS[survey.mistaken_for] if mistake == SOUTHERN else survey
            if camera is not survey:
                conditions = draw_conditions(camera, rng)
            image = observe(light, camera, conditions, rng, centre)
            spoil(image, defect, conditions, (star[0] - centre[0], star[1] - centre[1]), rng)
            at = displaced(ra, dec, centre)
            write_cutout(Path(run.images(survey.name)) / file_name(*at), image, camera, *at)
    return catalogue, truth


def draw_light(seed: int, index: int) -> tuple[Galaxy, Row, dict[str, str], Light]:
    """Return the sky around galaxy `index`.

    That is the galaxy, the truth of its field, the defect of each survey's frame by the survey's
    name, and the light above the atmosphere (scene.py).
    """
    galaxy = draw_galaxy(random_stream(seed, index, Purpose.POPULATION))
    drawn = draw_defects(random_stream(seed, index, Purpose.DEFECTS), len(SURVEYS))
    defects = dict(zip(SURVEYS, drawn, strict=True))
    scene = draw_scene(galaxy, random_stream(seed, index, Purpose.DRAWING))
    alone = scene.flux_r(NEAR)
    saturated = "saturated_star" in drawn
    field = add_field(scene, galaxy, random_stream(seed, index, Purpose.FIELD), saturated)
    field["field_flux_r"] = scene.flux_r(NEAR) - alone
    return galaxy, field, defects, scene.fourier()


def draw_mistake(rng: np.random.Generator) -> tuple[str, tuple[int, int]]:
    """Draw the mistake of one northern frame ('' for none) and its centre: pixels right and up."""
    shares = [1 - sum(MISTAKES.values()), *MISTAKES.values()]
    mistake = str(rng.choice(["", *MISTAKES], p=shares))
    if mistake != DISPLACED:
        return mistake, (0, 0)
    distance, angle = rng.uniform(2, FARTHEST), rng.uniform(0, 2 * np.pi)
    return mistake, (round(distance * np.cos(angle)), round(distance * np.sin(angle)))


def displaced(ra: float, dec: float, centre: tuple[int, int]) -> tuple[float, float]:
    """Return the position in degrees of a point `centre` pixels right of and above (ra, dec)."""
    if centre == (0, 0):
        return ra, dec
    right, up = (offset * PIXEL_SCALE / 3600 for offset in centre)
    return (ra - right / np.cos(np.radians(dec))) % 360.0, dec + up
