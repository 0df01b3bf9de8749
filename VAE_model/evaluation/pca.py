"""Principal components of the pixels: the baseline of a learned latent space."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

from VAE_model.data.row_file import RowFile
from VAE_model.pipeline.problem import Problem
from VAE_model.preparation.stretch import Stretch

_BLOCK = 16  # images at full size in memory, few enough for the processor's cache


def pixel_components(
    images: RowFile,
    fit: NDArray[np.int64],
    rows: NDArray[np.int64],
    dimension: int,
    side: int = 64,
    most: int = 20_000,
    seed: int = 0,
    stretch: Stretch = Stretch(),  # noqa: B008 (frozen)
) -> NDArray[np.float32]:
    """Return principal components (len(rows), dimension) of images[rows], fitted on images[fit].

    images: (N, 3, y, x), nanomaggies. Stretched as for the networks, and averaged to side x side
    pixels per band. At most `most` of `fit` are used, drawn by `seed`, so that memory is bounded:
    12 bytes x side^2 per image (1 GB for 20,000 at 64).
    Raises Problem where there are fewer images than components.
    """
    if len(fit) <= dimension:
        few = f"{len(fit)} training images are too few for {dimension} principal components"
        raise Problem(f"{few}: add images")
    if len(fit) > most:
        fit = np.sort(np.random.default_rng(seed).choice(fit, most, replace=False))
    solver = PCA(dimension, svd_solver="randomized", random_state=seed, copy=False)
    fitted = solver.fit_transform(pooled_pixels(images, fit, side, stretch, "pixels for PCA"))
    place = pd.Index(fit).get_indexer(rows)
    components = fitted[place].astype(np.float32)
    others = np.flatnonzero(place < 0)
    for start in range(0, len(others), 1024):
        block = others[start : start + 1024]
        components[block] = solver.transform(pooled_pixels(images, rows[block], side, stretch))
    return components


def pooled_pixels(
    images: RowFile,
    rows: NDArray[np.int64],
    side: int,
    stretch: Stretch = Stretch(),  # noqa: B008 (frozen)
    label: str = "",
) -> NDArray[np.float32]:
    """Return stretched pixels averaged to side x side per band: (len(rows), 3 * side * side)."""
    size = images.shape[-1]
    if side < 1 or size % side:
        raise Problem(f"{side} pixels a side do not divide the images' {size}: choose 64")
    softening = np.array(stretch.softening, np.float32)[:, None, None]
    pixels = np.empty((len(rows), 3 * side * side), np.float32)
    for start in tqdm(range(0, len(rows), _BLOCK), desc=label, disable=not label):
        flux = images[rows[start : start + _BLOCK]]
        if stretch.kind == "asinh":  # numpy's arcsinh is several times faster than torch's on a CPU
            stretched = torch.from_numpy(np.arcsinh(flux / softening))
        else:
            stretched = stretch(torch.from_numpy(flux))
        small = avg_pool2d(stretched, size // side)
        pixels[start : start + _BLOCK] = small.flatten(1).numpy()
    return pixels
