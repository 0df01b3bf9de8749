"""The latent variables of a table: its columns mu_00, mu_01 and so on, as one array."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from VAE_model.extraction.repeatability import SCATTER
from VAE_model.pipeline.files import parquet_columns, read_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.provenance import whole_sidecar
from VAE_model.pipeline.run import ROOT, Run


def read_means(
    run: Run, path: Path, num_var: int, optional: tuple[str, ...] = (), required: Sequence[str] = ()
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Return the table's other columns, and the means of the latent variables, (N, num_var).

    Columns: iauname, ra, dec, path, split, `required` ones, and those whose names begin with one of
    `optional`. Raises Problem if the table has no rows, a column is missing, a latent variable is
    not finite, or their number is not `num_var`.
    """
    needed = ["iauname", "ra", "dec", "path", "split", *required]
    present = parquet_columns(path)
    found = [name for name in present if name.startswith("mu_")]
    means = [f"mu_{number:02d}" for number in range(num_var)]
    others = [name for name in present if name.startswith(optional) and name not in needed]
    lacking = [name for name in needed if name not in present]
    wrong = f"has no column {', '.join(lacking)}" if lacking else ""
    if found != means:
        wrong = f"holds {len(found)} latent variables, not {num_var}"
    if not wrong:
        table = read_parquet(path, [*needed, *others, *means])
        latents = table[means].to_numpy(np.float32)
        bad = np.count_nonzero(~np.isfinite(latents).all(axis=1))
        wrong = f"has {bad:,} rows with latents that are not finite" if bad else ""
        wrong = wrong if len(table) else "has no rows"
    if wrong:
        again = f"run {run.remade_by(path)}"
        raise Problem(f"{run.show(path)} {wrong}: {again}")
    return table.drop(columns=means), latents


def log_variance_columns(num_var: int) -> list[str]:
    """Return the names of the columns with the log-variances of the posteriors."""
    return [f"logvar_{number:02d}" for number in range(num_var)]


def posterior_widths(table: pd.DataFrame) -> NDArray[np.float32]:
    """Return the standard deviation of each latent's posterior, (latents,), averaged over galaxies.

    It is 1 if the table has no variances. The prior gives every latent the same variance, but the
    images do not constrain all equally well. In units of the posterior's width, informative latents
    vary more than others.
    """
    names = sorted(name for name in table if name.startswith("logvar_"))
    if not names:
        return np.ones(1, np.float32)
    means = [np.exp(table[name].to_numpy(np.float64)).mean() for name in names]
    return np.sqrt(means).astype(np.float32)


def model_of(run: Run, num_var: int) -> Path:
    """Return the model that encoded the images of a run, which may be that of another run."""
    config = whole_sidecar(run.latents(num_var)).get("config", {})
    return ROOT / config["model"] if config.get("model") else run.model(num_var)


def in_scatters(table: pd.DataFrame, latents: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return latents (N, latents) in units in which two exposures of one galaxy are 1 apart.

    The distance is Euclidean; each latent is divided by its scatter (repeatability.py), which
    extract_latents.py keeps in the metadata of the table.
    """
    scatter = np.array(table.attrs[SCATTER], np.float32)
    return latents / (scatter * np.float32(np.sqrt(len(scatter))))
