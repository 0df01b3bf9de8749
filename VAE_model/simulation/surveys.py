"""What two surveys' cameras make of the same sky, and the files that their service hands out.

The values are those of the Legacy Surveys DR9: seeing and depth as the surveys state them, pixel
noise of DECaLS and the correlation of neighbouring pixels as measured on coadded cutouts.
"""

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import correlate1d

from VAE_model.cutouts import BANDS, PIXEL_SCALE, SIZE
from VAE_model.files import atomic
from VAE_model.simulation.scene import GRID, MARGIN, shift

# What integrating over a square pixel does to a Fourier transform.
_PIXEL = np.outer(np.sinc(np.fft.fftfreq(GRID)), np.sinc(np.fft.rfftfreq(GRID))).astype(np.float32)


Pair = tuple[float, float]


@dataclass(frozen=True)
class Survey:
    """One survey's optics, detectors and calibration; triples are g, r, z."""

    name: str  # of the folder of images
    version: str  # of the header: what tells the surveys apart
    fwhm: tuple[float, float, float]  # of the coadded PSF, arcsec, medians
    noise: tuple[float, float, float]  # sigma a pixel, nanomaggies, medians
    blend: tuple[float, float, float]  # weight of a neighbour when pixels are resampled
    gain: tuple[float, float, float]  # electrons a nanomaggy
    colour_matrix: tuple[tuple[float, float, float], ...]  # what each filter passes of g, r, z
    registration: float  # rms error of the frame's position, arcsec an axis


def _noise_at(depth_behind: float, noise: float, here: Pair, there: Pair) -> float:
    """Sigma a pixel of a coadd whose point-source depth is `depth_behind` magnitudes less than
    that of a coadd with the sigma `noise`. (The surveys' stated depths and the measured noise of
    DECaLS coadds disagree by 0.2 magnitudes, so only the difference of the depths is used.)

    here, there: (FWHM in arcsec, blend) of the first and the second. The depth fixes the white
    noise (optimal extraction with a Gaussian PSF); resampling spreads it over neighbours, which
    lowers the sigma of a pixel and not that of a source.
    """

    def pixel_sigma_of_a_depth(fwhm: float, blend: float) -> float:
        return (1 + 2 * blend**2) / (1 + 2 * blend) ** 2 / fwhm

    ratio = pixel_sigma_of_a_depth(*there) / pixel_sigma_of_a_depth(*here)
    return noise * 10 ** (0.4 * depth_behind) * ratio


DECALS = Survey(
    name="decals",
    version="DR9-south",
    fwhm=(1.29, 1.18, 1.11),
    noise=(0.0031, 0.0044, 0.0117),
    blend=(0.10, 0.10, 0.10),
    gain=(2000.0, 2500.0, 1800.0),
    colour_matrix=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    registration=0.08,
)
_NORTH_FWHM, _NORTH_BLEND = (1.60, 1.42, 1.04), (0.35, 0.35, 0.13)
_NORTH_BEHIND = (0.5, 0.8, 0.4)  # magnitudes of depth: 24.2, 23.6, 23.0 against 24.7, 24.4, 23.4
BASSMZLS = Survey(
    name="bassmzls",
    version="DR9-north",
    fwhm=_NORTH_FWHM,
    noise=tuple(
        map(
            _noise_at,
            _NORTH_BEHIND,
            DECALS.noise,
            zip(DECALS.fwhm, DECALS.blend, strict=True),
            zip(_NORTH_FWHM, _NORTH_BLEND, strict=True),
        )
    ),
    blend=_NORTH_BLEND,
    gain=(900.0, 900.0, 1500.0),
    # to first order g' = g + 0.03 (g - r) - 0.02 and r' = r + 0.03 (r - z) - 0.015
    colour_matrix=((1.05, -0.0175, 0), (0, 1.0475, -0.0165), (0, 0, 1.008)),
    registration=0.12,
)


@dataclass(frozen=True)
class Conditions:
    """How the frame of one galaxy turned out in one survey."""

    fwhm: tuple[float, float, float]  # arcsec
    beta: float  # of the Moffat profile
    shear: tuple[float, float]  # of the PSF
    noise: tuple[float, float, float]  # sigma a pixel, nanomaggies
    sky: tuple[float, float, float]  # residual level, nanomaggies a pixel
    shift: tuple[float, float]  # registration error, arcsec right and up

    def row(self, survey: Survey) -> dict[str, float]:
        """Columns of the table of truth."""
        values = {}
        for band, fwhm, noise, sky in zip(BANDS, self.fwhm, self.noise, self.sky, strict=True):
            values[f"fwhm_{band}_{survey.name}"] = fwhm
            values[f"noise_{band}_{survey.name}"] = noise
            values[f"sky_{band}_{survey.name}"] = sky
        values[f"psf_beta_{survey.name}"] = self.beta
        values[f"shift_x_{survey.name}"], values[f"shift_y_{survey.name}"] = self.shift
        return values


def draw_conditions(survey: Survey, rng: np.random.Generator) -> Conditions:
    """Seeing, noise and registration of one frame; bands share part of the weather."""
    seeing = rng.normal(0, 0.05) + rng.normal(0, 0.05, 3)
    depth = rng.normal(0, 0.08) + rng.normal(0, 0.09, 3)
    noise = np.array(survey.noise) * np.exp(depth)
    return Conditions(
        fwhm=_triple(np.array(survey.fwhm) * np.exp(seeing)),
        beta=float(rng.choice([2.5, 3.0, 3.5], p=[0.2, 0.5, 0.3])),
        shear=tuple(map(float, rng.normal(0, 0.012, 2))),
        noise=_triple(noise),
        sky=_triple(noise * rng.normal(0, 0.07, 3)),
        shift=tuple(map(float, rng.normal(0, survey.registration, 2))),
    )


def _triple(values: NDArray) -> tuple[float, float, float]:
    return tuple(float(value) for value in values)


def observe(
    sky: NDArray[np.complex64],
    survey: Survey,
    conditions: Conditions,
    rng: np.random.Generator,
    centre: tuple[int, int] = (0, 0),
) -> NDArray[np.float32]:
    """The cutout: flux (3, 256, 256), nanomaggies, of a scene's Fourier transform.

    centre: pixels right of and above the galaxy at which the frame is cut, at most MARGIN.
    """
    matrix = np.array(survey.colour_matrix, np.float32)
    if not np.array_equal(matrix, np.eye(3)):
        sky = np.tensordot(matrix, sky, axes=1)
    moved = shift(*(offset / PIXEL_SCALE - GRID // 2 for offset in conditions.shift)) * _PIXEL
    image = np.empty((3, SIZE, SIZE), np.float32)
    columns, rows = (slice(MARGIN + offset, MARGIN + offset + SIZE) for offset in centre)
    for band in range(3):
        psf = galsim.Moffat(conditions.beta, fwhm=conditions.fwhm[band])
        psf = psf.shear(g1=conditions.shear[0], g2=conditions.shear[1])
        stamp = psf.drawImage(  # on the middle pixel; sampled finely enough to be exact
            nx=GRID, ny=GRID, scale=PIXEL_SCALE, method="no_pixel", offset=(0.5, 0.5)
        )
        light = fft.irfft2(sky[band] * fft.rfft2(stamp.array) * moved, s=(GRID, GRID))
        light = light[rows, columns]
        photons = np.sqrt(np.maximum(light, 0) / survey.gain[band])
        image[band] = light + photons * rng.standard_normal(light.shape, np.float32)
        image[band] += (
            _noise(rng, conditions.noise[band], survey.blend[band]) + conditions.sky[band]
        )
    return image


def _noise(rng: np.random.Generator, sigma: float, blend: float) -> NDArray[np.float32]:
    """Gaussian noise of `sigma` a pixel, neighbours correlated as resampling leaves them."""
    white = rng.standard_normal((SIZE, SIZE), np.float32)
    kernel = np.array([blend, 1, blend]) / np.sqrt(1 + 2 * blend**2)
    smooth = correlate1d(correlate1d(white, kernel, axis=0, mode="wrap"), kernel, axis=1,
                         mode="wrap")  # fmt: skip
    return np.float32(sigma) * smooth


def write_cutout(
    path: Path, image: NDArray[np.float32], survey: Survey, ra: float, dec: float
) -> None:
    """A FITS file as the Legacy Surveys' cutout service writes it: 792,000 bytes."""
    hdu = fits.PrimaryHDU(image.astype(">f4"), cutout_header(survey, ra, dec))
    with atomic(path) as temporary:
        hdu.writeto(temporary)


def cutout_header(survey: Survey, ra: float, dec: float) -> fits.Header:
    """The service's header. SURVEY says DECaLS in the north too: VERSION tells them apart."""
    cards = [
        ("SURVEY", "DECaLS", ""),
        ("VERSION", survey.version, ""),
        ("IMAGETYP", "image", ""),
        ("BANDS", BANDS, ""),
        *((f"BAND{number}", band, "") for number, band in enumerate(BANDS)),
        ("CTYPE1", "RA---TAN", "TANgent plane"),
        ("CTYPE2", "DEC--TAN", "TANgent plane"),
        ("CRVAL1", ra, "Reference RA"),
        ("CRVAL2", dec, "Reference Dec"),
        ("CRPIX1", (SIZE + 1) / 2, "Reference x"),
        ("CRPIX2", (SIZE + 1) / 2, "Reference y"),
        ("CD1_1", -PIXEL_SCALE / 3600, "CD matrix"),
        ("CD1_2", 0.0, "CD matrix"),
        ("CD2_1", 0.0, "CD matrix"),
        ("CD2_2", PIXEL_SCALE / 3600, "CD matrix"),
        ("IMAGEW", float(SIZE), "Image width"),
        ("IMAGEH", float(SIZE), "Image height"),
    ]
    return fits.Header(cards)
