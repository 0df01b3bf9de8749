"""The point-spread function of a coadd: a Moffat profile and an extended wing."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from VAE_model.data.cutouts import PIXEL_SCALE
from VAE_model.simulation.conditions import Conditions, Pair
from VAE_model.simulation.scene import COARSE, FAR, GRID
from VAE_model.surveys import Survey
from VAE_model.surveys.survey import Wing

_CORE = (4.0, 7.3)  # arcsec between which the core of a PSF fades into its wings
_FARTHEST = 60.0  # arcsec that light is scattered
_PIXEL_FWHM = 2.3548 / 12**0.5  # FWHM of the Gaussian that is as wide as a square pixel
HALF = 28  # pixels, half-width of the stamp of the core
_STAMP = (np.arange(-HALF, HALF + 1) * PIXEL_SCALE).astype(np.float32)
_AWAY = (np.fft.fftfreq(2 * FAR, 1 / (2 * FAR)) * COARSE * PIXEL_SCALE).astype(np.float32)
_AWAY2 = _AWAY**2 + _AWAY[:, None] ** 2  # arcsec^2, of coarse pixels from the first
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Psf:
    """A Moffat profile and an extended wing.

    The part within a few arcsec, elliptical, is convolved in the pixels of the camera, the smooth
    rest in coarse pixels on a grid of twice the size, on which nothing repeats.
    """

    radius: float  # of the Moffat profile, arcsec
    beta: float
    shear: Pair
    wing: Wing

    def core(self) -> NDArray[np.complex64]:
        """Return the Fourier transform of the core, (GRID, GRID // 2 + 1).

        The middle of the core lies HALF pixels right of and above the first pixel.
        """
        (g1, g2), x, y = self.shear, _STAMP, _STAMP[:, None]
        along, across = (1 - g1) * x - g2 * y, (1 + g1) * y - g2 * x
        distance2 = (along**2 + across**2) / np.float32(1 - g1**2 - g2**2)
        stamp = self._surface_brightness(distance2) * _near(x**2 + y**2)
        return fft.fft(fft.rfft(stamp, GRID, axis=1), GRID, axis=0)

    def wings(self, coarse: Image) -> Image:
        """Return the rest of the light per pixel, (FAR, FAR), from light in coarse pixels."""
        kernel = self._surface_brightness(_AWAY2) * (1 - _near(_AWAY2))
        kernel[_AWAY2 > _FARTHEST**2] = 0
        size = (2 * FAR, 2 * FAR)
        return fft.irfft2(fft.rfft2(coarse, s=size) * fft.rfft2(kernel), s=size)[:FAR, :FAR]

    def _surface_brightness(self, distance2: Image) -> Image:
        """Return the light per pixel of a source of unit flux; distance2: arcsec^2."""
        wing, area = self.wing, PIXEL_SCALE**2
        moffat = (1 - _flux(wing)) * (self.beta - 1) / (np.pi * self.radius**2)
        profile = moffat * (1 + distance2 / self.radius**2) ** -self.beta
        profile += wing.peak * (1 + distance2 / wing.radius**2) ** -wing.exponent
        return (area * profile).astype(np.float32)


def psf_of(survey: Survey, conditions: Conditions, band: int, fwhm: float) -> Psf:
    """Return the PSF whose stars have this FWHM (arcsec) on the coadd."""
    beta, pixel = conditions.beta[band], _PIXEL_FWHM * survey.native_pixel_scale[band]
    radius = np.sqrt((fwhm**2 - pixel**2) / (2 ** (1 / beta) - 1)) / 2
    return Psf(float(radius), beta, conditions.shear[band], survey.wings[band])


def _near(distance2: Image) -> Image:
    """Return the share of the core in the PSF: 1 in the middle, 0 outside, with a smooth edge."""
    inner, outer = _CORE
    place = np.clip((np.sqrt(distance2) - inner) / (outer - inner), 0, 1)
    return np.cos(np.pi / 2 * place) ** 2


@lru_cache
def _flux(wing: Wing) -> float:
    """Return the fraction of the light in a wing."""
    reach, power = 1 + (_FARTHEST / wing.radius) ** 2, 1 - wing.exponent
    integral = (reach**power - 1) / power if power else np.log(reach)
    return float(np.pi * wing.radius**2 * wing.peak * integral)
