"""Whether the posterior is as wide as its mean scatters when the same galaxy is observed again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from VAE_model.evaluation.classification import Estimate
from VAE_model.evaluation.probe.regression import resampled


@dataclass(frozen=True)
class Calibration:
    """Of N galaxies with several views each. scatter: of the posterior means about those of their
    galaxy, (latents,); sigma: the posterior's, (latents,), both root mean square; ratio: the one
    over the other, an Estimate a latent; expected: the ratio of a posterior that is right, where
    mean and data are linear: sqrt(1 - sigma^2) (latents,), as the prior, which does not scatter,
    narrows the posterior too. Of the latents that were asked for, median: of their ratios; within:
    share of the differences of two views that are less than sigma sqrt(2), 0.68 of a normal
    distribution of that width, in the mean over latents."""

    scatter: NDArray[np.float64]
    sigma: NDArray[np.float64]
    ratio: list[Estimate]
    expected: NDArray[np.float64]
    median: Estimate
    within: Estimate


def calibrate(
    means: NDArray, log_variances: NDArray, asked: NDArray[np.bool_],
    draws: int = 1000, seed: int = 0,
) -> Calibration:  # fmt: skip
    """means, log_variances: of the posterior, (views, N, latents), two views and more of each
    galaxy; asked: the latents whose median ratio is wanted, (latents,). Intervals are 95 %, of
    resampled galaxies."""
    scatter = means.astype(np.float64).var(axis=0, ddof=1)  # (N, latents)
    variance = np.exp(log_variances.astype(np.float64)).mean(axis=0)
    times = resampled(len(scatter), draws, seed)
    drawn = np.sqrt((times @ scatter) / (times @ variance))
    value = np.sqrt(scatter.mean(axis=0) / variance.mean(axis=0))
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    if not asked.any():
        raise ValueError("no latent is asked for")
    step = np.abs(means[1:, :, asked].astype(np.float64) - means[0, :, asked].T)
    inside = (step < np.sqrt(2 * variance[:, asked])).mean(axis=(0, 2))  # of each galaxy
    return Calibration(
        np.sqrt(scatter.mean(axis=0)),
        np.sqrt(variance.mean(axis=0)),
        [Estimate(*map(float, one)) for one in zip(value, low, high, strict=True)],
        np.sqrt(np.clip(1 - variance.mean(axis=0), 0, None)),
        _estimate(np.median(value[asked]), np.median(drawn[:, asked], axis=1)),
        _estimate(inside.mean(), times @ inside / len(inside)),
    )


def _estimate(value: float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))
