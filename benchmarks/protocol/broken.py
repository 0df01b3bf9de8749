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


def precisions(scores: dict[str, NDArray], broken: NDArray[np.bool_]) -> dict[str, list[float]]:
    """Return by score the area under the ROC curve, its 95 % limits, and three precisions.

    Area and the precisions among the first 50 and 100 are of the half on which nothing was chosen,
    that among the first 200 is of all images.
    """
    own = np.random.default_rng(0).permutation(len(broken)) >= len(broken) // 2
    found = {}
    for name, score in scores.items():
        area = Estimate.of(bootstrap(partial(weighted_auc, score[own], broken[own]), own.sum()))
        half = broken[own][np.argsort(-score[own], kind="stable")]
        every = broken[np.argsort(-score, kind="stable")]
        numbers = (area.value, area.low, area.high,
                   half[:50].mean(), half[:100].mean(), every[:200].mean())  # fmt: skip
        found[name] = [round(float(number), 4) for number in numbers]
    return found
