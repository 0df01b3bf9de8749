"""Calls for notebooks, from arrays and runs to tables and figures (docs/PYTHON.md).

They call the functions of the stages. `from VAE_model import encode` imports one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from VAE_model import pretrained
from VAE_model.data.cutouts import SHAPE
from VAE_model.data.packed import Packed
from VAE_model.data.packing import INDEX
from VAE_model.evaluation import outliers
from VAE_model.evaluation.similarity import nearest_others
from VAE_model.extraction.features import Space
from VAE_model.extraction.latent_table import read_means
from VAE_model.extraction.single_image import weights_of
from VAE_model.pipeline.files import parquet_columns, read_parquet
from VAE_model.pipeline.problem import Problem
from VAE_model.pipeline.run import Run
from VAE_model.report.figures import contact_sheet, new_figure, thumbnail
from VAE_model.report.plotting import Figure
from VAE_model.tables.lookup import find_row
from VAE_model.training.model_file import TrainedVAE

_FEWEST = 10  # training galaxies that the scores of outliers need
_PIXELS = 224  # of a galaxy in a figure, on a side


def encode(
    flux: NDArray[np.floating],
    model: TrainedVAE | Run | None = None,
    surveys: Sequence[str] = (),
    num_var: int = 40,
    batch_size: int = 64,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Encode images as latent variables.

    Parameters
    ----------
    flux
        Images (N, 3, 256, 256) in nanomaggies, or, of 8-bit images, brightness from 0 to 1: bands
        g, r, z, 0.262 arcsec per pixel, (band, y, x) as in FITS.
    model
        `load()`, with `load(display=True)` for 8-bit images; or a run: the model that encoded its
        images. None: the weights that travel with the project, for flux. Only latents of the same
        model are comparable.
    surveys
        The survey of each image, (N,), for a model that was adapted to a second survey.
    num_var
        The number of latents of a run's model.
    batch_size
        Images in memory at a time.

    Returns
    -------
    mean, log_variance
        Of the posterior of each latent, in units of the prior's standard deviation: float32
        (N, latents) each.

    Raises
    ------
    ValueError
        If the images have another shape, or a pixel is not finite.
    Problem
        If the model of the run, or the packed copy of its images, is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from VAE_model import encode
    >>> y, x = np.mgrid[:256, :256] - 127.5
    >>> disc = np.exp(-np.hypot(x / 16, y / 8))
    >>> flux = np.stack([0.5 * disc, disc, 1.4 * disc])[None]
    >>> mean, log_variance = encode(flux)
    >>> mean.shape, log_variance.shape
    ((1, 40), (1, 40))
    """
    if np.shape(flux)[1:] != SHAPE:
        raise ValueError(f"flux has the shape {np.shape(flux)}, and (N, 3, 256, 256) is needed")
    if isinstance(model, Run):
        model = _model_of(model, num_var)
    model = model or pretrained.load()
    means, log_variances = [], []
    starts = range(0, len(flux), batch_size)
    for first in tqdm(starts, desc="encode", unit="batch", disable=len(starts) < 2):
        part = slice(first, first + batch_size)
        images = np.ascontiguousarray(flux[part], np.float32)
        if not np.isfinite(images).all():
            raise ValueError("flux has pixels that are not finite: replace them, by 0 for example")
        mean, log_variance = model.encode(torch.from_numpy(images), surveys[part])
        means.append(mean.cpu().numpy())
        log_variances.append(log_variance.cpu().numpy())
    empty = np.empty((0, model.network.num_var), np.float32)
    return np.concatenate([empty, *means]), np.concatenate([empty, *log_variances])


def read_latents(run: Run, num_var: int | str = 40) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Return the latents of every image of a run, and the other columns of their table.

    Parameters
    ----------
    run
        A run with latents (analysis/extract_latents.py).
    num_var
        The number of latents; or the name of a table of features (docs/FEATURES.md).

    Returns
    -------
    table
        One row per image: iauname, ra and dec (degrees), path, survey, split, flag_* (defects), the
        pose, and more (docs/OWN_IMAGES.md, *The table of latents*).
    latents
        The posterior means, float32 (N, num_var), in the order of the table.

    Raises
    ------
    Problem
        If the table is missing, or has another number of latents.

    Examples
    --------
    >>> from VAE_model import Run, read_latents
    >>> table, latents = read_latents(Run("data/demo"))
    >>> latents.shape == (len(table), 40)
    True
    >>> "ra" in table and "flag_gap" in table
    True
    """
    path = run.latents(num_var)
    if not path.exists():
        table = "python data/import_features.py --features, and the path of the table"
        made_by = run.made_by(path) if isinstance(num_var, int) else table
        raise Problem(f"{run.show(path)} is missing: run {made_by}")
    others = tuple(name for name in parquet_columns(path) if not name.startswith("mu_"))
    return read_means(run, path, Space(run, num_var).dimension, others)


def read_images(run: Run, paths: Sequence[str] | pd.Series) -> NDArray[np.float32]:
    """Return images of a run.

    Parameters
    ----------
    run
        A run with train.txt (make_datatxt.py).
    paths
        The column `path` of any table of the run, or some of its values.

    Returns
    -------
    flux
        float32 (N, 3, 256, 256), nanomaggies, in the order of the paths; of 8-bit images the
        brightness from 0 to 1.

    Raises
    ------
    Problem
        If train.txt is missing, or lacks one of the images.

    Examples
    --------
    >>> from VAE_model import Run, read_images, read_latents
    >>> run = Run("data/demo")
    >>> table, _ = read_latents(run)
    >>> read_images(run, table["path"][:2]).shape
    (2, 3, 256, 256)
    """
    packed, wanted = Packed.of(run), np.asarray(paths, object)
    rows = pd.Index(packed.index["path"]).get_indexer(wanted)
    if (rows < 0).any():
        raise Problem(f"{run.show(run.train_txt)} does not list {wanted[rows < 0][0]}")
    return np.array(packed.images[rows])


def neighbours(
    run: Run,
    query: str | ArrayLike,
    count: int = 10,
    num_var: int | str = 40,
    broken: bool = False,
) -> pd.DataFrame:
    """Find the galaxies of a run that are most similar to one.

    Parameters
    ----------
    run
        A run with latents (analysis/extract_latents.py).
    query
        A galaxy of the run, by its name, a part of it, its file name or its position
        (`"152.63 1.367"`); or the latents of any image, (num_var,), from `encode` with this run.
    count
        The number of galaxies wanted.
    num_var
        The number of latents; or the name of a table of features (docs/FEATURES.md).
    broken
        Search among images with a defect flag too.

    Returns
    -------
    table
        One row per galaxy, nearest first, without the query itself: iauname, ra, dec, path, survey,
        and distance, in units of the scatter between two exposures of one galaxy, or, of features,
        of their robust standard deviations. The index is the row in the table of `read_latents`.

    Raises
    ------
    Problem
        If the run has no latents, or no image or several are called so.
    ValueError
        If the latents of the query have another shape.

    Examples
    --------
    >>> from VAE_model import Run, neighbours, read_latents
    >>> run = Run("data/demo")
    >>> table, latents = read_latents(run)
    >>> name = table["iauname"][0]
    >>> similar = neighbours(run, name, count=3)
    >>> similar.columns.tolist()
    ['iauname', 'ra', 'dec', 'path', 'survey', 'distance']
    >>> len(similar), similar["distance"].is_monotonic_increasing, name in set(similar["iauname"])
    (3, True, False)
    """
    table, latents = read_latents(run, num_var)
    space = Space(run, num_var)
    own = find_row(table, query) if isinstance(query, str) else -1
    asked = latents[own] if isinstance(query, str) else np.asarray(query, np.float32)
    if asked.shape != latents.shape[1:]:
        needed = f"({latents.shape[1]},)"
        raise ValueError(f"the query has the shape {asked.shape}, and {needed} is needed")
    good = np.full(len(table), True) if broken else ~_flagged(table)
    places, place = space.scaled(table, latents), space.scaled(table, asked[None])
    rows, distances = nearest_others(places, good, place, np.array([own]), count)
    similar = table.loc[rows[0], ["iauname", "ra", "dec", "path", "survey"]]
    return similar.assign(distance=distances[0])


def rank_outliers(latents: ArrayLike, train: ArrayLike | None = None) -> pd.DataFrame:
    """Rank galaxies by how unusual their latents are.

    The stage analysis/decals_4.py has two more scores (the distance from the galaxy's own class,
    and the residual of its reconstruction) and separates rare galaxies from bad images; its table
    is `read_parquet(run.outliers(40))`.

    Parameters
    ----------
    latents
        Latents, or any other features, (N, D).
    train
        True for the galaxies that define what is usual, (N,); None: all. A galaxy among them is
        scored by a fit without it.

    Returns
    -------
    table
        One row per galaxy: distance (Mahalanobis), isolation (score of an isolation forest: 0.5 is
        usual, near 1 isolated), combined (mean of their percentile ranks, 0 to 1), and rank, 1 for
        the most unusual.

    Raises
    ------
    ValueError
        If a value is not finite, or fewer than 10 galaxies define what is usual.

    Examples
    --------
    >>> import numpy as np
    >>> from VAE_model import rank_outliers
    >>> latents = np.random.default_rng(1).normal(size=(200, 5))
    >>> latents[7] = 6
    >>> rank_outliers(latents)["rank"].idxmin()
    7
    """
    values = np.asarray(latents, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError("latents must be finite and of the shape (N, D)")
    usual = np.full(len(values), True) if train is None else np.asarray(train, bool)
    if np.count_nonzero(usual) < _FEWEST:
        raise ValueError(f"{_FEWEST} galaxies at least must define what is usual")
    table = pd.DataFrame({"distance": outliers.mahalanobis(values, usual)})
    table["isolation"] = outliers.isolation(values, usual)
    table["combined"] = outliers.combined(table["distance"], table["isolation"])
    return table.assign(rank=outliers.rank(table["combined"]))


def show_galaxies(
    images: NDArray[np.floating],
    titles: Sequence[object] = (),
    columns: int = 6,
    crop: int = 140,
    display: bool = False,
) -> Figure:
    """Draw images in colour, as the viewer of the Legacy Surveys shows them.

    Parameters
    ----------
    images
        Flux (N, 3, y, x) in nanomaggies.
    titles
        A title for each image; numbers have three digits.
    columns
        Images in a row.
    crop
        Side of the central part that is shown, pixels; 0: all.
    display
        The images are 8-bit images, brightness from 0 to 1, and are shown unchanged.

    Returns
    -------
    figure
        A matplotlib figure, which a notebook shows where a cell ends with it.
        `figure.savefig("galaxies.png")` writes it.

    Raises
    ------
    ValueError
        If there are no images, or another number of titles.

    Examples
    --------
    >>> from VAE_model import Run, neighbours, read_images, show_galaxies
    >>> run = Run("data/demo")
    >>> similar = neighbours(run, [0.0] * 40, count=4)  # near the middle of the prior
    >>> figure = show_galaxies(read_images(run, similar["path"]), similar["distance"])
    >>> len(figure.axes)
    4
    """
    if not len(images) or len(titles) not in (0, len(images)):
        raise ValueError(f"{len(images)} images and {len(titles)} titles: one title for each")
    columns = min(columns, len(images))
    words = [t if isinstance(t, str) else f"{t:.3g}" for t in titles] or [""] * len(images)
    small = [thumbnail(image, _PIXELS, crop, display) for image in images]
    figure = new_figure(2 * columns, 2.2 * -(-len(images) // columns), layout="constrained")
    contact_sheet(figure, small, words, columns)
    return figure


def _flagged(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which images have a defect flag, (N,)."""
    return table.filter(regex="^flag_").to_numpy(bool).any(axis=1)


def _model_of(run: Run, num_var: int) -> TrainedVAE:
    """Return the model that encoded the images of a run, with the stretch for its images."""
    display = read_parquet(run.packed / INDEX, ["display"])["display"].to_numpy(bool)
    return TrainedVAE.load(weights_of(run, num_var), num_var).for_images(display, any_unit=True)
