"""A simulated sky whose truth is known: galaxies, field, two surveys' optics, and volunteers.

population draws what a galaxy is, drawing its light above the atmosphere, camera what a survey
makes of it, votes what volunteers say of it. Every galaxy has its own streams of random numbers,
by (seed, index, purpose), so that nothing depends on the order or the number of processes.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purpose of a stream of random numbers; the values are part of the simulated sky.

    Those that are left out are the surveys' own (Survey.stream)."""

    POSITIONS = 0
    POPULATION = 1
    DRAWING = 2
    FIELD = 3
    VOTES = 6
    DEFECTS = 7
    MISTAKES = 8
    REPEATS = 9


def random_stream(seed: int, index: int, purpose: int) -> np.random.Generator:
    """The random numbers of one galaxy for one purpose: a Purpose, or a survey's stream."""
    return np.random.default_rng([seed, index, int(purpose)])
