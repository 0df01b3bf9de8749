"""Images of a packed copy through a trained model: latents, and how well they draw the image."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.evaluation.reconstruction import quality
from VAE_model.packed import Packed
from VAE_model.preparation.pose import Pose
from VAE_model.preparation.prepared_inputs import Prepared
from VAE_model.training.loader import batches
from VAE_model.training.model_file import TrainedVAE


def encode(
    packed: Packed,
    model: TrainedVAE,
    batch: int,
    rows: NDArray[np.int64] | None = None,
    survey: str = "",
) -> pd.DataFrame:
    """mu_*, logvar_*, residual, mse, ssim and pose_* of packed images, in the order of `rows`;
    None: of all.

    survey: of all images, where their headers do not say. residual: mean squared difference of the
    network's target and what the latents draw of it, in the target's units. mse, ssim: of the image
    as it was taken, neighbours with it, in the central 34 arcsec (likeness.py).
    """
    rows = np.arange(len(packed.images)) if rows is None else rows
    prepared = Prepared(packed, model.network, model.stretch, model.device)
    if not len(rows):  # of several processes, one more than there are batches
        return pd.DataFrame()
    noise = packed.noise
    surveys = packed.index["survey"].to_numpy(object)
    if survey:
        surveys = np.full(len(surveys), survey, object)
    parts = []
    with tqdm(total=len(rows), desc="latents", unit="image") as progress:
        for (chunk, flux), (_, inputs, where) in zip(
            batches(packed.images, rows, batch, model.device),
            prepared.batches(rows, batch),
            strict=True,
        ):
            mean, log_variance = model.encode_inputs(inputs, surveys[chunk])
            drawn = model.draw(mean)
            sky = model.on_sky(drawn, where)
            error, likeness = quality(sky, flux, torch.from_numpy(noise[chunk]))
            found = [mean, log_variance, model.residual(inputs, drawn)[:, None]]
            found += [error[:, None], likeness[:, None]]
            found += [torch.stack(where, dim=1)] if where is not None else []
            parts.append(torch.cat(found, dim=1).cpu().numpy())
            progress.update(len(chunk))
    names = [f"{kind}_{i:02d}" for kind in ("mu", "logvar") for i in range(mean.shape[1])]
    names += ["residual", "mse", "ssim"]
    names += [f"pose_{name}" for name in Pose._fields] if where is not None else []
    return pd.DataFrame(np.concatenate(parts), columns=names)
