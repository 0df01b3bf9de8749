"""Calibration of the posterior: its width against the variation of its mean between exposures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from VAE_model.evaluation.bootstrap import Estimate, bootstrap


@dataclass(frozen=True)
class Calibration:
    """Calibration of the posterior on N galaxies with several exposures each.

    deviation: standard deviation of the posterior means between exposures, (latents,); sigma: the
    posterior's, (latents,), both root mean squares over galaxies; ratio: deviation over sigma, one
    Estimate per latent; expected: the ratio of a correct posterior, where mean and data are
    linear: sqrt(1 - sigma^2), (latents,), as the prior narrows the posterior too.
    Over the selected latents, median: of their ratios; within: share of the differences between two
    exposures below sigma sqrt(2), which is 0.68 for a correct normal posterior.
    """

    deviation: NDArray[np.float64]
    sigma: NDArray[np.float64]
    ratio: list[Estimate]
    expected: NDArray[np.float64]
    median: Estimate
    within: Estimate


def calibrate(
    means: NDArray, log_variances: NDArray, selected: NDArray[np.bool_],
    n_bootstrap: int = 1000, seed: int = 0,
) -> Calibration:  # fmt: skip
    """Compare the width of posteriors with the variation of their means.

    means, log_variances: (exposures, N, latents), two exposures or more; selected: the latents of
    the summary, (latents,). Intervals are 95 %, of resampled galaxies.
    Raises ValueError where no latent is selected.
    """
    if not selected.any():
        raise ValueError("no latent is selected")
    between = means.astype(np.float64).var(axis=0, ddof=1)  # exposures, (N, latents)
    variance = np.exp(log_variances.astype(np.float64)).mean(axis=0)
    step = np.abs(means[1:, :, selected].astype(np.float64) - means[0, :, selected].T)
    inside = (step < np.sqrt(2 * variance[:, selected])).mean(axis=(0, 2))  # of each galaxy
    n = len(between)
    ratio = bootstrap(lambda w: np.sqrt((w @ between) / (w @ variance)), n, n_bootstrap, seed)
    within = bootstrap(lambda w: w @ inside / n, n, n_bootstrap, seed)
    return Calibration(
        np.sqrt(between.mean(axis=0)),
        np.sqrt(variance.mean(axis=0)),
        [Estimate.of(of) for of in ratio.T],
        np.sqrt(np.clip(1 - variance.mean(axis=0), 0, None)),
        Estimate.of(np.median(ratio[:, selected], axis=1)),
        Estimate.of(within),
    )
