"""Measurements on the images of the pairs: flux, contaminants, centre of light, sharpness."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from VAE_model.data.cutouts import BANDS, PIXEL_SCALE, SIZE
from VAE_model.preparation import pose
from VAE_model.preparation.stretch import Stretch
from VAE_model.transfer.pairs import SurveyImages

APERTURE = 20  # pixels, radius: 5.2 arcsec
_SPOT = 8  # pixels on a side of a spot, 2.1 arcsec
_NEAR, _FAR = 30, 64  # distance of contaminants from the centre (pixels), 8 and 17 arcsec
_MIDDLE = 128  # pixels on a side of the part in which sharpness is measured


def measure(side: SurveyImages, pairs: NDArray[np.integer]) -> pd.DataFrame:
    """Measure the images of `pairs` in one survey; return one row per pair.

    flux_g, flux_r, flux_z: nanomaggies within APERTURE of the centre, above the image's median;
    contaminant: the brightest spot 8 to 17 arcsec from the centre, as a share of the brightest
    one inside (r band).
    """
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    disc = np.hypot(x, y) <= APERTURE
    y, x = (np.mgrid[: SIZE // _SPOT, : SIZE // _SPOT] + 0.5) * _SPOT - SIZE / 2
    far = np.hypot(x, y)
    rows = []
    for number in pairs:
        flux = np.array(side.packed.images[side.rows[number]])
        flux -= np.median(flux, axis=(1, 2), keepdims=True)
        spots = flux[1].reshape(SIZE // _SPOT, _SPOT, SIZE // _SPOT, _SPOT).mean(axis=(1, 3))
        within = max(float(spots[far < _NEAR].max()), 1e-6)
        around = float(spots[(far >= _NEAR) & (far < _FAR)].max())
        rows.append([*flux[:, disc].sum(axis=1), around / within])
    return pd.DataFrame(rows, columns=[*(f"flux_{band}" for band in BANDS), "contaminant"])


def light_centres(images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the centre of light of images (N, 3, y, x): pixels right and up, (N, 2)."""
    flux = torch.from_numpy(np.array(images, np.float32))
    where = pose.measure(Stretch()(flux))
    return torch.stack([where.x, where.y], dim=1).numpy().astype(float) * flux.shape[-1] / 2


def contrast(
    first: SurveyImages, second: SurveyImages, pairs: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the contrast of detail in the second survey relative to the first.

    Returns the size of the detail (arcsec, the period of a wave), and contrast and coherence in
    each band, (3, sizes). The contrast is the ratio of the two optical transfer functions: the
    cross-spectrum of the two images over the spectrum of the first, summed over the pairs. The
    first image's spectrum contains noise, so the contrast is correct where the coherence is near
    one and too small where noise dominates.
    """
    window = np.hanning(_MIDDLE).astype(np.float32)
    window = window[:, None] * window
    edge = (SIZE - _MIDDLE) // 2
    middle = (slice(None), slice(edge, edge + _MIDDLE), slice(edge, edge + _MIDDLE))
    waves = np.hypot(np.fft.fftfreq(_MIDDLE)[:, None], np.fft.rfftfreq(_MIDDLE))  # per pixel
    ring = np.round(waves * _MIDDLE).astype(int).ravel()
    sums = np.zeros((3, len(BANDS), ring.max() + 1))
    for number in pairs:
        one, two = (np.fft.rfft2(window * np.array(side.packed.images[side.rows[number]][middle]))
                    for side in (first, second))  # fmt: skip
        parts = ((one.conj() * two).real, np.abs(one) ** 2, np.abs(two) ** 2)
        for band in range(len(BANDS)):
            weight = max(parts[1][band].sum(), 1e-12) ** -0.5  # so that no bright star dominates
            for total, part in zip(sums, parts, strict=True):
                total[band] += weight * np.bincount(ring, part[band].ravel())
    used = np.arange(2, _MIDDLE // 2)
    cross, own, theirs = np.maximum(sums[..., used], 1e-12)
    return PIXEL_SCALE * _MIDDLE / used, cross / own, cross / np.sqrt(own * theirs)
