"""Unsupervised ranking of broken images (gz2_defect).

The scores and the two ranks of analysis/decals_4.py, compared with an isolation forest on principal
components of the pixels. The measure behind the rank of images was chosen on a random half of the
images; areas are given for the other half.
"""

import sys
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.data.packed import Packed
from VAE_model.evaluation import outliers
from VAE_model.evaluation.bootstrap import Estimate, bootstrap, weighted_auc
from VAE_model.evaluation.pca import pixel_components
from VAE_model.extraction.extract import extract
from VAE_model.pipeline.run import ROOT
from VAE_model.report.tables import Table
from VAE_model.training.model_file import TrainedVAE

sys.path.insert(0, str(ROOT / "analysis"))
import decals_4


def rankings(packed: Packed, model: TrainedVAE, train: NDArray) -> dict[str, NDArray]:
    """Return scores of all images, (N,) each, by name: higher is more unusual."""
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
        "residual of the reconstruction": found["residual"].to_numpy(),
        "rank of the galaxy (analysis/decals_4.py)": -found["rank"].to_numpy(),
        "rms of the background over flux": found[decals_4.BACKGROUND].to_numpy(),
        "**rank of the image** (analysis/decals_4.py)": -found["image_rank"].to_numpy(),
    }


def rank_table(
    scores: dict[str, NDArray], broken: NDArray[np.bool_], n_bootstrap: int = 1000
) -> Table:
    """Return a row per score: area under the ROC curve, and precision among the highest ranked.

    The area is that of the half on which nothing was chosen, with its 95 % interval of resampled
    images.
    """
    own = np.random.default_rng(0).permutation(len(broken)) >= len(broken) // 2
    n, rows = int(own.sum()), []
    for name, score in scores.items():
        area = partial(weighted_auc, score[own], broken[own])
        half = broken[own][np.argsort(-score[own], kind="stable")]
        every = broken[np.argsort(-score, kind="stable")]
        rows.append((name, Estimate.of(bootstrap(area, n, n_bootstrap)),
                     f"{half[:50].mean():.2f}, {half[:100].mean():.2f}",
                     f"{every[:200].mean():.3f}"))  # fmt: skip
    head = ["score", f"area under the ROC curve, {n} images",
            "broken among the first 50, 100 of these",
            f"among the first 200 of all {len(broken):,}"]  # fmt: skip
    return Table(head, rows)
