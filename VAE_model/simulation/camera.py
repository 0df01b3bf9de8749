"""Observation of the simulated sky by a survey, and the files of its cutout service."""

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import correlate1d

from VAE_model.data.cutouts import BANDS, PIXEL_SCALE, SIZE
from VAE_model.pipeline.files import atomic
from VAE_model.simulation.scene import GRID, MARGIN, shift
from VAE_model.surveys import Survey

# Fourier transform of a square pixel.
_PIXEL = np.outer(np.sinc(np.fft.fftfreq(GRID)), np.sinc(np.fft.rfftfreq(GRID))).astype(np.float32)


@dataclass(frozen=True)
class Conditions:
    """Observing conditions of one galaxy in one survey."""

    fwhm: tuple[float, float, float]  # arcsec
    beta: float  # of the Moffat profile
    shear: tuple[float, float]  # of the PSF
    noise: tuple[float, float, float]  # sigma per pixel, nanomaggies
    sky: tuple[float, float, float]  # residual level, nanomaggies per pixel
    shift: tuple[float, float]  # registration error, arcsec right and up

    def row(self, survey: Survey) -> dict[str, float]:
        """Return the columns of the truth table."""
        values = {}
        for band, fwhm, noise, sky in zip(BANDS, self.fwhm, self.noise, self.sky, strict=True):
            values[f"fwhm_{band}_{survey.name}"] = fwhm
            values[f"noise_{band}_{survey.name}"] = noise
            values[f"sky_{band}_{survey.name}"] = sky
        values[f"psf_beta_{survey.name}"] = self.beta
        values[f"shift_x_{survey.name}"], values[f"shift_y_{survey.name}"] = self.shift
        return values


def draw_conditions(survey: Survey, rng: np.random.Generator) -> Conditions:
    """Draw seeing, noise and registration of one frame; the bands share part of the weather."""
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
    """Return the cutout of a scene: flux (3, 256, 256), nanomaggies.

    sky: Fourier transform of the scene, as Scene.fourier returns it.
    centre: offset of the frame's centre from the galaxy in pixels (right, up), at most MARGIN.
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
    """Return Gaussian noise of `sigma` per pixel, correlated between neighbours by resampling."""
    white = rng.standard_normal((SIZE, SIZE), np.float32)
    kernel = np.array([blend, 1, blend]) / np.sqrt(1 + 2 * blend**2)
    smooth = correlate1d(correlate1d(white, kernel, axis=0, mode="wrap"), kernel, axis=1,
                         mode="wrap")  # fmt: skip
    return np.float32(sigma) * smooth


def write_cutout(
    path: Path, image: NDArray[np.float32], survey: Survey, ra: float, dec: float
) -> None:
    """Write a FITS file in the format of the Legacy Surveys' cutout service (792,000 bytes)."""
    hdu = fits.PrimaryHDU(image.astype(">f4"), cutout_header(survey, ra, dec))
    with atomic(path) as temporary:
        hdu.writeto(temporary)


def cutout_header(survey: Survey, ra: float, dec: float) -> fits.Header:
    """Return the header that the service writes.

    SURVEY is DECaLS in the north too; only VERSION differs.
    """
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
