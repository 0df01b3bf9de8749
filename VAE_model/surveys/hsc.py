"""HSC-Wide: Hyper Suprime-Cam on the 8.2-m Subaru telescope, the wide layer of HSC-SSP.

Its coadds have the pixels of the camera (0.168 arcsec; a Lanczos-3 kernel is assumed, not
verified); they are resampled to 0.262 arcsec as data/import_images.py does it, which widens stars
to FWHM of 0.82, 0.81, 0.74 arcsec. The simulated light is drawn in pixels of 0.262 arcsec, so that
galaxies lack detail below that.

pixel scale: https://hsc-release.mtk.nao.ac.jp/doc/index.php/survey-2/, verified. fwhm, depth (5
sigma, point sources: 26.5, 26.1, 25.1): of the wide layer of PDR3 (Aihara et al. 2022, PASJ 74,
247), not verified. Not verified either: exposures (around the plan of four in g and r, six in z);
wings and registration (those of DECaLS); sky brightness (a usual dark sky). colour_matrix: unity,
though its filters differ from those of DECam by a few per cent.
"""

from VAE_model.surveys.decals import DECALS
from VAE_model.surveys.survey import Survey, gain_under, noise_at, noise_kept

_FWHM, _PIXEL = (0.77, 0.76, 0.68), 0.168
_NATIVE, _KEPT = (_PIXEL, _PIXEL, _PIXEL), noise_kept(_PIXEL, coadded=True)
_DEEPER = (-1.8, -1.7, -1.7)  # magnitudes of depth: 26.5, 26.1, 25.1 against 24.7, 24.4, 23.4
_NOISE = noise_at(_DEEPER, DECALS, _FWHM, _NATIVE, _KEPT)
_CCD = (2048 * _PIXEL, 4176 * _PIXEL)

HSC = Survey(
    name="hsc",
    label="HSC-Wide",
    version="HSC-PDR3",
    versions="HSC-",
    layer="hsc-dr2",
    stream=12,
    fwhm=_FWHM,
    noise=_NOISE,
    native_pixel_scale=_NATIVE,
    exposures=(0.0, 0.05, 0.15, 0.35, 0.20, 0.20, 0.05),
    ccd=(_CCD, _CCD, _CCD),
    wings=DECALS.wings,
    gain=gain_under((22.1, 21.1, 19.2), _NOISE, _NATIVE, _KEPT),
    colour_matrix=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    registration=0.03,
    pixel_scale=_PIXEL,
)
