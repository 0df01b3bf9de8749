"""How far the latents move where they should not: turned and mirrored images, further exposures.

Distances are Euclidean over all latents, whose prior has unit variance; the unit is the median
distance of two random galaxies.
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

from VAE_model.probe.encoded import Encoded, Encoder
from VAE_model.scores import Estimate
from VAE_model.training.loader import batches

Change = Callable[[Tensor, np.random.Generator], Tensor]


def quarter_turns(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image (N, bands, side, side) turned by one, two or three quarters: pixels stay exact."""
    turns = rng.integers(1, 4, len(images))
    return torch.stack([image.rot90(int(k), (1, 2)) for image, k in zip(images, turns)])  # noqa: B905


def mirror(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Left and right exchanged, which turns the handedness of a spiral over."""
    return images.flip(-1)


def turn(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image turned by an angle from 0 to 360 degrees of its own, bicubic."""
    angle = torch.from_numpy(rng.uniform(0, 2 * math.pi, len(images))).float()
    return _resampled(images, angle, torch.zeros(len(images), 2))


def shift(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image moved by less than a pixel each way, bicubic: what interpolation alone does."""
    step = torch.from_numpy(rng.uniform(0, 2 / images.shape[-1], (len(images), 2))).float()
    return _resampled(images, torch.zeros(len(images)), step)


CHANGES: dict[str, Change] = {
    "quarter turns": quarter_turns,
    "mirrored": mirror,
    "any angle, interpolated": turn,
    "part of a pixel, interpolated": shift,
}


def changed_means(
    encoded: Encoded, encode: Encoder, rows: NDArray[np.int64], batch: int, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Posterior means (n, latents) of the changed images of some rows of the table, by CHANGES."""
    rng, cpu = np.random.default_rng(seed), torch.device("cpu")
    parts: dict[str, list[NDArray]] = {name: [] for name in CHANGES}
    images = batches(encoded.packed.images, encoded.images(rows), batch, cpu)
    with tqdm(total=len(rows), desc="turning images", unit="image") as progress:
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
    moved: dict[str, NDArray], latents: NDArray, draws: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """The median distance between latents (N, d) and those of the changed images, each (N, d),
    over the median distance of two of the N galaxies, by the name of the change; 95 % intervals of
    resampled galaxies."""
    steps = {name: np.linalg.norm(other - latents, axis=1) for name, other in moved.items()}
    apart = cdist(latents, latents)
    rng = np.random.default_rng(seed)
    chosen = [np.arange(len(latents)), *rng.integers(0, len(latents), (draws, len(latents)))]
    units = [_median_apart(apart, rows) for rows in chosen]
    found = {}
    for name, step in steps.items():
        ratios = [np.median(step[rows]) / unit for rows, unit in zip(chosen, units, strict=True)]
        low, high = np.percentile(ratios[1:], [2.5, 97.5])
        found[name] = Estimate(float(ratios[0]), float(low), float(high))
    return found


def _median_apart(apart: NDArray[np.float64], rows: NDArray[np.int64]) -> float:
    """Of pairs of different galaxies among `rows`, which may name one several times."""
    different = rows[:, None] != rows
    return float(np.median(apart[np.ix_(rows, rows)][different])) if different.any() else math.nan
