"""Choice of the degradation and of its weights, on two exposures of galaxies by the first survey.

Galaxies of a simulated sky are observed by DECaLS in two nights, of other seeing, depth, sky level
and registration. The preparation's constants are chosen on them, without the second survey:

- DEPTH_LOSS and SEEING (preparation/degradation.py): the degraded image of the first night should
  differ from the first night as the second night does. Of each feature of the structure vector
  the scatter between two images, over that among galaxies, is compared. The rule: the smallest
  mean absolute logarithm of the ratio of predicted and real scatter.
- NOISE_LIMIT (models.py): the latents of the first night should tell as much as possible about
  those of the second. Information is the gain of a Gaussian log-likelihood of the second by the
  first, cross-validated, in nats per galaxy, for the linear encoder fitted on the first night. The
  rule: the largest limit, which weights features least, whose information lies within one standard
  error of the best, paired by galaxy. The 5 % of galaxies whose nights differ most before any
  weighting are left out.
- _LEAST_NOISE (preparation/segmentation.py): the median noise of the images in which sources are
  detected, DEPTH_LOSS magnitudes shallower.

Reads:  nothing
Prints: two tables and the constants that the rules choose

Example: python benchmarks/experiments/degradation.py --seed 7 --galaxies 300
"""

import math
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

KEPT = 0.95  # share of galaxies in the comparison of noise limits


@dataclass(frozen=True)
class Config:
    """Constants of the experiment."""

    seed: int = 7
    """Seed of the sky, of 1 to 99."""
    galaxies: int = 300
    """Galaxies that are observed twice."""
    depth_loss: tuple[float, ...] = (0.25, 0.4, 0.6, 0.8, 1.0)
    """Magnitudes of depth to compare."""
    seeing: tuple[float, ...] = (1.05, 1.15, 1.25, 1.35)
    """Ratios of seeing to compare, each with the losses that are larger than its own."""
    noise_limit: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
    """Noise limits to compare."""
    num_var: int = 40
    """Latents of the comparison of noise limits."""
    n_bootstrap: int = 50
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
    prepared = models.build("residual", 1).prepare(stretched)[0].numpy()
    small = torch.nn.functional.avg_pool2d(stretched[0], stretched.shape[-1] // SIDE).mean(dim=0)
    return Images(prepared[0], prepared[1], prepared[2:], spread(small.numpy()))


def squared_change(network: models.StructureBaseline, one: NDArray, two: NDArray) -> NDArray:
    """Return half of the squared differences, (N, features), of compressed features."""
    step = network.compressed(torch.from_numpy(one)) - network.compressed(torch.from_numpy(two))
    return step.square().numpy() / 2


def compare(predicted: NDArray, real: NDArray) -> tuple[float, float, float]:
    """Return the agreement of the scatter of features, from squared changes (N, features).

    The rank correlation, the ratio of predicted to real scatter (geometric mean), and the mean
    absolute logarithm of the ratio.
    """
    one, two = np.median(predicted, axis=0), np.median(real, axis=0)
    known = (one > 0) & (two > 0)
    log = np.log(one[known] / two[known]) / 2
    rank = spearmanr(one[known], two[known]).statistic
    return float(rank), float(np.exp(log.mean())), float(np.abs(log).mean())


def information(one: NDArray, two: NDArray) -> NDArray[np.float64]:
    """Return the information about `two` in `one`, (N, d) each, in nats for each galaxy, (N,).

    It is the log-likelihood of a joint Gaussian over that of independent ones, whose covariance was
    fitted on other galaxies.
    """
    d, both = one.shape[1], np.concatenate([one, two], axis=1)
    gains = np.empty(len(both))
    for fit, rest in KFold(5, shuffle=True, random_state=0).split(both):
        middle = both[fit].mean(axis=0)
        covariance = ledoit_wolf(both[fit] - middle, assume_centered=True)[0]
        left, parts = both[rest] - middle, (slice(None, d), slice(d, None), slice(None))
        first, second, joint = (_log_density(left[:, p], covariance[p, p]) for p in parts)
        gains[rest] = joint - first - second
    return gains


def _log_density(values: NDArray, covariance: NDArray) -> NDArray:
    solved = np.linalg.solve(covariance, values.T).T
    return -0.5 * ((values * solved).sum(axis=1) + np.linalg.slogdet(2 * np.pi * covariance)[1])


def choose_strength(
    config: Config, strengths: list[tuple[float, float]], images: list[Images]
) -> int:
    """Print the table of strengths (seeing, depth loss); return the number of the chosen one."""
    first, second = (np.stack([one[night] for one in images]) for night in (0, 1))
    network = models.StructureBaseline(config.num_var)
    network.initialise(torch.from_numpy(first))
    real, count = squared_change(network, first, second), len(images)
    rng = np.random.default_rng(config.seed)
    samples = rng.integers(0, count, (config.n_bootstrap, count))
    rows, apart = [], []
    for number, strength in enumerate(strengths):
        degraded = np.stack([one.degraded[number] for one in images])
        predicted = squared_change(network, first, degraded)
        rank, ratio, error = compare(predicted, real)
        drawn = [compare(predicted[sample], real[sample])[2] for sample in samples]
        rows.append([*strength, f"{rank:.3f}", f"{ratio:.2f}",
                     f"{error:.3f} ± {np.std(drawn, ddof=1):.3f}"])  # fmt: skip
        apart.append(error)
    head = ["seeing", "depth loss (mag)", "rank correlation", "ratio", "mean absolute log ratio"]
    print(Table(head, rows).markdown(), "\n")
    return int(np.argmin(apart))


def choose_limit(config: Config, images: list[Images], strength: int) -> float:
    """Print the table of noise limits, for one of the strengths; return the chosen limit."""
    first, second = (np.stack([one[night] for one in images]) for night in (0, 1))
    degraded = np.stack([one.degraded[strength] for one in images])
    gains, distances = [], []
    kept = np.full(len(images), True)
    for limit in (math.inf, *config.noise_limit):
        network = models.StructureBaseline(config.num_var)
        network.NOISE_LIMIT = limit
        torch.manual_seed(0)
        network.initialise(torch.from_numpy(first), torch.from_numpy(degraded))
        with torch.no_grad():
            one, two = (network.encode(torch.from_numpy(x))[0].numpy() for x in (first, second))
        distance = np.sqrt(np.square((one - two) / one.std(axis=0)).mean(axis=1))
        if limit == math.inf:
            kept = distance <= np.quantile(distance, KEPT)
            continue
        gains.append(information(one[kept], two[kept]))
        distances.append(np.median(distance))
    top = max(gains, key=np.mean)
    rows, chosen = [], 0.0
    for limit, gain, distance in zip(config.noise_limit, gains, distances, strict=True):
        behind, error = np.mean(top - gain), np.std(top - gain, ddof=1) / len(top) ** 0.5
        chosen = max(chosen, limit if behind <= error else 0.0)
        rows.append([limit, f"{gain.mean():.2f}", f"{behind:.2f} ± {error:.2f}", f"{distance:.3f}"])
    head = ["noise limit", "information (nats)", "below the best", "distance of the nights"]
    print(Table(head, rows).markdown(), "\n")
    return chosen


def main(config: Config) -> None:
    """Compare the strengths, then the noise limits, and print what the rules choose."""
    strengths = [
        (seeing, loss)
        for seeing, loss in product(config.seeing, config.depth_loss)
        if loss > 3 * np.log10(seeing)  # at the same noise per pixel, seeing costs about 2.5 times
    ]
    images = list(parallel.each(
        partial(measure, config.seed, strengths), range(config.galaxies), config.workers,
        "observing twice",
    ))  # fmt: skip
    strength = choose_strength(config, strengths, images)
    limit = choose_limit(config, images, strength)
    seeing, depth_loss = strengths[strength]
    noise = float(np.median([one.noise for one in images]))
    print(f"{config.galaxies} galaxies, seed {config.seed}; median noise {noise:.3f}")
    print(f"DEPTH_LOSS = {depth_loss:g}, SEEING = {seeing:g}, NOISE_LIMIT = {limit:g}, "
          f"_LEAST_NOISE = {noise * 10 ** (0.4 * depth_loss):.2f}")  # fmt: skip


if __name__ == "__main__":
    start(main, Config, __doc__)
