"""DES, the wide area of the Dark Energy Survey: the camera of DECaLS, with more exposures.

It differs from DECaLS in depth alone: a survey to which a model of DECaLS should transfer as it is.
The depth is derived from that of DR2 (Abbott et al. 2021, ApJS 255, 20: 24.7, 24.4, 23.1 at a S/N
of 10 in apertures of 1.95 arcsec); the noise of DECALS in the same aperture gives 0.60, 0.68, 0.45
magnitudes less, here between 0.3 and 0.6. The seeing is that of DECALS although DR2 states better
one (1.11, 0.95, 0.83 arcsec). Its coadds of 0.263 arcsec count as 0.262. Not verified: exposures (a
guess around the seven to eight of a band after six years).
"""

from dataclasses import replace

from VAE_model.surveys.decals import DECALS
from VAE_model.surveys.survey import gain_under, noise_at

_DEEPER = (-0.6, -0.6, -0.45)  # magnitudes of depth behind DECaLS
_NOISE = noise_at(_DEEPER, DECALS, DECALS.fwhm, DECALS.native_pixel_scale)

DES = replace(
    DECALS,
    name="des",
    label="DES",
    version="DES-DR2",
    versions="DES-",
    layer="des-dr1",
    known=None,
    stream=10,
    noise=_NOISE,
    exposures=(0.0, 0.0, 0.03, 0.07, 0.15, 0.20, 0.25, 0.20, 0.10),
    gain=gain_under((22.1, 21.1, 19.2), _NOISE, DECALS.native_pixel_scale),
)
