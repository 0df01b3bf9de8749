"""Choice of the degradation and of its weights, on two exposures of galaxies by the first survey.

Galaxies of a simulated sky are observed by DECaLS in two nights, of other seeing, depth, sky level
and registration. The preparation's constants are chosen on them, without the second survey:

- DEPTH_LOSS and SEEING (preparation/degradation.py): the degraded image of the first night should
  differ from the first night as the second night does. Of each feature of the structure vector
  the scatter between two images, over that among galaxies, is compared. The rule: the smallest
  mean absolute logarithm of the ratio of predicted and real scatter.
- NOISE_LIMIT (models.py): the largest information that the latents of the first night give about
  those of the second, in nats per galaxy: the gain of a Gaussian log-likelihood of the second by
  the first, cross-validated, for the linear encoder fitted on the first night.
- _LEAST_NOISE (preparation/segmentation.py): the median noise of the images in which sources are
  detected, DEPTH_LOSS magnitudes shallower.

Reads:  nothing
Prints: two tables and the constants that the rules choose

Example: python benchmarks/experiments/degradation.py --seed 7 --galaxies 300
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.covariance import ledoit_wolf
from sklearn.model_selection import KFold

from VAE_model import models
from VAE_model.pipeline import parallel
from VAE_model.pipeline.stage import start
from VAE_model.preparation.degradation import degrade
from VAE_model.preparation.pixel_noise import sky_noise, spread
from VAE_model.preparation.segmentation import SIDE
from VAE_model.preparation.stretch import Stretch
from VAE_model.report.tables import Table
from VAE_model.simulation.repeats import observe_again


@dataclass(frozen=True)
class Config:
    """Constants of the experiment."""

    seed: int = 7
    """Seed of the sky, of 1 to 99."""
    galaxies: int = 300
    """Galaxies that are observed twice."""
    depth_loss: tuple[float, ...] = (0.25, 0.4, 0.6, 0.8)
    """Magnitudes of depth to compare."""
    seeing: tuple[float, ...] = (1.05, 1.15, 1.25)
    """Ratios of seeing to compare, each with the losses that are larger than its own."""
    noise_limit: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
    """Noise limits to compare."""
    num_var: int = 40
    """Latents of the comparison of noise limits."""
    n_bootstrap: int = 200
    """Samples of galaxies for the standard errors."""
    workers: int = 0
    """Processes; 0: one per core."""


class Images(NamedTuple):
    """Measurements of one galaxy: prepared inputs, (D,), of two nights and of degraded images.

    degraded: those of the first night, (strengths, D); noise: of the first night at the resolution
    at which sources are detected, in stretched units.
    """

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    degraded: NDArray[np.float32]
    noise: float


@torch.no_grad()
def measure(seed: int, strengths: list[tuple[float, float]], index: int) -> Images:
    """Observe a galaxy in two nights, degrade the first at each (seeing, depth loss), prepare."""
    nights = torch.from_numpy(observe_again(seed, index, 2).night)
    first = nights[:1]
    noise = torch.from_numpy(sky_noise(first[0].numpy()))[None]
    random = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    worse = [
        degrade(first, noise, torch.Generator().manual_seed(random), depth_loss, seeing)
        for seeing, depth_loss in strengths
    ]
    stretched = Stretch()(torch.cat([nights, *worse]))
    prepared = models.build("structured", 1).prepare(stretched)[0].numpy()
    small = torch.nn.functional.avg_pool2d(stretched[0], stretched.shape[-1] // SIDE).mean(dim=0)
    return Images(prepared[0], prepared[1], prepared[2:], spread(small.numpy()))


def squared_change(network: models.StructuredVAE, one: NDArray, two: NDArray) -> NDArray:
    """Return half of the squared differences, (N, features), of compressed features."""
    step = network.compressed(torch.from_numpy(one)) - network.compressed(torch.from_numpy(two))
    return step.square().numpy() / 2


def compare(predicted: NDArray, real: NDArray, weights: NDArray) -> tuple[float, float, float]:
    """Return the agreement of the scatter of features, from squared changes (N, features).

    weights: of the galaxies, (N,). The rank correlation, the ratio of predicted to real scatter
    (geometric mean), and the mean absolute logarithm of the ratio.
    """
    one, two = weights @ predicted, weights @ real
    known = (one > 0) & (two > 0)
    log = np.log(one[known] / two[known]) / 2
    rank = spearmanr(one[known], two[known]).statistic
    return float(rank), float(np.exp(log.mean())), float(np.abs(log).mean())


def information(one: NDArray, two: NDArray, folds: int = 5) -> tuple[float, float]:
    """Return the information about `two` in `one`, (N, d) each, in nats per galaxy, and its error.

    It is the log-likelihood of a joint Gaussian over that of independent ones, in the mean over
    galaxies that the covariance was not fitted on.
    """
    d, both = one.shape[1], np.concatenate([one, two], axis=1)
    gains = np.empty(len(both))
    for fit, rest in KFold(folds, shuffle=True, random_state=0).split(both):
        middle = both[fit].mean(axis=0)
        covariance = ledoit_wolf(both[fit] - middle, assume_centered=True)[0]
        left, parts = both[rest] - middle, (slice(None, d), slice(d, None), slice(None))
        first, second, joint = (_log_density(left[:, p], covariance[p, p]) for p in parts)
        gains[rest] = joint - first - second
    return float(gains.mean()), float(gains.std(ddof=1) / len(gains) ** 0.5)


def _log_density(values: NDArray, covariance: NDArray) -> NDArray:
    solved = np.linalg.solve(covariance, values.T).T
    return -0.5 * ((values * solved).sum(axis=1) + np.linalg.slogdet(2 * np.pi * covariance)[1])


def main(config: Config) -> None:
    """Compare the strengths, then the noise limits, and print what the rules choose."""
    strengths = [
        (seeing, loss)
        for seeing, loss in product(config.seeing, config.depth_loss)
        if loss > 3 * np.log10(seeing)  # at the same noise per pixel, seeing costs about 2.5 times
    ]
    each = parallel.each(
        partial(measure, config.seed, strengths), range(config.galaxies), config.workers,
        "observing twice",
    )  # fmt: skip
    first, second, degraded, noise = (np.stack(part) for part in zip(*each, strict=True))
    network = models.StructuredVAE(config.num_var)
    network.initialise(torch.from_numpy(first))
    real = squared_change(network, first, second)
    rng = np.random.default_rng(config.seed)
    samples = rng.multinomial(len(first), np.full(len(first), 1 / len(first)), config.n_bootstrap)
    rows, apart = [], []
    for number, (seeing, depth_loss) in enumerate(strengths):
        predicted = squared_change(network, first, degraded[:, number])
        rank, ratio, error = compare(predicted, real, np.ones(len(first)))
        drawn = [compare(predicted, real, weights)[2] for weights in samples]
        rows.append([seeing, depth_loss, f"{rank:.3f}", f"{ratio:.2f}",
                     f"{error:.3f} ± {np.std(drawn, ddof=1):.3f}"])  # fmt: skip
        apart.append(error)
    head = ["seeing", "depth loss", "rank correlation", "ratio", "mean absolute log ratio"]
    print(Table(head, rows).markdown())
    best = int(np.argmin(apart))
    seeing, depth_loss = strengths[best]

    rows, gains = [], []
    for limit in config.noise_limit:
        network = models.StructuredVAE(config.num_var)
        network.NOISE_LIMIT = limit
        torch.manual_seed(0)
        network.initialise(torch.from_numpy(first), torch.from_numpy(degraded[:, best]))
        with torch.no_grad():
            one, two = (network.encode(torch.from_numpy(x))[0].numpy() for x in (first, second))
        gain, error = information(one, two)
        distance = np.median(np.sqrt(np.square((one - two) / one.std(axis=0)).mean(axis=1)))
        rows.append([limit, f"{gain:.2f} ± {error:.2f}", f"{distance:.3f}"])
        gains.append(gain)
    print(Table(["noise limit", "information (nats)", "distance"], rows).markdown())
    middle = float(np.median(noise))
    limit = config.noise_limit[int(np.argmax(gains))]
    print(f"{config.galaxies} galaxies, seed {config.seed}; median noise {middle:.3f}")
    print(f"DEPTH_LOSS = {depth_loss:g}, SEEING = {seeing:g}, NOISE_LIMIT = {limit:g}, "
          f"_LEAST_NOISE = {middle * 10 ** (0.4 * depth_loss):.2f}")  # fmt: skip


if __name__ == "__main__":
    start(main, Config, __doc__)
