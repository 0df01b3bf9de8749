"""Morphological parameters by statmorph (Rodriguez-Gomez et al. 2019, MNRAS 483, 4140), r band.

CAS, Gini-M20, MID and shape statistics, sizes, and a Sersic fit, with the project's segmentation
(VAE_model/preparation/segmentation.py), without deconvolution. The package is an extra:
pip install -e '.[morphology]'.
"""

import importlib.util
import warnings
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from VAE_model.data.packed import Packed
from VAE_model.pipeline import parallel
from VAE_model.pipeline.run import Run
from VAE_model.pipeline.stage import Problem
from VAE_model.preparation.segmentation import SIDE, sources
from VAE_model.preparation.stretch import Stretch

PARAMETERS = (
    "gini", "m20", "gini_m20_bulge", "gini_m20_merger",
    "concentration", "asymmetry", "smoothness", "outer_asymmetry", "shape_asymmetry",
    "multimode", "intensity", "deviation",
    "ellipticity_asymmetry", "rhalf_ellip", "rpetro_ellip", "sn_per_pixel",
    "sersic_n", "sersic_rhalf", "sersic_ellip", "sersic_amplitude",
)  # fmt: skip
_FAILED = -99.0  # a parameter that statmorph could not measure
_LEAST_NOISE = 0.2  # as for masking (segmentation.py)
_R = 1  # the r band


def check_installed() -> None:
    """Raise Problem if statmorph is not installed."""
    if importlib.util.find_spec("statmorph") is None:
        raise Problem("statmorph is not installed: run pip install -e '.[morphology]'")


def parameters(run: Run, rows: NDArray[np.int64], fit: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return PARAMETERS of the images of the rows, (len(rows), 20).

    Where one cannot be measured it has the median of the images in `fit`, places in `rows`.
    """
    check_installed()
    task = partial(measure, run.folder)
    found = np.array(list(parallel.each(task, rows.tolist(), label="statmorph")), np.float32)
    found[(found == _FAILED) | ~np.isfinite(found)] = np.nan
    return np.where(np.isnan(found), np.nanmedian(found[fit], axis=0), found)


def measure(folder: Path, row: int) -> list[float]:
    """Return PARAMETERS of one packed image; NaN where no galaxy is in the middle."""
    import statmorph

    packed = _packed(folder)
    flux = torch.from_numpy(packed.images[[row]])
    stretched = Stretch.of(packed.index["display"])(flux)
    small = torch.nn.functional.avg_pool2d(stretched, stretched.shape[-1] // SIDE)
    seen = sources(small[0].mean(dim=0).numpy(), _LEAST_NOISE)
    if seen.centre is None:
        return [np.nan] * len(PARAMETERS)
    scale = flux.shape[-1] // SIDE
    galaxy, others = (mask.repeat(scale, 0).repeat(scale, 1)
                      for mask in (seen.galaxy, seen.others))  # fmt: skip
    image = flux[0, _R].numpy().astype(float)
    image -= np.median(image[~(galaxy | others)])
    weights = np.full(image.shape, float(packed.noise[row][_R]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that fail: their parameters are missing
        try:
            of = statmorph.SourceMorphology(
                image, galaxy.astype(int), 1, mask=others & ~galaxy, weightmap=weights
            )
        except Exception:  # statmorph has no exception of its own for an image it cannot measure
            return [np.nan] * len(PARAMETERS)
    return [float(getattr(of, name)) for name in PARAMETERS]


@cache
def _packed(folder: Path) -> Packed:
    return Packed.of(Run(folder))
