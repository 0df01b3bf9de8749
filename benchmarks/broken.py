"""Broken frames ranked without a label (gz2_defect): a part of benchmarks/features.py.

The scores and the two ranks of analysis/decals_4.py, beside an isolation forest on principal
components of the pixels. What the rank of frames goes by was chosen on a random half of the
images; areas are given for the other half.
"""

import importlib
import sys

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from VAE_model import outliers
from VAE_model.extraction.extract import extract
from VAE_model.packed import Packed
from VAE_model.pipeline.run import ROOT
from VAE_model.pixel_pca import pixel_components
from VAE_model.training.model_file import TrainedVAE

sys.path[:0] = [str(ROOT / "analysis")]
decals_4 = importlib.import_module("decals_4")


def rankings(packed: Packed, model: TrainedVAE, train: NDArray) -> dict[str, NDArray]:
    """Scores of all images, (N,) each, by name: higher is more unusual."""
    rows = np.arange(len(packed.index))
    components = pixel_components(
        packed.images, np.flatnonzero(train), rows, 40, stretch=model.stretch
    )
    latents = extract(packed, model, 64)
    table = pd.concat([packed.index, latents], axis=1)
    means = latents.filter(like="mu_").to_numpy(np.float32)
    without_classes = np.zeros((len(rows), 0), bool)
    found = decals_4.score(table, means, without_classes, decals_4.Config())
    return {
        "isolation forest on PCA-40 of the pixels": outliers.isolation(components, train),
        "distance in the latents": found["distance"].to_numpy(),
        "isolation forest on the latents": found["isolation"].to_numpy(),
        "error of the reconstruction": found["residual"].to_numpy(),
        "rank of the galaxy (analysis/decals_4.py)": -found["rank"].to_numpy(),
        "unevenness of the sky": found["unevenness"].to_numpy(),
        "**rank of the frame** (analysis/decals_4.py)": -found["frame_rank"].to_numpy(),
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
