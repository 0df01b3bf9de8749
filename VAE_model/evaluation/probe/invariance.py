"""Invariance of the latents under changes that keep the galaxy: rotation, mirroring, exposures.

Distances are Euclidean over all latents, whose prior has unit variance; the unit is the median
distance between two random galaxies.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from VAE_model.evaluation.bootstrap import Estimate, bootstrap, weighted_median
from VAE_model.evaluation.probe.encoded import Encoded, Encoder
from VAE_model.training.loader import batches

Change = Callable[[Tensor, np.random.Generator], Tensor]


def quarter_turns(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Rotate each image (N, bands, side, side) by 90, 180 or 270 degrees, which is exact."""
    turns = rng.integers(1, 4, len(images))
    return torch.stack([image.rot90(int(k), (1, 2)) for image, k in zip(images, turns)])  # noqa: B905


def mirror(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Exchange left and right, which reverses the handedness of a spiral."""
    return images.flip(-1)


def rotate(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Rotate each image by a random angle from 0 to 360 degrees, bicubic."""
    angle = torch.from_numpy(rng.uniform(0, 2 * math.pi, len(images))).float()
    return _resampled(images, angle, torch.zeros(len(images), 2))


def shift(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift each image by less than a pixel each way, bicubic: interpolation alone."""
    step = torch.from_numpy(rng.uniform(0, 2 / images.shape[-1], (len(images), 2))).float()
    return _resampled(images, torch.zeros(len(images)), step)


CHANGES: dict[str, Change] = {
    "rotated by quarter turns": quarter_turns,
    "mirrored": mirror,
    "rotated by any angle": rotate,
    "shifted by part of a pixel": shift,
}


def changed_means(
    encoded: Encoded, encode: Encoder, rows: NDArray[np.int64], batch: int, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Return posterior means (n, latents) of changed images of rows of the table, by CHANGES."""
    rng, cpu = np.random.default_rng(seed), torch.device("cpu")
    parts: dict[str, list[NDArray]] = {name: [] for name in CHANGES}
    images = batches(encoded.packed.images, encoded.images(rows), batch, cpu)
    with tqdm(total=len(rows), desc="changing images", unit="image") as progress:
        for done, (_, flux) in zip(range(0, len(rows), batch), images, strict=True):
            for name, change in CHANGES.items():
                parts[name].append(encode(change(flux, rng), rows[done : done + len(flux)])[0])
            progress.update(len(flux))
    return {name: np.concatenate(of) for name, of in parts.items()}


def _resampled(images: Tensor, angle: Tensor, step: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.stack([cos, -sin, step[:, 0]], 1), torch.stack([sin, cos, step[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, "bicubic", "reflection", align_corners=False)


def relative_moves(
    moved: dict[str, NDArray], latents: NDArray, n_bootstrap: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return how far the latents move, by the name of the change, with 95 % bootstrap intervals.

    It is the median distance between latents (N, d) and those of the changed images, (N, d), over
    the median distance between two of the N galaxies.
    """
    steps = {name: np.linalg.norm(other - latents, axis=1) for name, other in moved.items()}
    apart = cdist(latents, latents)

    def ratios(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        unit = np.array([_median_apart(apart, weight) for weight in weights])
        return np.stack([weighted_median(step, weights) / unit for step in steps.values()], axis=1)

    drawn = bootstrap(ratios, len(latents), n_bootstrap, seed)
    return {name: Estimate.of(of) for name, of in zip(steps, drawn.T, strict=True)}


def _median_apart(apart: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Return the median distance of two different galaxies, each repeated by its weight (N,)."""
    rows = np.repeat(np.arange(len(weight)), weight.astype(int))
    different = rows[:, None] != rows
    return float(np.median(apart[np.ix_(rows, rows)][different])) if different.any() else math.nan
