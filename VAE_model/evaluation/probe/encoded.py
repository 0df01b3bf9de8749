"""A table of latents together with its packed images and its model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from VAE_model.data.packed import Packed
from VAE_model.extraction.latent_table import log_variance_columns, read_means
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.tables.joins import image_rows
from VAE_model.training.device import Precision
from VAE_model.training.model_file import TrainedVAE

TOLERANCE = 0.1  # of the latents' standard deviation: rounding


@dataclass(frozen=True)
class Encoded:
    """Latents with their images.

    table: the other columns of the latents, and `row`, of the image in `packed`; means,
    log_variances: of the posteriors, (N, num_var); good: without a defect flag, (N,).
    """

    table: pd.DataFrame
    means: NDArray[np.float32]
    log_variances: NDArray[np.float32]
    packed: Packed
    good: NDArray[np.bool_]

    @classmethod
    def of(cls, run: Run, num_var: int, workers: int = 0) -> "Encoded":
        """Read result/latents_<num_var>.parquet and the packed images of train.txt.

        Raises Problem where the latents have no log-variances, or belong to other images.
        """
        path, widths = run.latents(num_var), log_variance_columns(num_var)
        table, means = read_means(run, path, num_var, ("flag_",), widths)
        log_variances = table[widths].to_numpy(np.float32)
        packed = Packed.of(run, workers)
        again = f"run {run.remade_by(path)}"
        rows = image_rows(run, packed, table["path"], path, again)
        flags = table.filter(regex="^flag_").to_numpy(bool)
        table = table.drop(columns=widths).assign(row=rows)
        return cls(table, means, log_variances, packed, ~flags.any(axis=1))

    def some(self, split: str, most: int, seed: int) -> NDArray[np.int64]:
        """Return rows of at most `most` good images of a split, drawn at random, in order."""
        rows = np.flatnonzero(self.good & (self.table["split"] == split).to_numpy())
        return np.sort(np.random.default_rng(seed).permutation(rows)[:most])

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of the images of rows of the table among the packed images."""
        return self.table["row"].to_numpy(np.int64)[rows]


class Encoder:
    """The model of a table of latents, applied to other images of its galaxies."""

    def __init__(
        self, encoded: Encoded, weights: Path, survey: str = "",
        device: str = "auto", precision: Precision = "auto",
    ) -> None:  # fmt: skip
        """Load the model; survey: of all images, where their headers do not name it."""
        number = encoded.means.shape[1]
        self.model = TrainedVAE.load(weights, number, device, precision)
        self.encoded, self.survey = encoded, survey

    def __call__(
        self, flux: NDArray[np.float32] | torch.Tensor, rows: Sequence[int] | NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return means and log-variances, each (N, num_var).

        flux: (N, 3, 256, 256), nanomaggies, of the galaxies in the rows (N,) of the table.
        """
        known = self.encoded.packed.index["survey"].to_numpy(object)
        surveys = known[self.encoded.images(np.asarray(rows))]
        if self.survey:
            surveys = np.full(len(surveys), self.survey, object)
        mean, log_variance = self.model.encode(torch.as_tensor(flux), surveys)
        return mean.cpu().numpy(), log_variance.cpu().numpy()

    def check(self, rows: NDArray[np.int64]) -> None:
        """Raise Problem where the images of these rows have other latents than in the table."""
        flux = self.encoded.packed.images[self.encoded.images(rows)]
        expected = self.encoded.means[rows]
        if np.median(np.abs(self(flux, rows)[0] - expected)) > TOLERANCE * self.encoded.means.std():
            raise Problem(
                "the latents are not of this model: give theirs with --model, or run "
                "python analysis/extract_latents.py --again with the same --run"
            )
