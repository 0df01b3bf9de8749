"""Latents of an image file that is in no run."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from VAE_model import pretrained
from VAE_model.data.fits_frames import Reading
from VAE_model.data.packed import Packed
from VAE_model.extraction.extract import extract_means
from VAE_model.extraction.latent_table import model_of
from VAE_model.imports.importing import ENDINGS, Job, import_image
from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.provenance import whole_sidecar
from VAE_model.pipeline.run import ROOT, Run
from VAE_model.training.model_file import TrainedVAE


def is_image_file(query: str) -> bool:
    """Return True if a query is the path of an image file."""
    return query.lower().endswith(ENDINGS) and (ROOT / query).is_file()


def weights_of(run: Run, num_var: int) -> Path:
    """Return the file of the model that encoded the images of a run."""
    path = model_of(run, num_var)
    return pretrained.WEIGHTS if path == ROOT / pretrained.NAME else path


def encode_file(
    path: Path, run: Run, model: TrainedVAE
) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
    """Return the posterior mean of an image file, (1, latents), its cutout, and if it is 8-bit.

    The cutout is (3, 256, 256), made as the images of the run were imported. Raises Problem if the
    file is no image, or of another kind (flux, 8-bit) than those that the model was trained on.
    """
    imports = sorted(run.images("*").parent.glob("*.json"))
    records = [whole_sidecar(beside.with_suffix("")) for beside in imports]
    constants = [r["config"] for r in records if r.get("script") == "data/import_images.py"]
    settings = constants[0] if constants else {}
    bands, unit = settings.get("bands", ""), settings.get("unit", "")
    reading = Reading(bands, unit, settings.get("zero_point"))
    with tempfile.TemporaryDirectory() as folder:
        alone = Run(folder)
        target = alone.images() / "query.fits"
        target.parent.mkdir(parents=True)
        outcome = import_image(Job(path, target, settings.get("mode", "resample"), reading=reading))
        if outcome.reason:
            raise Problem(f"{path} cannot be a query: {outcome.reason}")
        write_text(alone.train_txt, f"{target.relative_to(alone.folder)}\n")
        packed = Packed.of(alone, workers=1)
        display = packed.index["display"].to_numpy(bool)
        means = extract_means(packed, model.for_images(display), 1, np.array([0]))
        return means, np.array(packed.images[0]), bool(display[0])
