"""Sky positions of pixels, and tangent planes, from FITS headers.

Pixel coordinates count from 1 at the centre of the first pixel, as in FITS headers.
"""

import re
import warnings
from collections.abc import Mapping

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

_NOWHERE = (float("nan"), float("nan"))
_HIGHER_AXIS = re.compile(
    r"(?:NAXIS|CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CNAME|CRDER|CSYER)[3-9]|"
    r"(?:CD|PC)(?:[3-9]_\d|\d_[3-9])|PC00(?:[3-9]00\d|\d00[3-9])|P[VS][3-9]_\d+"
)
_FRAMES = ("ICRS", "FK5", "FK4", "FK4-NO-E")


def position_at(header: fits.Header, x: float, y: float) -> tuple[float, float]:
    """Return RA and Dec (ICRS, degrees) of a pixel; NaN where the header has no usable WCS."""
    if _centred_there(header, x, y):
        ra, dec = number_on_card(header, "CRVAL1"), number_on_card(header, "CRVAL2")
    else:
        sky = _sky(header, [x], [y])
        ra, dec = (sky.ra.deg[0], sky.dec.deg[0]) if sky is not None else _NOWHERE
    return checked_position(ra, dec)


def checked_position(ra: float, dec: float) -> tuple[float, float]:
    """Return RA in [0, 360) and Dec in degrees; NaN for both where they are not on the sky."""
    if not (np.isfinite(ra) and np.isfinite(dec) and -360 <= ra <= 360 and -90 <= dec <= 90):
        return _NOWHERE
    return float(ra) % 360.0, float(dec)


def local_tangent_plane(
    header: fits.Header, x: float, y: float, step: float, size: int
) -> dict[str, str | float]:
    """Return the WCS cards of `size` pixels a side around (x, y), each `step` original pixels wide.

    The CD matrix is measured on the sky a quarter frame to each side of the centre, so it follows
    any projection, rotation or distortion of the original header; over the arcminutes of a cutout
    a tangent plane is accurate to a small fraction of a pixel. Handedness is preserved. The dict is
    empty where the header has no usable WCS.
    """
    reach = step * size / 4
    sky = _sky(
        header,
        x + reach * np.array([0, -1, 1, 0, 0]),
        y + reach * np.array([0, 0, 0, -1, 1]),
    )
    if sky is None:
        return {}
    ra, dec = checked_position(sky.ra.deg[0], sky.dec.deg[0])
    xi, eta = _project(sky.ra.deg, sky.dec.deg, ra, dec)
    cd = np.array([[xi[2] - xi[1], xi[4] - xi[3]], [eta[2] - eta[1], eta[4] - eta[3]]]) * 2 / size
    if not (np.isfinite(cd).all() and abs(np.linalg.det(cd)) > 0):
        return {}
    return wcs_cards(ra, dec, cd, size)


def wcs_cards(ra: float, dec: float, cd: NDArray, size: int) -> dict[str, str | float]:
    """Return the WCS cards of a square image: its centre and CD matrix (2, 2), in degrees."""
    middle = (size + 1) / 2
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": float(ra), "CRVAL2": float(dec),
        "CRPIX1": middle, "CRPIX2": middle,
        **{f"CD{i + 1}_{j + 1}": float(cd[i, j]) for i in range(2) for j in range(2)},
    }  # fmt: skip


def pixel_scale(header: fits.Header, x: float, y: float) -> float:
    """Return arcsec per pixel around a pixel; NaN where the header has no usable WCS."""
    cards = local_tangent_plane(header, x, y, step=1, size=4)
    return 3600 * float(np.sqrt(abs(handedness(cards)))) if cards else float("nan")


def same_place(
    header: fits.Header, other: fits.Header, x: NDArray, y: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the pixels of another image that show the same sky as pixels (x, y) of an image.

    None where one of the headers has no usable WCS.
    """
    sky, wcs = _sky(header, x, y), _celestial(other)
    if sky is None or wcs is None:
        return None
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        try:
            there = wcs.world_to_pixel(sky)
        except Exception:  # distortions that cannot be inverted
            return None
    return there[0] + 1.0, there[1] + 1.0


def handedness(cards: Mapping[str, str | float]) -> float:
    """Return the determinant of the CD matrix: negative on the sky, positive if mirrored."""
    xx, xy, yx, yy = (float(cards[f"CD{i}_{j}"]) for i in (1, 2) for j in (1, 2))
    return xx * yy - xy * yx


def number_on_card(header: fits.Header, keyword: str) -> float:
    """Return the number on a header card; NaN where the card is missing or unreadable."""
    value = on_card(header, keyword)
    return float(value) if isinstance(value, int | float) else float("nan")


def text_on_card(header: fits.Header, keyword: str) -> str:
    """Return the text on a header card, stripped; empty where it is missing or unreadable."""
    value = on_card(header, keyword)
    return "" if value is None else str(value).strip()


def on_card(header: fits.Header, keyword: str) -> str | int | float | None:
    """Return the value on a header card; None where the card is missing or unreadable."""
    try:
        return header.get(keyword)
    except (fits.VerifyError, ValueError):  # the card is mangled
        return None


def _centred_there(header: fits.Header, x: float, y: float) -> bool:
    """Return True where (x, y) is the header's reference pixel: then CRVAL is its position."""
    return (
        (number_on_card(header, "CRPIX1"), number_on_card(header, "CRPIX2")) == (x, y)
        and (on_card(header, "CTYPE1"), on_card(header, "CTYPE2")) == ("RA---TAN", "DEC--TAN")
        and not any(keyword in header for keyword in ("CUNIT1", "RADESYS", "EQUINOX"))
    )


def _celestial(header: fits.Header) -> WCS | None:
    """Return the WCS of the first two axes; None where they are not celestial."""
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        try:
            wcs = WCS(_of_two_axes(header)).celestial
        except Exception:  # on a mangled header astropy and wcslib raise nearly anything
            return None
    return wcs if wcs.naxis == 2 else None


def _sky(header: fits.Header, x: ArrayLike, y: ArrayLike) -> SkyCoord | None:
    """Return the ICRS positions of pixels; None where the header has no usable celestial WCS."""
    wcs = _celestial(header)
    if wcs is None:
        return None
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        try:
            sky = wcs.pixel_to_world(np.asarray(x) - 1.0, np.asarray(y) - 1.0).icrs
        except Exception:
            return None
    on_the_sky = np.isfinite(sky.ra.deg).all() and np.isfinite(sky.dec.deg).all()
    return sky if on_the_sky else None


def _of_two_axes(header: fits.Header) -> fits.Header:
    """Return the header of one plane of a cube.

    SIP and TPV are defined for two axes only, and a third axis, of bands or wavelengths, has no
    sky position. An invalid RADESYS is corrected or removed.
    """
    frame = text_on_card(header, "RADESYS") or text_on_card(header, "RADECSYS")
    higher = [keyword for keyword in header if _HIGHER_AXIS.fullmatch(keyword)]
    if not higher and frame in ("", *_FRAMES):
        return header
    header = header.copy()
    for keyword in {*higher, "WCSAXES", "RADESYS", "RADECSYS"} & set(header):
        header.remove(keyword, remove_all=True)
    if "NAXIS" in header:
        header["NAXIS"] = 2
    frame = {"J2000": "FK5", "B1950": "FK4"}.get(frame.upper(), frame.upper())
    if frame in _FRAMES:
        header["RADESYS"] = frame
    return header


def _project(
    ra: NDArray[np.float64], dec: NDArray[np.float64], ra0: float, dec0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gnomonic projection about (ra0, dec0): xi (east) and eta (north), in degrees."""
    a, d, d0 = np.radians(ra - ra0), np.radians(dec), np.radians(dec0)
    depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    xi = np.cos(d) * np.sin(a) / depth
    eta = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)) / depth
    return np.degrees(xi), np.degrees(eta)
