"""What is known of each galaxy and of its image beside the latents, to ask the latents for it.

On a simulated sky the truth; on any other what can be measured on the image, without the network.
Logarithms to base 10, as fluxes and sizes span decades.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from VAE_model import pose
from VAE_model.batches import batches
from VAE_model.cutouts import BANDS, PIXEL_SCALE
from VAE_model.packed import Packed
from VAE_model.stretch import Stretch

ROUND = 0.8  # axis ratio from which a galaxy has no position angle worth the name
_BATCH = 32
_DETECTED, _AREA = 5.0, 4  # sigma of a pixel of 0.52 arcsec, and so many of them
_APERTURE = 65  # radius in pixels: 17 arcsec
_STEP = 1 / 255  # of an 8-bit image, whose sky may be without noise
_LEAST = 0.1  # nanomaggies: a field fainter than that is as good as none

Source = Literal["truth", "image"]


@dataclass(frozen=True)
class Quantity:
    """values: (N, parts), float64, NaN where it is not defined for a galaxy. An angle has two
    parts, cos 2a and sin 2a, as a turn by 180 degrees changes nothing."""

    name: str
    unit: str
    source: Source
    values: NDArray[np.float64]


def quantities(
    packed: Packed, rows: NDArray[np.int64], truth: pd.DataFrame | None
) -> tuple[list[Quantity], dict[str, str]]:
    """What is known of the images packed.images[rows], and why what is left out is not known.

    truth: of the simulated sky that the images show, a row a galaxy; None for real images.
    """
    index = packed.index.iloc[rows].reset_index(drop=True)
    if truth is not None:
        return _true(truth.set_index("iauname").reindex(index["iauname"]), index["survey"])
    seen = measure(packed, rows)
    angle, ratio = seen["angle"].to_numpy(), seen["ratio"].to_numpy()
    left_out = {
        "PSF width": "the images do not say it",
        "companion": "only a simulated sky tells a companion from a chance neighbour",
    }
    found = [
        _quantity("size", "log arcsec, moments", "image", np.log10(seen["size"])),
        _quantity("axis ratio", "minor to major, moments", "image", ratio),
        _angle(angle, ratio, "image"),
        _quantity("neighbours", "sources in the cutout", "image", seen["neighbours"]),
    ]
    if index["display"].any():
        why = "8-bit images have no scale of flux"
        return found, left_out | dict.fromkeys(("flux", "sky noise"), why)
    noise = np.log10(index[[f"noise_{band}" for band in BANDS]].to_numpy(float)).mean(axis=1)
    return [
        _quantity("flux", "log nanomaggies, r, within 17 arcsec", "image", seen["flux"]),
        *found,
        _quantity("sky noise", "log nanomaggies, mean of g, r, z", "image", noise),
    ], left_out


def _true(known: pd.DataFrame, survey: pd.Series) -> tuple[list[Quantity], dict[str, str]]:
    """known: the truth of each image, in their order."""
    angle, ratio = (known[name].to_numpy(float) for name in ("position_angle", "axis_ratio"))
    width = np.mean([_of_survey(known, survey, f"fwhm_{band}") for band in BANDS], axis=0)
    noise = [_of_survey(known, survey, f"noise_{band}") for band in BANDS]
    companion = known["companion_mag_r"].notna().where(known["mag_r"].notna())
    size = np.log10(known["half_light_radius"])
    found = [
        _quantity("flux", "log nanomaggies, r", "truth", -0.4 * (known["mag_r"] - 22.5)),
        _quantity("size", "log arcsec, half light", "truth", size),
        _quantity("axis ratio", "minor to major", "truth", ratio),
        _angle(np.radians(angle), ratio, "truth"),
        _quantity("PSF width", "arcsec, mean of g, r, z", "truth", width),
        _quantity("sky noise", "log nanomaggies, mean of g, r, z", "truth",
                  np.log10(noise).mean(axis=0)),
        _quantity("companion", "a merging one: 1 or 0", "truth", companion),
    ]  # fmt: skip
    if "field_flux_r" not in known:
        return found, {"neighbours": "truth.parquet is older: run python data/simulate.py"}
    light = np.log10(known["field_flux_r"].clip(lower=_LEAST))
    unit = "log nanomaggies, r, stars and field galaxies within 17 arcsec"
    return [*found, _quantity("neighbours", unit, "truth", light)], {}


def measure(packed: Packed, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Measured on the images packed.images[rows], a row each: flux (log10 of nanomaggies in r
    within 17 arcsec, above the median), size (arcsec), ratio and angle (radians) by adaptive
    moments (pose.py), and neighbours: the number of sources in r but for the one in the middle."""
    stretch = Stretch.of(packed.index["display"])
    sigma = packed.index["noise_r"].to_numpy(float)
    sigma = np.maximum(sigma, packed.index["display"].to_numpy(bool) * _STEP)
    parts = []
    with tqdm(total=len(rows), desc="measuring images", unit="image") as progress:
        for chunk, flux in batches(packed.images, rows, _BATCH, torch.device("cpu")):
            where = pose.measure(stretch(flux))
            red = flux[:, 1].numpy()
            light = [_aperture(image) for image in red]
            count = [neighbours(image, s) for image, s in zip(red, sigma[chunk], strict=True)]
            half = flux.shape[-1] / 2 * PIXEL_SCALE
            parts.append(
                pd.DataFrame(
                    {
                        "flux": light, "size": where.size.numpy().astype(float) * half,
                        "ratio": where.ratio.numpy().astype(float),
                        "angle": where.angle.numpy().astype(float), "neighbours": count,
                    }
                )
            )  # fmt: skip
            progress.update(len(chunk))
    return pd.concat(parts, ignore_index=True)


def neighbours(image: NDArray[np.float32], sigma: float) -> int:
    """Sources in an image (y, x), but for the one nearest to the middle: four and more adjoining
    pixels of 0.52 arcsec that are 5 sigma above the median. sigma: of the sky, a pixel."""
    small = (image - np.median(image)).reshape(image.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))
    smooth = ndimage.gaussian_filter(small, 0.8)
    noise = sigma / 2 * 0.55  # of the mean of four pixels, and what the smoothing leaves of it
    label, count = ndimage.label(smooth > _DETECTED * noise)
    large = np.flatnonzero(np.bincount(label.ravel(), minlength=count + 1)[1:] >= _AREA)
    return max(len(large) - 1, 0)


def _aperture(image: NDArray[np.float32]) -> float:
    """log10 of the light within 17 arcsec of the middle; NaN where there is none."""
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    middle = (image.shape[0] - 1) / 2
    inside = np.hypot(x - middle, y - middle) <= _APERTURE
    light = float((image[inside] - np.median(image)).sum(dtype=float))
    return float(np.log10(light)) if light > 0 else np.nan


def _quantity(name: str, unit: str, source: Source, values: object) -> Quantity:
    return Quantity(name, unit, source, np.asarray(values, float).reshape(-1, 1))


def _angle(angle: NDArray[np.float64], ratio: NDArray[np.float64], source: Source) -> Quantity:
    values = np.stack([np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    values[~(ratio < ROUND)] = np.nan
    unit = f"cos 2a, sin 2a; axis ratio below {ROUND}"
    return Quantity("position angle", unit, source, values)


def _of_survey(known: pd.DataFrame, survey: pd.Series, name: str) -> NDArray[np.float64]:
    """The column of each image's own survey."""
    values = np.full(len(known), np.nan)
    for one in survey.unique():
        if f"{name}_{one}" in known:
            mine = (survey == one).to_numpy()
            values[mine] = known[f"{name}_{one}"].to_numpy(float)[mine]
    return values
