"""Repeated exposures of the simulated galaxies.

The light above the atmosphere is recomputed from the galaxy's own random numbers and is bitwise
identical; the noise comes from a separate stream.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from VAE_model.simulation import Purpose, random_stream
from VAE_model.simulation.camera import observe
from VAE_model.simulation.conditions import draw_conditions
from VAE_model.simulation.sky import draw_light
from VAE_model.surveys import DECALS, DEMO, SURVEYS

DEEP = {"noise": 0.2, "fwhm": 0.5}  # of a deep exposure, over those of a usual one


class Views(NamedTuple):
    """Further exposures of one galaxy, float32 (views, 3, 256, 256), nanomaggies.

    noise: under the same conditions as the exposure in the run.
    night: with new seeing, depth, sky level and registration.
    """

    noise: NDArray[np.float32]
    night: NDArray[np.float32]


def observe_again(seed: int, index: int, views: int) -> Views:
    """Return `views` exposures of each kind of galaxy `index` in the sky with `seed`."""
    *_, light = draw_light(seed, index)
    conditions = draw_conditions(DECALS, random_stream(seed, index, DECALS.stream))
    rng = random_stream(seed, index, Purpose.REPEATS)
    noise = [observe(light, DECALS, conditions, rng) for _ in range(views)]
    night = [observe(light, DECALS, draw_conditions(DECALS, rng), rng) for _ in range(views)]
    return Views(np.stack(noise), np.stack(night))


def exposures(seed: int, index: int, nights: int) -> NDArray[np.float32]:
    """Return exposures of galaxy `index`, (exposures, 3, 256, 256), nanomaggies, without defects.

    `nights` of each survey of DEMO, and at last one by DECaLS that is much deeper and sharper
    (DEEP).
    """
    *_, light = draw_light(seed, index)
    images = []
    for survey in map(SURVEYS.__getitem__, DEMO):
        rng = random_stream(seed, index, survey.stream)
        images += [observe(light, survey, draw_conditions(survey, rng), rng) for _ in range(nights)]
    rng = random_stream(seed, index, Purpose.REPEATS)
    usual = draw_conditions(DECALS, rng)
    conditions = replace(
        usual,
        noise=tuple(DEEP["noise"] * sigma for sigma in usual.noise),
        fwhm=tuple(DEEP["fwhm"] * width for width in usual.fwhm),
        shift=((0.0, 0.0),) * 3,
        edges=(None,) * 3,
    )
    return np.stack([*images, observe(light, DECALS, conditions, rng)])


def as_observed(seed: int, index: int) -> NDArray[np.float32]:
    """Return the exposure in the run, (3, 256, 256), nanomaggies, before any defect is added."""
    *_, light = draw_light(seed, index)
    rng = random_stream(seed, index, DECALS.stream)
    return observe(light, DECALS, draw_conditions(DECALS, rng), rng)
