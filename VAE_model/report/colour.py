"""Colour images by the Legacy Survey's own recipe for g, r, z.

Source: the Legacy Surveys viewer (https://github.com/legacysurvey/imagine), `sdss_rgb` with its grz
scales; after Lupton et al. 2004, PASP 116, 133.
"""

import numpy as np
from numpy.typing import NDArray

_SCALES = np.array([6.0, 3.4, 2.2], dtype=np.float32)  # g, r, z, shown as blue, green, red
_M = 0.03
_Q = 20.0


def survey_colours(flux: NDArray[np.floating]) -> NDArray[np.float32]:
    """RGB in 0..1, (y, x, 3), from flux in nanomaggies, (3, y, x), bands g, r, z.

    Row 0 of the result is the top of the image as a viewer shows it: north up, so FITS rows are
    reversed for display here and nowhere else.
    """
    scaled = np.maximum(np.nan_to_num(flux) * _SCALES[:, None, None] + _M, 0)
    intensity = scaled.mean(axis=0)
    stretch = np.arcsinh(_Q * intensity) / np.sqrt(_Q)
    channels = scaled * stretch / np.maximum(intensity, 1e-6)
    return np.clip(channels[::-1], 0, 1).transpose(1, 2, 0)[::-1].astype(np.float32)
