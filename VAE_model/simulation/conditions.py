"""Observing conditions of a frame: exposures, and the seeing, depth and sky that follow from them.

A coadd is the mean of a few exposures. Its seeing and its noise follow from theirs.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VAE_model.data.cutouts import BANDS, PIXEL_SCALE, SIZE
from VAE_model.surveys import Survey
from VAE_model.surveys.survey import Bands

_SEEING = 0.2  # standard deviation of the logarithm of the seeing between exposures
_DEPTH = 0.2  # the same of their noise
_BETA = (2.2, 3.2)  # range of the exponent of the Moffat profile; a real PSF has 2.7 to 3.0
_SHEAR = 0.02  # standard deviation of each component of the ellipticity of an exposure
_LEVEL = 0.07  # the same of the residual sky level, sigmas of a pixel
_GRADIENT = (0.1, 0.15)  # share of bands with a gradient; its typical rise to the edge, sigmas
_GAP = 40.0  # arcsec between the detectors of a camera
Pair = tuple[float, float]


@dataclass(frozen=True)
class Edge:
    """The edge of an exposure in a frame: a line beyond which a coadd has one more or one less.

    angle: of the normal, radians; distance: of the line from the frame's centre, arcsec; width: of
    the area beyond, arcsec (inf: to the end of the frame); noise, fwhm: there, over those at the
    centre.
    """

    angle: float
    distance: float
    width: float
    noise: float
    fwhm: float

    def beyond(self) -> NDArray[np.bool_]:
        """Return the pixels beyond the edge, (256, 256)."""
        axis = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_SCALE
        away = axis * np.cos(self.angle) + axis[:, None] * np.sin(self.angle) - self.distance
        return (away > 0) & (away < self.width)


@dataclass(frozen=True)
class Conditions:
    """Observing conditions of one galaxy in one survey; one value per band, g, r, z.

    fwhm: of stars on the coadd, arcsec; noise: sigma per pixel, nanomaggies; both at the frame's
    centre. beta: of the Moffat profile of the PSF's core; shear: of the PSF; exposures: number;
    sky: residual level, nanomaggies per pixel; gradient: of the level, its rise from the centre to
    the right and upper edge; shift: registration error, arcsec right and up; edges: of exposures;
    oversubtraction: share of the unmasked light of sources that is subtracted as sky.
    """

    fwhm: Bands
    beta: Bands
    shear: tuple[Pair, Pair, Pair]
    noise: Bands
    exposures: tuple[int, int, int]
    sky: Bands
    gradient: tuple[Pair, Pair, Pair]
    shift: tuple[Pair, Pair, Pair]
    edges: tuple[Edge | None, Edge | None, Edge | None]
    oversubtraction: float

    def row(self, survey: Survey) -> dict[str, float]:
        """Return the columns of the truth table."""
        values: dict[str, float] = {}
        for number, band in enumerate(BANDS):
            end = f"{band}_{survey.name}"
            values[f"fwhm_{end}"] = self.fwhm[number]
            values[f"noise_{end}"] = self.noise[number]
            values[f"sky_{end}"] = self.sky[number]
            values[f"psf_beta_{end}"] = self.beta[number]
            values[f"exposures_{end}"] = self.exposures[number]
            values[f"edge_{end}"] = self.edges[number] is not None
            values[f"shift_x_{end}"], values[f"shift_y_{end}"] = self.shift[number]
        return values


def draw_conditions(survey: Survey, rng: np.random.Generator) -> Conditions:
    """Draw the exposures of one frame in each band, and what follows from them."""
    bands = [_draw_band(survey, band, rng) for band in range(3)]
    values: dict[str, Any] = {name: tuple(band[name] for band in bands) for name in bands[0]}
    return Conditions(**values, oversubtraction=float(rng.uniform(0.7, 1.3)))


def _draw_band(survey: Survey, band: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the conditions of one band, by the fields of Conditions."""
    number = int(rng.choice(len(survey.exposures), p=survey.exposures)) + 1
    seeing = np.exp(rng.normal(0, _SEEING, number + 1))
    weight = np.exp(rng.normal(0, 2 * _DEPTH, number + 1))  # inverse variance
    usual_fwhm, usual_noise = _median_coadd(survey.exposures)
    fwhm, noise = _coadd(seeing[:number], weight[:number])
    crossing = SIZE * PIXEL_SCALE * sum(1 / side for side in survey.ccd[band])
    edge = None
    if rng.random() < 1 - (1 - min(crossing, 1)) ** number:
        more = number == 1 or rng.random() < 0.5
        there = slice(0, number + 1) if more else slice(1, number)
        other_fwhm, other_noise = _coadd(seeing[there], weight[there])
        edge = Edge(
            angle=float(rng.integers(4) * np.pi / 2 + rng.normal(0, 0.02)),
            distance=float(rng.uniform(2, SIZE / 2 * PIXEL_SCALE)),
            width=float(rng.choice([_GAP, np.inf])),
            noise=other_noise / noise,
            fwhm=other_fwhm / fwhm,
        )
    noise *= survey.noise[band] / usual_noise
    shear = rng.normal(0, _SHEAR / number**0.5, 2)
    rise = noise * abs(rng.normal(0, _GRADIENT[1])) * (rng.random() < _GRADIENT[0])
    towards = rng.uniform(0, 2 * np.pi)
    return {
        "fwhm": float(fwhm * survey.fwhm[band] / usual_fwhm),
        "beta": float(rng.uniform(*_BETA)),
        "shear": _pair(shear),
        "noise": float(noise),
        "exposures": number,
        "sky": float(noise * rng.normal(0, _LEVEL)),
        "gradient": _pair(rise * np.array([np.cos(towards), np.sin(towards)])),
        "shift": _pair(rng.normal(0, survey.registration, 2)),
        "edges": edge,
    }


def _pair(values: NDArray) -> Pair:
    return float(values[0]), float(values[1])


def _coadd(seeing: NDArray, weight: NDArray) -> Pair:
    """Return FWHM and sigma of the weighted mean of exposures.

    The mean of Moffat profiles is close to the one of their mean FWHM.
    """
    return float((seeing * weight).sum() / weight.sum()), float(weight.sum() ** -0.5)


@lru_cache
def _median_coadd(exposures: tuple[float, ...]) -> Pair:
    """Return the medians of FWHM and sigma of coadds, over those of a single usual exposure."""
    rng = np.random.default_rng(0)
    numbers = rng.choice(len(exposures), size=4000, p=exposures) + 1
    drawn = [
        _coadd(np.exp(rng.normal(0, _SEEING, n)), np.exp(rng.normal(0, 2 * _DEPTH, n)))
        for n in numbers
    ]
    return _pair(np.median(drawn, axis=0))
