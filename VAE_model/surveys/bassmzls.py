"""BASS and MzLS, the north of the Legacy Surveys, DR9: seeing and depth as published."""

from VAE_model.surveys.decals import DECALS
from VAE_model.surveys.survey import RELEASE, Survey, noise_at

_FWHM, _BLEND = (1.60, 1.42, 1.04), (0.35, 0.35, 0.13)
_BEHIND = (0.5, 0.8, 0.4)  # magnitudes of depth: 24.2, 23.6, 23.0 against 24.7, 24.4, 23.4

BASSMZLS = Survey(
    name="bassmzls",
    label="BASS+MzLS",
    version="DR9-north",
    versions=r"DR6$|.*north",
    layer="ls-dr9-north",
    known=(154.7709, 46.4537),
    stream=5,
    fwhm=_FWHM,
    noise=noise_at(_BEHIND, DECALS, _FWHM, _BLEND),
    blend=_BLEND,
    gain=(900.0, 900.0, 1500.0),
    # to first order g' = g + 0.03 (g - r) - 0.02 and r' = r + 0.03 (r - z) - 0.015
    colour_matrix=((1.05, -0.0175, 0), (0, 1.0475, -0.0165), (0, 0, 1.008)),
    registration=0.12,
    strip_only=True,
    mistaken_for="decals",
).at(RELEASE)
