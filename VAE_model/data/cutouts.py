"""Reading and validation of one cutout on disk.

A cutout is 3x256x256 float32 nanomaggies, (band, y, x), bands g, r, z, whatever the layout of the
FITS file (fits_frames.py) and its unit (flux_units.py).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from VAE_model.data.astrometry import checked_position, number_on_card, position_at
from VAE_model.data.fits_frames import BANDS, BadCutout, read_frame
from VAE_model.data.flux_units import DISPLAY
from VAE_model.data.sky import position_of_name
from VAE_model.surveys import survey_of

SIZE = 256  # pixels
PIXEL_SCALE = 0.262  # arcsec per pixel
SHAPE = (len(BANDS), SIZE, SIZE)
ENDINGS = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")

# Header cards of the position of the image centre from another source than its WCS: degrees.
GIVEN_RA, GIVEN_DEC = "GIVENRA", "GIVENDEC"
STEP = "IMPSTEP"  # of an imported image: pixels of the original per pixel

# Fraction of pixels that are exactly zero above which a band counts as without signal.
_EMPTY = 0.99
# Nanomaggies: a pixel of magnitude 10; detectors saturate on a star of magnitude 15.
_BRIGHTEST = 1e5
# A cutout with its inverse variances, masks and a table or two has a few MiB.
_MOST_BYTES = 2**26


@dataclass(frozen=True)
class Cutout:
    """One image with its position and origin.

    flux: float32 (3, 256, 256), nanomaggies (display units for `display`), bands g, r, z;
    ra, dec: degrees of the image centre, NaN where unknown;
    survey: a name in VAE_model.surveys, or unknown, by VERSION;
    display: True for imported 8-bit images;
    unit: of the file, nanomaggy where flux was converted, empty where the file gives none;
    step: pixels of the original per pixel, for images imported from another size.
    """

    flux: NDArray[np.float32]
    ra: float
    dec: float
    survey: str
    release: str
    display: bool = False
    unit: str = ""
    step: float = 1.0


def read_cutout(path: Path) -> Cutout:
    """Read and check one cutout.

    Raises BadCutout with the reason: unreadable, truncated, not an image, wrong shape,
    wrong bands, unknown unit, non-finite, implausible flux, band without signal.
    """
    path = Path(path)
    frame = read_frame(path, SIZE, _MOST_BYTES)
    check_flux(frame.flux)
    ra, dec = _centre(frame.header, path)
    release = frame.release
    step = number_on_card(frame.header, STEP)
    return Cutout(
        frame.flux, ra, dec, survey_of(release, ra, dec), release,
        display=frame.unit == DISPLAY,
        unit=frame.unit,
        step=step if step > 0 else 1.0,
    )  # fmt: skip


def check_flux(flux: NDArray[np.float32]) -> None:
    """Raise BadCutout if pixels are not finite, a flux is implausible, or a band has no signal."""
    with np.errstate(invalid="ignore", over="ignore"):
        lowest, highest = flux.min(axis=(1, 2)), flux.max(axis=(1, 2))
    if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
        bad = int(flux.size - np.count_nonzero(np.isfinite(flux)))
        raise BadCutout(f"non-finite: {bad:,} pixels are NaN or infinite")
    most = max(float(highest.max()), -float(lowest.min()))
    if most > _BRIGHTEST:
        raise BadCutout(
            f"implausible flux: {most:.3g} nanomaggies in a pixel, more than {_BRIGHTEST:,.0f}: "
            "damaged, or other units (set BUNIT or MAGZERO, or import with --unit)"
        )
    for band, plane, low, high in zip(BANDS, flux, lowest, highest, strict=True):
        empty = 1 - np.count_nonzero(plane) / plane.size
        if empty > _EMPTY or low == high:
            what = "all pixels are zero" if empty == 1 else "all but a few pixels are the same"
            raise BadCutout(f"band without signal: {band}, {what}")


def _centre(header: fits.Header, path: Path) -> tuple[float, float]:
    """Return RA and Dec in degrees of the image centre: by the WCS, else GIVENRA, else the name."""
    middle = (SIZE + 1) / 2
    for ra, dec in (
        position_at(header, middle, middle),
        checked_position(number_on_card(header, GIVEN_RA), number_on_card(header, GIVEN_DEC)),
    ):
        if np.isfinite(ra):
            return ra, dec
    return checked_position(*position_of_name(path))
