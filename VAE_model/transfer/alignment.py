"""Bringing the latents of two surveys together: discrepancies to minimise, maps to compute, and
what a method makes of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from torch import Tensor

KERNELS, FACTOR = 5, 2.0  # of the discrepancy: bandwidths from a quarter to four times the mean
_SMALLEST = 1e-12  # eigenvalue of a covariance

# From latents of the second survey and of the first, (N, d) and (M, d): matrix (d, d) and offset
# (d,) of the map x -> matrix x + offset.
Map = Callable[
    [NDArray[np.floating], NDArray[np.floating]], tuple[NDArray[np.float64], NDArray[np.float64]]
]
# From the latents of the same galaxies in the first survey and in the second, (N, d) each, in units
# of the scatter: what is to become small, a scalar.
Term = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Method:
    """One way to adapt, and for whom: sentence.

    pair, mmd, keep: weights beside the -ELBO of both surveys' images, in units of the stiffness
    (see adaptation.Adapter): pair, the squared distance of a galaxy's two latents; mmd, the
    discrepancy of the two surveys' latents; keep, the squared distance of the first survey's
    latents from what they were before. terms: further terms by name, with the weight of each.
    map: instead of training, a map computed from both surveys' latents.
    """

    sentence: str
    pair: float = 0.0
    mmd: float = 0.0
    keep: float = 0.0
    terms: dict[str, tuple[float, Term]] = field(default_factory=dict)
    map: Map | None = None


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples of one size, (N, d) each; a scalar.

    The unbiased estimate of Gretton et al. 2012, J. Mach. Learn. Res. 13, 723, lemma 6, which
    leaves out row i against row i, so that it may be the same galaxy in both; with the mean of
    KERNELS Gaussian kernels whose bandwidths are FACTOR apart about the mean squared distance of
    the joint sample (Long et al. 2015). About zero, of either sign, where both come from one
    distribution; at most 2.
    """
    count = len(first)
    if count < 2:
        return first.new_zeros(())
    joint = torch.cat([first, second])
    squares = torch.cdist(joint, joint).square()
    mean = squares.detach().sum() / (2 * count * (2 * count - 1))
    kernel = torch.zeros_like(squares)
    for number in range(KERNELS):
        bandwidth = mean * FACTOR ** (number - KERNELS // 2)
        kernel = kernel + torch.exp(-squares / bandwidth.clamp_min(1e-12)) / KERNELS
    statistic = (
        kernel[:count, :count] + kernel[count:, count:]
        - kernel[:count, count:] - kernel[count:, :count]
    )  # fmt: skip
    return (statistic.sum() - statistic.diagonal().sum()) / (count * (count - 1))


def standardise(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix (d, d) and offset (d,) that give `source` (N, d) the mean and scatter of `target`
    (M, d) in each latent: x -> matrix x + offset."""
    scale = target.std(axis=0) / np.maximum(source.std(axis=0), 1e-6)
    return np.diag(scale).astype(float), target.mean(axis=0) - scale * source.mean(axis=0)


def coral(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `standardise`, but matching the whole covariance (Sun et al. 2016, CORAL).

    The covariances are shrunk by Ledoit & Wolf 2004, so that few galaxies do no harm; of many,
    nothing changes.
    """
    matrix = _power(_covariance(target), 0.5) @ _power(_covariance(source), -0.5)
    return matrix, target.mean(axis=0) - matrix @ source.mean(axis=0)


def _covariance(sample: NDArray[np.floating]) -> NDArray[np.float64]:
    """Shrunk towards independent latents of the variances that they have."""
    scatter = np.maximum(sample.std(axis=0), 1e-6)
    shrunk, _ = ledoit_wolf(np.asarray(sample, float) / scatter)
    return shrunk * np.outer(scatter, scatter)


def _power(covariance: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """A symmetric positive matrix to a power."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, _SMALLEST) ** exponent) @ vectors.T
