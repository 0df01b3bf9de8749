"""Repeatability of latents: how far a second exposure of the same galaxy moves each of them."""

import numpy as np
import torch
from numpy.typing import NDArray

from VAE_model.data.packed import Packed
from VAE_model.preparation.degradation import degrade
from VAE_model.training.loader import batches
from VAE_model.training.model_file import TrainedVAE

SCATTER = "exposure_scatter"  # key of the values in the metadata of the table of latents


def exposure_scatter(
    packed: Packed,
    model: TrainedVAE,
    batch_size: int,
    most: int = 128,
    seed: int = 0,
    survey: str = "",
) -> NDArray[np.float32]:
    """Return the scatter of each latent between two exposures of one galaxy, (latents,).

    The second exposure is made from the first, at lower signal-to-noise (degradation.py), for
    `most` random images at most. The scatter is the rms difference of the posterior means and the
    mean posterior variance, added in quadrature, so that latents that tell nothing have a large
    one. survey: of all images, overriding their headers.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(packed.images))[:most])
    surveys = [survey or own for own in packed.index["survey"]]
    generator, noise = torch.Generator().manual_seed(seed), packed.noise
    squares, variances = [], []
    for part, flux in batches(packed.images, rows, batch_size, model.device):
        again = degrade(flux, torch.from_numpy(noise[part]), generator)
        own = [surveys[row] for row in part]
        first, log_variance = model.encode(flux, own)
        second, _ = model.encode(again, own)
        squares.append((first - second).square())
        variances.append(log_variance.exp())
    total = torch.cat(squares).mean(dim=0) + torch.cat(variances).mean(dim=0)
    return total.sqrt().cpu().numpy()
