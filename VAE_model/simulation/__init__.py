"""A simulated sky whose truth is known: galaxies, field, two surveys' optics, and volunteers.

population draws what a galaxy is, drawing its light above the atmosphere, surveys what a camera
makes of it, votes what volunteers say of it. Every galaxy has its own streams of random numbers,
by (seed, index, purpose), so that nothing depends on the order or the number of processes.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for; the values are part of the simulated sky."""

    POSITIONS = 0
    POPULATION = 1
    DRAWING = 2
    FIELD = 3
    DECALS = 4
    BASSMZLS = 5
    VOTES = 6
    DEFECTS = 7
    MISTAKES = 8
    REPEATS = 9


def random_stream(seed: int, index: int, purpose: Purpose) -> np.random.Generator:
    """The random numbers of one galaxy for one purpose."""
    return np.random.default_rng([seed, index, int(purpose)])
