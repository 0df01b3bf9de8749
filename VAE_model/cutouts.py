"""One cutout on disk: reading it, and refusing what is no galaxy image, with a reason.

A cutout is 3x256x256 float32 nanomaggies, (band, y, x), bands g, r, z, whichever way the FITS
file spells it: one cube in any HDU, compressed, big-endian, or a plane a band with the inverse
variance beside it, as the Legacy Surveys' cutout service writes them with `&invvar`.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray

from VAE_model.sky import position_of_name

BANDS = "grz"
SIZE = 256  # pixels
PIXEL_SCALE = 0.262  # arcsec per pixel
SHAPE = (len(BANDS), SIZE, SIZE)
ENDINGS = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")

# Share of pixels that are exactly zero from which a band counts as without signal.
_EMPTY = 0.99


class BadCutout(Exception):
    """A file that is not a usable cutout; the message is `kind: detail`."""


@dataclass(frozen=True)
class Cutout:
    """flux: float32 (3, 256, 256), nanomaggies (display units for `display`), bands g, r, z;
    ra, dec: degrees of the image centre, NaN where the file does not say;
    survey: decals, bassmzls or unknown, by VERSION; display: True for imported 8-bit images."""

    flux: NDArray[np.float32]
    ra: float
    dec: float
    survey: str
    release: str
    display: bool = False


def read_cutout(path: Path) -> Cutout:
    """Read and check one cutout.

    Raises BadCutout with the reason: unreadable, truncated, not an image, wrong shape,
    wrong bands, non-finite, band without signal.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings(), open(path, "rb") as stream:
            warnings.simplefilter("ignore")
            _check_signature(stream.read(80))
            with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
                flux, header = _find_image(hdus, path)
                flux = np.ascontiguousarray(flux, dtype=np.float32)
                primary = hdus[0].header
                release = str(header.get("VERSION", primary.get("VERSION", ""))).strip()
                display = str(primary.get("BUNIT", "")).strip() == "display"
    except BadCutout:
        raise
    except OSError as error:
        kind = "truncated" if "truncat" in str(error).lower() else "unreadable"
        raise BadCutout(f"{kind}: {_first_line(error)}") from None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, EOFError) as error:
        raise BadCutout(f"unreadable: {_first_line(error)}") from None
    _check_flux(flux)
    ra, dec = _centre(header, path)
    return Cutout(flux, ra, dec, survey_of(release), release, display)


def survey_of(release: str) -> str:
    """The survey by the header's VERSION (SURVEY says DECaLS in the north too)."""
    if "north" in release:
        return "bassmzls"
    return "decals" if release.upper().startswith("DR") else "unknown"


def _check_signature(start: bytes) -> None:
    if not start:
        raise BadCutout("not an image: the file is empty")
    if not (start.startswith(b"SIMPLE  =") or start.startswith(b"\x1f\x8b")):
        shown = start[:24].decode("ascii", "replace").strip()
        raise BadCutout(f"not an image: no FITS signature (the file begins with {shown!r})")


def _find_image(hdus: fits.HDUList, path: Path) -> tuple[NDArray, fits.Header]:
    """The (3, 256, 256) cube and the header with its WCS, wherever they are in the file."""
    shapes = []
    planes: dict[str, fits.hdu.base._BaseHDU] = {}
    for hdu in hdus:
        shape = tuple(getattr(hdu, "shape", ()) or ())
        if not getattr(hdu, "is_image", False) or not shape:
            continue
        _check_length(hdu, path)
        shapes.append(shape)
        kind = str(hdu.header.get("IMAGETYP", "image")).strip()
        if shape == SHAPE and kind == "image":
            _check_bands(hdu.header, hdus[0].header)
            return hdu.data, hdu.header
        band = str(hdu.header.get("BAND", "")).strip()
        if shape == SHAPE[1:] and kind == "image" and band in BANDS and band:
            planes[band] = hdu
    if set(planes) == set(BANDS):
        return np.stack([planes[band].data for band in BANDS]), planes["g"].header
    if not shapes:
        raise BadCutout("not an image: no HDU holds an image")
    expected = " x ".join(map(str, SHAPE))
    found = ", ".join(" x ".join(map(str, shape)) for shape in dict.fromkeys(shapes))
    raise BadCutout(f"wrong shape: {found}, not {expected}")


def _check_bands(header: fits.Header, primary: fits.Header) -> None:
    bands = str(header.get("BANDS", primary.get("BANDS", BANDS))).strip()
    if bands != BANDS:
        raise BadCutout(f"wrong bands: BANDS is {bands!r}, not {BANDS!r}")


def _check_length(hdu: fits.hdu.base._BaseHDU, path: Path) -> None:
    """Refuse a file that ends before its data do (compressed ones fail on reading instead)."""
    if path.suffix in (".gz", ".fz") or not hasattr(hdu, "fileinfo"):
        return
    info = hdu.fileinfo()
    if info is None or not isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU):
        return
    promised = abs(hdu.header["BITPIX"]) // 8 * int(np.prod(hdu.shape))
    held = path.stat().st_size - info["datLoc"]
    if held < promised:
        raise BadCutout(f"truncated: {held:,} of {promised:,} bytes of pixels are there")


def _check_flux(flux: NDArray[np.float32]) -> None:
    bad = int(flux.size - np.count_nonzero(np.isfinite(flux)))
    if bad:
        raise BadCutout(f"non-finite: {bad:,} pixels are NaN or infinite")
    for band, plane in zip(BANDS, flux, strict=True):
        empty = 1 - np.count_nonzero(plane) / plane.size
        if empty > _EMPTY or plane.min() == plane.max():
            what = "all pixels are zero" if empty == 1 else "all but a few pixels are the same"
            raise BadCutout(f"band without signal: {band}, {what}")


def _centre(header: fits.Header, path: Path) -> tuple[float, float]:
    """RA and Dec in degrees of the image centre, by the WCS, else by the file's name."""
    middle = (SIZE + 1) / 2
    if "CRVAL1" in header and str(header.get("CTYPE1", "")).startswith("RA"):
        if header.get("CRPIX1") == middle and header.get("CRPIX2") == middle:
            return float(header["CRVAL1"]), float(header["CRVAL2"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            try:
                ra, dec = WCS(header).celestial.pixel_to_world_values(middle - 1, middle - 1)
                return float(ra), float(dec)
            except (ValueError, TypeError):
                pass
    return position_of_name(path)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
