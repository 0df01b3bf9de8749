"""DECaLS, the south of the Legacy Surveys, DR9: DECam on the 4-m Blanco telescope.

fwhm, noise: medians of fits to coadds. exposures: area with at least 1, 2, 3 exposures, DR8's table
(19,692, 18,767, 15,430 square degrees in g; https://www.legacysurvey.org/dr8/description); the
shares beyond are a guess. wings: https://www.legacysurvey.org/dr9/psf, the power laws r^-2 of g and
r softened within 1 arcsec. Registration and Lanczos-3 resampling:
https://www.legacysurvey.org/dr9/description. Sky brightness (for the gain) is a usual dark sky, not
verified.
"""

from VAE_model.surveys.survey import RELEASE, Survey, Wing, gain_under

_NOISE, _NATIVE = (0.0031, 0.0044, 0.0117), (0.262, 0.262, 0.262)
_DECAM = (2048 * 0.262, 4096 * 0.262)

DECALS = Survey(
    name="decals",
    label="DECaLS",
    version="DR9-south",
    versions=r"DR(?!6$|.*north)",
    layer="ls-dr9-south",
    known=(190.1086, 1.2005),
    stream=4,
    fwhm=(1.48, 1.33, 1.24),
    noise=_NOISE,
    native_pixel_scale=_NATIVE,
    exposures=(0.05, 0.17, 0.33, 0.22, 0.12, 0.07, 0.04),
    ccd=(_DECAM, _DECAM, _DECAM),
    wings=(Wing(0.00045, 1.0, 1.0), Wing(0.00033, 1.0, 1.0), Wing(1.037e-5, 17.65, 1.7)),
    gain=gain_under((22.1, 21.1, 19.2), _NOISE, _NATIVE),
    colour_matrix=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    registration=0.03,
).at(RELEASE)
