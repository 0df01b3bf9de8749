"""Known properties of each galaxy and of its image, to be predicted from the latents.

On a simulated sky the truth; on any other sky measurements on the image, without the network.
Logarithms are to base 10.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from VAE_model.data.cutouts import BANDS, PIXEL_SCALE, SIZE
from VAE_model.data.packed import Packed
from VAE_model.preparation import pose
from VAE_model.preparation.segmentation import mask_contaminants
from VAE_model.preparation.stretch import Stretch
from VAE_model.training.loader import batches

MAX_AXIS_RATIO = 0.8  # of galaxies with a well-defined position angle
_BATCH = 32
_MIN_FIELD = 0.1  # nanomaggies: floor of the field's flux

Source = Literal["truth", "image"]


@dataclass(frozen=True)
class Quantity:
    """A property of N galaxies.

    values: (N, parts), float64, NaN where it is not defined for a galaxy. An angle has two parts,
    cos 2a and sin 2a, as it is periodic in 180 degrees.
    """

    name: str
    unit: str
    source: Source
    values: NDArray[np.float64]


def quantities(
    packed: Packed, rows: NDArray[np.int64], truth: pd.DataFrame | None
) -> tuple[list[Quantity], dict[str, str]]:
    """Return the properties of the images packed.images[rows], and the unknown ones with reasons.

    truth: of the simulated sky that the images show, a row per galaxy; None for real images.
    """
    index = packed.index.iloc[rows].reset_index(drop=True)
    if truth is not None:
        return _true(truth.set_index("iauname").reindex(index["iauname"]), index["survey"])
    seen = measure(packed, rows)
    angle, ratio = seen["image_angle"].to_numpy(), seen["axis_ratio"].to_numpy()
    left_out = {
        "PSF width": "the images do not contain it",
        "companion": "only a simulated sky separates companions from chance projections",
    }
    found = [
        _quantity("size", "log arcsec, moments", "image", np.log10(seen["size"])),
        _quantity("axis ratio", "minor to major, moments", "image", ratio),
        _angle(angle, ratio, "image"),
        _quantity("contaminants", "number of sources", "image", seen["n_sources"]),
    ]
    if index["display"].any():
        why = "8-bit images have no scale of flux"
        return found, left_out | dict.fromkeys(("flux", "sky noise"), why)
    noise = np.log10(index[[f"noise_{band}" for band in BANDS]].to_numpy(float)).mean(axis=1)
    return [
        _quantity("flux", "log nanomaggies, r, in its own pixels", "image", seen["flux"]),
        *found,
        _quantity("sky noise", "log nanomaggies, mean of g, r, z", "image", noise),
    ], left_out


def _true(known: pd.DataFrame, survey: pd.Series) -> tuple[list[Quantity], dict[str, str]]:
    """Return the properties from `known`, the truth of each image, and the unknown ones."""
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
        _quantity("companion", "merging: 1 or 0", "truth", companion),
    ]  # fmt: skip
    if "field_flux_r" not in known:
        return found, {"contaminants": "truth.parquet is older: run python data/simulate.py"}
    light = np.log10(known["field_flux_r"].clip(lower=_MIN_FIELD))
    unit = "log nanomaggies, r, stars and field galaxies within 17 arcsec"
    return [*found, _quantity("contaminants", unit, "truth", light)], {}


def measure(packed: Packed, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Measure the images packed.images[rows], a row each.

    flux (log10 of nanomaggies in r, in the pixels of the galaxy), size (arcsec), axis_ratio and
    image_angle (radians, from x towards y) by adaptive moments (pose.py), contaminants masked, and
    n_sources: number of contaminants.
    """
    stretch = Stretch.of(packed.index["display"])
    parts = []
    with tqdm(total=len(rows), desc="measuring images", unit="image") as progress:
        for chunk, flux in batches(packed.images, rows, _BATCH, torch.device("cpu")):
            where = pose.measure(*mask_contaminants(stretch(flux)))
            parts.append(
                torch.stack([where.rms_radius, where.axis_ratio, where.angle], dim=1).numpy()
            )
            progress.update(len(chunk))
    found = pd.DataFrame(
        np.concatenate(parts).astype(float), columns=["size", "axis_ratio", "image_angle"]
    )
    found["size"] *= SIZE / 2 * PIXEL_SCALE
    around = packed.surroundings.iloc[rows].reset_index(drop=True)
    light = around["flux_r"].where(around["flux_r"] > 0)
    return found.assign(flux=np.log10(light), n_sources=around["n_sources"])


def _quantity(name: str, unit: str, source: Source, values: object) -> Quantity:
    return Quantity(name, unit, source, np.asarray(values, float).reshape(-1, 1))


def _angle(angle: NDArray[np.float64], ratio: NDArray[np.float64], source: Source) -> Quantity:
    values = np.stack([np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    values[~(ratio < MAX_AXIS_RATIO)] = np.nan
    unit = f"cos 2a, sin 2a; axis ratio below {MAX_AXIS_RATIO}"
    return Quantity("position angle", unit, source, values)


def _of_survey(known: pd.DataFrame, survey: pd.Series, name: str) -> NDArray[np.float64]:
    """Return the values of each image's own survey."""
    values = np.full(len(known), np.nan)
    for one in survey.unique():
        if f"{name}_{one}" in known:
            mine = (survey == one).to_numpy()
            values[mine] = known[f"{name}_{one}"].to_numpy(float)[mine]
    return values
