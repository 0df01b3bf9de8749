"""Other numbers than the default network's, on the pairs of "Several surveys" of docs/PROTOCOL.md.

Principal components of the images, the weights that travel with the project, and the published
network, which is trained on the sky and adapted.
"""

import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from VAE_model import pretrained
from VAE_model.evaluation.pca import pooled_pixels
from VAE_model.extraction.extract import extract_means
from VAE_model.pipeline.files import sha256
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.preparation.prepared_inputs import PreparedInputs
from VAE_model.preparation.stretch import Stretch
from VAE_model.training.device import choose_device
from VAE_model.training.loop import Files, LoopSettings, Trainer
from VAE_model.training.model_file import TrainedVAE
from VAE_model.transfer.adaptation import BEFORE, PairTask, settings_of
from VAE_model.transfer.pairs import SurveyImages, images_in_both, read_pairs

sys.path.insert(0, str(ROOT))
from benchmarks.protocol import rivals, survey_search, tasks
from benchmarks.protocol.sky import AFFINE
from benchmarks.protocol.survey_uses import Latents, Pairs, adaptation, mapped, measured
from benchmarks.protocol.tasks import LATENTS
from transfer import adapt

WEIGHTS = "weights"
SIDE = 64  # pixels of the images whose principal components are measured
# The better of the trainings of the published network in rivals.py (docs/LOG.md).
PUBLISHED = {"network": "published", "learning_rate": 1e-3, "epochs": 20}
METHOD = "mmd"  # the published adaptation
Content = dict[str, Any]


def preparation(run: Run, pairs: Pairs, kept: Path) -> Content:
    """Return what `measured` returns for other numbers of the same images.

    pixels: principal components of the stretched pixels, as they are; aligned: the same of the
    default network's input (contaminants masked, in the galaxy's frame); weights: latents of the
    weights that travel with the project; weights, affine: moved by an affine map. kept: the file
    for the search among all skies, into which these latents go.
    """
    both = images_in_both(run, read_pairs(run))
    stretch = Stretch.of(both[0].packed.index["display"])
    model = pretrained.load(precision="auto")
    pixels = [pooled_pixels(side.packed.images, side.rows, SIDE, stretch) for side in both]
    aligned = [aligned_images(side, model) for side in both]
    shipped = mapped(means(both, model), pairs.fit)
    survey_search.keep(kept, shipped, pairs.test, both[0].rows)
    numbers = {
        "pixels": components(pixels, pairs),
        "aligned": components(aligned, pairs),
        WEIGHTS: shipped[BEFORE],
        f"{WEIGHTS}, affine": shipped[AFFINE],
    }
    return measured(pairs, numbers)


def means(both: Sequence[SurveyImages], model: TrainedVAE) -> Latents:
    """Return the posterior means of the two surveys' images of the pairs."""
    return Latents(*(extract_means(side.packed, model, 64, side.rows) for side in both))


def aligned_images(side: SurveyImages, model: TrainedVAE) -> NDArray[np.float32]:
    """Return the image part of the network's input for a survey's images of the pairs, (N, D)."""
    inputs = PreparedInputs(side.packed, model.network, model.stretch, model.device)
    parts = (part for _, part, _ in inputs.batches(side.rows, 256))
    return np.concatenate([part[:, : model.network.PIXELS].cpu().numpy() for part in parts])


def components(images: Sequence[NDArray[np.float32]], pairs: Pairs) -> Latents:
    """Return principal components of two surveys' images (N, D), fitted on DECaLS's training."""
    solver = PCA(LATENTS, svd_solver="randomized", random_state=pairs.seed)
    solver.fit(images[0][pairs.fit])
    return Latents(*(solver.transform(side).astype(np.float32) for side in images))


# ---- the published network


def published(run: Run, pairs: Pairs) -> Content:
    """Return what `adaptation` returns for the published network, by METHOD and the maps."""
    task = tasks.sky_task(run, min_test=1, min_answer=1)  # whose questions are not asked
    base = rivals.train(task, pairs.seed, PUBLISHED, pairs.effort.epochs)
    both = images_in_both(run, read_pairs(run))
    before = means(both, rivals.load(base))
    adapted = means(both, rivals.load(adapted_by_images(run, both, base, pairs.effort.epochs)))
    latents = {**mapped(before, pairs.fit), METHOD: adapted}
    return adaptation(replace(pairs, latents=latents, again={}))


def adapted_by_images(
    run: Run, both: tuple[SurveyImages, SurveyImages], base: Path, epochs: int
) -> Path:
    """Return the model file `base` adapted by METHOD with the constants of transfer/adapt.py.

    epochs: in place of its own; 0: its own.
    """
    own = adapt.Config(**({"epochs": epochs} if epochs else {}))
    names = [one.name for one in fields(LoopSettings) if hasattr(own, one.name)]
    settings = settings_of(METHOD, **{name: getattr(own, name) for name in names})
    files = Files.of(base.with_name(f"{base.stem}_{METHOD}_{both[1].survey}.safetensors"))
    data, device = sha256(run.pairs), choose_device()
    task = PairTask(both, read_pairs(run), base, data, settings, LATENTS, device)
    Trainer(task, files).run(f"published network, {METHOD}, {both[1].survey}")
    return files.best
