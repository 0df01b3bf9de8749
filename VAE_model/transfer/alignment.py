"""Alignment of the latents of two surveys: methods, and the maps that need no training.

`mmd`, a discrepancy to minimise, is in training/losses.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from torch import Tensor

_SMALLEST = 1e-12  # eigenvalue of a covariance

# From latents of the second survey and of the first, (N, d) and (M, d): matrix (d, d) and offset
# (d,) of the map x -> matrix x + offset.
Map = Callable[
    [NDArray[np.floating], NDArray[np.floating]], tuple[NDArray[np.float64], NDArray[np.float64]]
]
# From the latents of the same galaxies in the first survey and in the second, (N, d) each, in units
# of their standard deviations: a scalar to minimise.
Term = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Method:
    """A method of adaptation.

    sentence: a description; pair, mmd, keep: weights of terms beside the loss of both surveys'
    images, in units of the stiffness (adaptation.PairTask): pair, the squared distance of a
    galaxy's latents in the two surveys; mmd, the discrepancy of the two surveys' latents; keep, the
    squared distance of the first survey's latents from those of the starting model; terms: further
    terms by name, with the weight of each; map: instead of training, a map of the second survey's
    latents, computed from both surveys' latents.
    """

    sentence: str
    pair: float = 0.0
    mmd: float = 0.0
    keep: float = 0.0
    terms: dict[str, tuple[float, Term]] = field(default_factory=dict)
    map: Map | None = None


def standardise(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the map that gives each latent of `source` the mean and variance of `target`.

    source: (N, d); target: (M, d). The map is x -> matrix x + offset, with the matrix (d, d) and
    the offset (d,).
    """
    scale = target.std(axis=0) / np.maximum(source.std(axis=0), 1e-6)
    return np.diag(scale).astype(float), target.mean(axis=0) - scale * source.mean(axis=0)


def coral(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a map, as `standardise`, that matches the covariance (CORAL, Sun et al. 2016).

    The covariances are shrunk (Ledoit & Wolf 2004), which matters only for small samples.
    """
    matrix = _power(_covariance(target), 0.5) @ _power(_covariance(source), -0.5)
    return matrix, target.mean(axis=0) - matrix @ source.mean(axis=0)


def _covariance(sample: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the covariance, shrunk towards independent latents of the same variances."""
    std = np.maximum(sample.std(axis=0), 1e-6)
    shrunk, _ = ledoit_wolf(np.asarray(sample, float) / std)
    return shrunk * np.outer(std, std)


def _power(covariance: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Return a power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, _SMALLEST) ** exponent) @ vectors.T
