"""BASS (g, r) and MzLS (z), the north of the Legacy Surveys, DR9.

90Prime on the 2.3-m Bok telescope has pixels of 0.454 arcsec, Mosaic-3 on the 4-m Mayall telescope
of 0.262. fwhm: medians of single exposures, published; those of coadds are not. exposures: DR6's
table (4,380, 3,708, 2,376 square degrees with at least 1, 2, 3 exposures in g, before the end of
the survey; https://www.legacysurvey.org/dr6/description) moved towards DR8's. wings: those of
DECam, as none are published. Sky brightness (for the gain) is a usual dark sky, not verified.
"""

from VAE_model.surveys.decals import DECALS
from VAE_model.surveys.survey import RELEASE, Survey, gain_under, noise_at

_FWHM, _NATIVE = (1.60, 1.42, 1.04), (0.454, 0.454, 0.262)
_BEHIND = (0.5, 0.8, 0.4)  # magnitudes of depth: 24.2, 23.6, 23.0 against 24.7, 24.4, 23.4
_NOISE = noise_at(_BEHIND, DECALS, _FWHM, _NATIVE)
_PRIME = (4096 * 0.454, 4096 * 0.454)

BASSMZLS = Survey(
    name="bassmzls",
    label="BASS+MzLS",
    version="DR9-north",
    versions=r"DR6$|.*north",
    layer="ls-dr9-north",
    known=(154.7709, 46.4537),
    stream=5,
    fwhm=_FWHM,
    noise=_NOISE,
    native_pixel_scale=_NATIVE,
    exposures=(0.08, 0.22, 0.40, 0.20, 0.07, 0.03),
    ccd=(_PRIME, _PRIME, (4096 * 0.262, 4096 * 0.262)),
    wings=DECALS.wings,
    gain=gain_under((22.1, 21.1, 19.2), _NOISE, _NATIVE),
    # to first order g' = g + 0.03 (g - r) - 0.02 and r' = r + 0.03 (r - z) - 0.015
    colour_matrix=((1.05, -0.0175, 0), (0, 1.0475, -0.0165), (0, 0, 1.008)),
    registration=0.03,
    strip_only=True,
    mistaken_for="decals",
).at(RELEASE)
