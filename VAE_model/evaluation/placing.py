"""Places on a map for many galaxies, from those of a few that t-SNE has placed."""

import numpy as np
from numpy.typing import NDArray

from VAE_model.evaluation.similarity import nearest

NEIGHBOURS = 5  # placed galaxies that place another
_BLOCK = 2**16  # galaxies that are placed at a time


def place_among(
    latents: NDArray[np.float32], placed: NDArray[np.float32], places: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return a place for each galaxy, (N, 2), near the placed galaxies that are most similar to it.

    It is the mean of the places of the NEIGHBOURS nearest in latent space, weighted by the inverse
    of their squared distance; a placed galaxy keeps its place. This is no t-SNE of all galaxies: a
    galaxy between two groups lies between them on the map, and structure finer than the distances
    between placed galaxies is lost.
    latents: (N, D); placed: those of the placed galaxies, (P, D); places: theirs, (P, 2).
    """
    found = np.empty((len(latents), 2), np.float32)
    for first in range(0, len(latents), _BLOCK):
        rows, apart = nearest(placed, latents[first : first + _BLOCK], NEIGHBOURS)
        same = apart == 0
        weights = np.where(same.any(axis=1, keepdims=True), same, 1 / np.maximum(apart, 1e-12) ** 2)
        weights = weights / weights.sum(axis=1, keepdims=True)
        found[first : first + _BLOCK] = (places[rows] * weights[:, :, None]).sum(axis=1)
    return found
