"""Latents of packed images, and the quality of their reconstructions."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from VAE_model.data.cutouts import PIXEL_SCALE, SIZE
from VAE_model.data.packed import Packed
from VAE_model.evaluation.reconstruction import quality
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.prepared_inputs import AT_ONCE, PreparedInputs
from VAE_model.training import distributed
from VAE_model.training.loader import batches
from VAE_model.training.model_file import TrainedVAE

_HALF_WIDTH = SIZE / 2 * PIXEL_SCALE  # of an image, arcsec


def extract(
    packed: Packed,
    model: TrainedVAE,
    batch_size: int,
    rows: NDArray[np.int64] | None = None,
    survey: str = "",
) -> pd.DataFrame:
    """Return one row per image, in the order of `rows` (None: all images).

    mu_*, logvar_*: mean and log-variance of each latent's posterior;
    residual: mean squared error of the network's target, in its units;
    reduced_chi2, ssim: of the central 34 arcsec of the image, with contaminants;
    and, if the network removes the pose from the image, image_angle (degrees from +x towards +y, of
    the major axis), centre_x, centre_y (from the middle of the image) and rms_radius (arcsec),
    axis_ratio (b/a), masked_fraction.

    survey: of all images, overriding their headers; empty: by the headers.
    """
    rows = np.arange(len(packed.images)) if rows is None else rows
    prepared = PreparedInputs(packed, model.network, model.stretch, model.device)
    if not len(rows):  # there are more processes than batches
        return pd.DataFrame()
    noise = packed.noise
    surveys = packed.index["survey"].to_numpy(object)
    if survey:
        surveys = np.full(len(surveys), survey, object)
    parts = []
    silent = distributed.rank() != 0
    with tqdm(total=len(rows), desc="latents", unit="image", disable=silent) as progress:
        for (part, inputs, where), (_, flux) in zip(
            prepared.batches(rows, batch_size),
            batches(packed.images, rows, batch_size, model.device),
            strict=True,
        ):
            mean, log_variance = model.encode_inputs(inputs, surveys[part])
            decoded = model.decode_target(mean)
            reduced_chi2, ssim = _quality(model, decoded, where, flux, noise[part])
            columns = {
                **{f"mu_{i:02d}": latent for i, latent in enumerate(mean.T)},
                **{f"logvar_{i:02d}": latent for i, latent in enumerate(log_variance.T)},
                "residual": model.residual(inputs, decoded),
                "reduced_chi2": reduced_chi2,
                "ssim": ssim,
                **_pose_columns(where),
            }
            parts.append(torch.stack([*columns.values()], dim=1).cpu().numpy())
            progress.update(len(part))
    return pd.DataFrame(np.concatenate(parts), columns=list(columns))


def extract_means(
    packed: Packed, model: TrainedVAE, batch_size: int, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the posterior means of the given rows, (len(rows), latents)."""
    prepared = PreparedInputs(packed, model.network, model.stretch, model.device)
    parts = prepared.batches(rows, batch_size)
    return np.concatenate([model.encode_inputs(inputs)[0].cpu().numpy() for _, inputs, _ in parts])


def _quality(
    model: TrainedVAE, decoded: Tensor, where: Pose | None, flux: Tensor, noise: NDArray[np.float32]
) -> Tensor:
    """Return reduced chi-squared and SSIM of the reconstructions, (2, N), a few at a time."""
    found = []
    for first in range(0, len(flux), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        pose = None if where is None else Pose(*(value[some] for value in where))
        sky = model.restore(decoded[some], pose)
        found.append(torch.stack(quality(sky, flux[some], torch.from_numpy(noise[some]))))
    return torch.cat(found, dim=1)


def _pose_columns(where: Pose | None) -> dict[str, Tensor]:
    if where is None:
        return {}
    return {
        "image_angle": where.angle.rad2deg(),
        "centre_x": where.x * _HALF_WIDTH,
        "centre_y": where.y * _HALF_WIDTH,
        "rms_radius": where.rms_radius * _HALF_WIDTH,
        "axis_ratio": where.axis_ratio,
        "masked_fraction": where.masked_fraction,
    }
