"""Write a cutout in the format of the Legacy Surveys' cutout service: 792,000 bytes of FITS.

One header block, then 3 x 256 x 256 big-endian float32. The keys and their order are those of
the service's own files (since 2023-06), so an imported cutout reads like an original one.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from VAE_model.data.astrometry import wcs_cards
from VAE_model.data.cutouts import BANDS, PIXEL_SCALE, SHAPE, SIZE
from VAE_model.pipeline.files import atomic

BYTES = 792_000  # a 2,880-byte header block and the pixels, padded to full blocks
_BLOCK = 2880


def write_cutout(
    path: Path,
    flux: NDArray[np.floating],
    ra: float,
    dec: float,
    release: str = "DR9-south",
    pixel_scale: float = PIXEL_SCALE,
    survey: str = "DECaLS",
    *,
    wcs: Mapping[str, str | float] | None = None,
    cards: Mapping[str, str | float] | None = None,
) -> None:
    """Write `flux` to `path` atomically.

    flux: (3, 256, 256), bands g, r, z, row 0 at the bottom (FITS), nanomaggies.
    ra, dec: degrees of the image centre; NaN: the header gets no WCS.
    release: VERSION, which identifies the survey: DR9-south is DECaLS, DR9-north BASS+MzLS.
    pixel_scale: arcsec; north is up and east is left.
    survey: SURVEY, which the service sets to DECaLS in the north too.
    wcs: WCS cards to write instead of those computed from ra, dec and pixel_scale.
    cards: further cards, at most seven, e.g. {"BUNIT": "display"}.
    Raises ValueError where the shape is wrong or the header does not fit one block.
    """
    if np.shape(flux) != SHAPE:
        raise ValueError(f"flux has shape {np.shape(flux)}, not {SHAPE}")
    if wcs is None and np.isfinite(ra) and np.isfinite(dec):
        wcs = tangent_plane(ra, dec, pixel_scale)
    header = {
        "SURVEY": survey, "VERSION": release, "IMAGETYP": "IMAGE", "BANDS": BANDS,
        **{f"BAND{number}": band for number, band in enumerate(BANDS)},
        **(wcs or {}), "IMAGEW": SIZE, "IMAGEH": SIZE, **(cards or {}),
    }  # fmt: skip
    hdu = fits.PrimaryHDU(np.ascontiguousarray(flux, dtype=">f4"), fits.Header(header))
    if len(hdu.header.tostring()) != _BLOCK:
        raise ValueError(f"the header has {len(hdu.header)} cards, more than one block holds")
    with atomic(path) as temporary:
        hdu.writeto(temporary, overwrite=True, output_verify="silentfix")


def tangent_plane(
    ra: float, dec: float, pixel_scale: float, size: int = SIZE
) -> dict[str, str | float]:
    """Return the WCS cards of a square image of `size` pixels centred on a position in degrees."""
    step = pixel_scale / 3600
    return wcs_cards(ra, dec, np.array([[-step, 0.0], [0.0, step]]), size)
