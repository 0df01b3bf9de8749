"""DECaLS, the south of the Legacy Surveys, DR9: seeing as published.

Pixel noise and its correlation between neighbours were measured on coadded cutouts.
"""

from VAE_model.surveys.survey import RELEASE, Survey

DECALS = Survey(
    name="decals",
    label="DECaLS",
    version="DR9-south",
    versions=r"DR(?!6$|.*north)",
    layer="ls-dr9-south",
    known=(190.1086, 1.2005),
    stream=4,
    fwhm=(1.29, 1.18, 1.11),
    noise=(0.0031, 0.0044, 0.0117),
    blend=(0.10, 0.10, 0.10),
    gain=(2000.0, 2500.0, 1800.0),
    colour_matrix=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    registration=0.08,
).at(RELEASE)
