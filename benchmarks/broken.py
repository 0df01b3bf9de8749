"""Broken frames ranked without a label (gz2_defect): a part of benchmarks/features.py.

The scores of analysis/decals_4.py and the defect flags, beside an isolation forest on principal
components of the pixels, and beside the light around the centre, which is what these frames
(haloes, spikes, red skies) have and plain galaxies have not. That score was chosen on a random
half of the images; areas are given for the other half.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch.nn.functional import avg_pool2d

from VAE_model import outliers
from VAE_model.encoding import encode
from VAE_model.packed import Packed
from VAE_model.pixel_pca import pixel_components
from VAE_model.stretch import Stretch
from VAE_model.trained import TrainedVAE

INSIDE, OUTSIDE = 0.35, 0.5  # half-frames from the centre, where colour and light are looked at


def surroundings(images: Packed, stretch: Stretch) -> NDArray[np.float64]:
    """How much light of how much colour lies away from the centre: (N,), a mean of percentiles."""
    rows = np.arange(len(images.index))
    axis = (torch.arange(64) + 0.5) / 32 - 1
    radius = torch.hypot(*torch.meshgrid(axis, axis, indexing="ij"))
    light, colour = [], []
    for part in np.array_split(rows, max(1, len(rows) // 64)):
        small = avg_pool2d(stretch(torch.from_numpy(images.images[part])), 4)
        light.append(small[:, :, radius > OUTSIDE].mean(dim=2).amax(dim=1))
        contrast = small.amax(dim=1) - small.amin(dim=1)
        colour.append(contrast[:, radius > INSIDE].mean(dim=1))
    return outliers.combined(torch.cat(light).numpy(), torch.cat(colour).numpy())


def rankings(packed: Packed, model: TrainedVAE, train: NDArray) -> dict[str, NDArray]:
    """Scores of all images, (N,) each, by name: higher is more unusual."""
    rows = np.arange(len(packed.index))
    components = pixel_components(
        packed.images, np.flatnonzero(train), rows, 40, stretch=model.stretch
    )
    table = encode(packed, model, 64)
    latents = table.filter(like="mu_").to_numpy(np.float32)
    around = surroundings(packed, model.stretch)
    distance = outliers.mahalanobis(latents, train)
    ours = outliers.combined(distance, outliers.isolation(latents, train), table["mse"])
    return {
        "isolation forest on PCA-40 of the pixels": outliers.isolation(components, train),
        "distance in the latents": distance,
        "isolation forest on the latents": outliers.isolation(latents, train),
        "error of the reconstruction": table["mse"].to_numpy(),
        "combined, as analysis/decals_4.py": ours,
        "the same, flagged images first": ours + packed.flags.any(axis=1).to_numpy(float),
        "light around the centre": around,
        "light around the centre, combined with the distance": outliers.combined(around, distance),
    }


def table(scores: dict[str, NDArray], broken: NDArray[np.bool_], draws: int = 1000) -> list[str]:
    """A line a score: area under the ROC curve with its 95 % interval of resampled images, on the
    half on which nothing was chosen, and precision among the highest ranked."""
    own = np.random.default_rng(0).permutation(len(broken)) >= len(broken) // 2
    n = int(own.sum())
    lines = [
        f"| score | area under the ROC curve, {n} images | broken among the first 50, 100 of these "
        f"| among the first 200 of all {len(broken):,} |",
        "|---|---|---|---|",
    ]
    rng = np.random.default_rng(0)
    rows = [rng.choice(np.flatnonzero(own), n) for _ in range(draws)]
    for name, score in scores.items():
        area = roc_auc_score(broken[own], score[own])
        drawn = [roc_auc_score(broken[some], score[some]) for some in rows]
        low, high = np.percentile(drawn, [2.5, 97.5])
        half = broken[own][np.argsort(-score[own], kind="stable")]
        every = broken[np.argsort(-score, kind="stable")]
        lines.append(
            f"| {name} | {area:.3f} ({low:.3f} to {high:.3f}) | {half[:50].mean():.2f}, "
            f"{half[:100].mean():.2f} | {every[:200].mean():.3f} |"
        )
    return lines
