"""A simulated sky with known truth: galaxies, field objects, the optics of the surveys, and votes.

population.py draws the parameters of a galaxy, drawing.py renders its light above the atmosphere
(discs.py draws the maps of a disc, projection.py projects them), camera.py simulates the
observation by a survey, and votes.py the answers of volunteers. Each galaxy has its own random
streams, seeded by (seed, index, purpose), so results do not depend on the order or the number of
processes.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of a random stream; the values are part of the simulated sky.

    The missing values belong to the surveys (Survey.stream).
    """

    POSITIONS = 0
    POPULATION = 1
    DRAWING = 2
    FIELD = 3
    VOTES = 6
    DEFECTS = 7
    MISTAKES = 8
    REPEATS = 9


def random_stream(seed: int, index: int, purpose: int) -> np.random.Generator:
    """Return the random generator of one galaxy for one purpose: a Purpose or a survey's stream."""
    return np.random.default_rng([seed, index, int(purpose)])
