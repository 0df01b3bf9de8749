"""SDSS, the Sloan Digital Sky Survey: drift scans of 54 s with the 2.5-m telescope, seen once.

Its images are the corrected frames, with the pixels of the camera (0.396 arcsec) and white noise;
they are resampled to 0.262 arcsec as data/import_images.py does it, which correlates the noise and
widens stars to FWHM of 1.54, 1.43, 1.37 arcsec.

fwhm, depth (5 sigma, point sources: 23.13, 22.70, 20.71): DR16, https://www.sdss4.org/dr16/scope,
of which only the pixel scale and the median FWHM in r, 1.3 arcsec, are verified. Sky brightness in
r: https://www.sdss3.org/dr9/imaging/other_info.php (median 20.86), verified; in g and z a usual
dark sky, not verified. colour_matrix: the terms of DES DR2 for stars, as
https://community.lsst.org/t/9867 quotes them: g + 0.060 (g - i) - 0.005, r + 0.150 (r - i) + 0.014,
z + 0.054 (r - i) - 0.024, with r - i = 0.6 (r - z), which is a guess for galaxies. Not verified:
wings (those of DECam; Infante-Sainz et al. 2020, MNRAS 491, 5317 have measured ones), registration,
and the scatter of seeing and depth (that of an exposure of the Legacy Surveys). Frames have north
up; no frame ends in a cutout.
"""

import math

from VAE_model.surveys.decals import DECALS
from VAE_model.surveys.survey import Survey, colour_terms, gain_under, noise_at, noise_kept

_FWHM, _PIXEL = (1.44, 1.32, 1.26), 0.396
_NATIVE, _KEPT = (_PIXEL, _PIXEL, _PIXEL), noise_kept(_PIXEL, coadded=False)
_BEHIND = (1.57, 1.70, 2.69)  # magnitudes of depth: 23.13, 22.70, 20.71 against 24.7, 24.4, 23.4
_NOISE = noise_at(_BEHIND, DECALS, _FWHM, _NATIVE, _KEPT)
_ENDLESS = (math.inf, math.inf)

SDSS = Survey(
    name="sdss",
    label="SDSS",
    version="SDSS-DR16",
    versions="SDSS-",
    layer="sdss",
    stream=11,
    fwhm=_FWHM,
    noise=_NOISE,
    native_pixel_scale=_NATIVE,
    exposures=(1.0,),
    ccd=(_ENDLESS, _ENDLESS, _ENDLESS),
    wings=DECALS.wings,
    gain=gain_under((21.9, 20.86, 19.2), _NOISE, _NATIVE, _KEPT),
    colour_matrix=colour_terms((0.060, 0.036, -0.005), (0, 0.090, 0.014), (0, 0.0324, -0.024)),
    registration=0.03,
    pixel_scale=_PIXEL,
    coadded=False,
)
