"""Conversion of the flux units of FITS headers to nanomaggies, and a check of images without one.

A nanomaggy is the flux of AB magnitude 22.5, 3.631e-6 Jy. BUNIT decides where it is a unit of flux,
or of surface brightness, which the pixel area converts to flux; else the header's AB zero point
of the image's own numbers: flux = number * 10**(0.4 * (22.5 - zero point)).
"""

import math
import re
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from astropy import units
from astropy.io import fits
from numpy.typing import NDArray

from VAE_model.data.astrometry import number_on_card, text_on_card
from VAE_model.data.fits_structure import BadCutout
from VAE_model.surveys import SURVEYS

NANOMAGGY = "nanomaggy"
DISPLAY = "display"  # BUNIT of 8-bit images and the like, which are not calibrated
ODD = 100  # factor above or below the noise of every survey at which a unit is questioned

_ZERO_POINTS = (
    "MAGZERO", "MAGZPT", "MAGZP", "MAG_ZP", "MAGZPREF", "ZP", "ZPT", "ZPAB", "ABZP", "ZP_AB",
    "AB_ZP", "PHOTZP", "PHOT_ZP", "ZEROPNT", "ZEROPT", "ZEROPOIN", "MAGZEROP", "MAGZPAB",
)  # fmt: skip
_NO_UNIT = {
    "", "none", "null", "unknown", "n/a", "na", "-", "unitless", "dimensionless", "undefined",
    "arbitrary", "relative", "uncalibrated", "1",
}  # fmt: skip
_COUNTS = re.compile(
    r"(?:adus?|dns?|data ?numbers?|counts?|cts?|electrons?|elec|e-?|photons?|ph|cps|eps)"
    r"(?P<rate>(?<=[ce]ps)|(?: ?/ ?| per | )(?:s|secs?|seconds?)(?: ?(?:\^|\*\*)?\(?-1\)?)?)?"
)
_PER_PIXEL = re.compile(r"(?:\s*/\s*|\s+per\s+)(?:pix|pixel)s?\b|\s+(?:pix|pixel)\s*\^?-1\b", re.I)
_PER_SECOND = re.compile(
    r"per (?:s|sec|second)\b|/ ?s(?:ec)?\b|\b(?:1|one)[ -]?s(?:ec|econd)?\b", re.I
)
_WORDS = {
    **dict.fromkeys(("nanomaggy", "nanomaggies", "nmgy", "nmaggy", "nmaggies"), "AB_nanomaggy"),
    **dict.fromkeys(("maggy", "maggies", "mgy"), "AB_maggy"),
    **dict.fromkeys(("jansky", "janskys"), "Jy"),
    "microjansky": "uJy", "millijansky": "mJy", "nanojansky": "nJy",
    "erg": "erg", "ergs": "erg", "w": "W", "watt": "W", "cm": "cm", "m": "m", "hz": "Hz",
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
    **dict.fromkeys(("sr", "ster", "steradian"), "sr"),
    **dict.fromkeys(("arcsec", "arcsecs", "arcsecond", "arcseconds", "asec"), "arcsec"),
}  # fmt: skip
_AB = [
    units.def_unit("AB_nanomaggy", 3.631e-6 * units.Jy),
    units.def_unit("AB_maggy", 3631 * units.Jy),
]
# Value of a nanomaggy in units that a header may omit.
_FORGOTTEN = {"maggies": 1e-9, "Jy": 3.631e-6, "mJy": 3.631e-3, "nJy or counts": 3631.0}


class UnknownUnit(BadCutout):
    """A unit that cannot be converted to nanomaggies."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"unknown unit: {detail}")


def conversion(
    header: fits.Header,
    primary: fits.Header,
    pixel_scale: Callable[[], float],
    unit: str = "",
    zero_point: float | None = None,
) -> tuple[str, float]:
    """Return the unit of an image, and the factor that converts its pixels to that unit.

    header, primary: of its HDU and of the file; pixel_scale: returns arcsec per pixel, NaN where
    there is no WCS; unit, zero_point: by the user, override BUNIT and the header's AB zero point.
    The unit is NANOMAGGY, or DISPLAY (factor 1), or "" where none is given: then the pixels are
    taken to be nanomaggies.
    Raises UnknownUnit in one line.
    """
    given = str(header.get("BUNIT", primary.get("BUNIT", ""))).strip()
    text = given if given == DISPLAY else unit or given
    if text == DISPLAY:
        return DISPLAY, 1.0
    if "BSOFTEN" in header and not unit:
        raise UnknownUnit(
            "BSOFTEN says that the numbers are arcsinh of flux, as Pan-STARRS stores them: make "
            "them linear and delete BSOFTEN"
        )
    # astropy shows the bytes of a micro sign, which no FITS header may hold, as question marks.
    plain = re.sub(r"^(?:\?{1,2}|\N{MICRO SIGN}|\u03bc)(?=[Jj][Yy])", "u", text)
    plain = _PER_PIXEL.sub("", plain).strip()
    counts = _COUNTS.fullmatch(plain.lower())
    if zero_point is not None and (counts or not unit):
        return NANOMAGGY, _nanomaggies(zero_point)
    if counts or plain.lower() in _NO_UNIT:
        rate = bool(counts["rate"] is not None) if counts else None
        factor = _by_zero_point([header, primary], rate)
        if factor is None and counts:
            raise UnknownUnit(
                f"BUNIT is {text!r} and the header has no zero point: set MAGZERO, the AB "
                "magnitude of 1, or import with --zero-point"
            )
        return (NANOMAGGY, factor) if factor is not None else ("", 1.0)
    return NANOMAGGY, _by_unit(text, plain, [header, primary], pixel_scale)


def _by_unit(
    text: str, plain: str, headers: Sequence[fits.Header], pixel_scale: Callable[[], float]
) -> float:
    """Return nanomaggies per pixel for one of a unit of flux or of surface brightness."""
    spelled = re.sub(r"\bsq(?:uare)?[ .-]*(arcsec\w*)", r"\1^2", plain.replace(" per ", "/"))
    nanomaggies, of_a_square_arcsec = _parsed(re.sub(r"[A-Za-z]+", _spelled, spelled))
    if np.isnan(nanomaggies):
        raise UnknownUnit(
            f"BUNIT is {text!r}, which is no flux density that can be converted: set BUNIT, or "
            "import with --unit"
        )
    if not of_a_square_arcsec:
        return nanomaggies
    areas = (pixel_scale() ** 2, *(number_on_card(header, "PIXAR_A2") for header in headers))
    area = next((area for area in areas if np.isfinite(area)), None)
    if area is None:
        raise UnknownUnit(
            f"BUNIT is {text!r}, and without a WCS the size of a pixel is unknown: convert the "
            "image to flux per pixel"
        )
    return nanomaggies * area


def _nanomaggies(zero_point: float) -> float:
    """Return the flux of 1 at this AB zero point."""
    return 10 ** (0.4 * (22.5 - zero_point))


@lru_cache
def _parsed(spelled: str) -> tuple[float, bool]:
    """Return a unit in nanomaggies and if it is per square arcsec; NaN for units not of flux."""
    with warnings.catch_warnings(action="ignore"), units.add_enabled_units(_AB):
        try:
            unit = units.Unit(spelled)
        except (ValueError, TypeError):
            return math.nan, False
        for area, reference in enumerate((_AB[0], _AB[0] / units.arcsec**2)):
            try:
                return float(unit.to(reference)), bool(area)
            except units.UnitConversionError:
                pass
    return math.nan, False


def _spelled(word: re.Match) -> str:
    """Return a word of a unit in astropy's spelling, ignoring case."""
    lower = word[0].lower()
    if lower in _WORDS:
        return _WORDS[lower]
    if re.fullmatch(r"[unmk]?jy", lower):  # M is mega, as in MJY/SR
        return ("M" if word[0][0] == "M" else lower[:-2]) + "Jy"
    return word[0]


def _by_zero_point(headers: Sequence[fits.Header], rate: bool | None) -> float | None:
    """Return the nanomaggies in one count by the header; None where it has no zero point.

    rate: whether the pixels are per second; None: unknown. A zero point applies to the image's own
    numbers, unless the comment of its card says that it is per second.
    """
    for header in headers:
        for keyword in _ZERO_POINTS:
            zero_point = _number(header, keyword)
            if -5 <= zero_point <= 45:
                if str(header.get("MAGSYS", header.get("ZPSYS", ""))).upper().startswith("VEGA"):
                    raise UnknownUnit(f"{keyword} is of Vega magnitudes, not AB")
                per_second = _PER_SECOND.search(header.comments[keyword]) is not None
                seconds = _exposure(headers, keyword) if per_second and rate is False else 1.0
                return _nanomaggies(zero_point) / seconds
        for keyword, nanomaggies in (("NMGY", 1.0), ("FLUXMAG0", 1e9)):
            if (number := _number(header, keyword)) > 0:
                return number if keyword == "NMGY" else nanomaggies / number
        flam, pivot = _number(header, "PHOTFLAM"), _number(header, "PHOTPLAM")
        if rate is not None and flam > 0 and pivot > 0:  # of Hubble: erg/s/cm2/A of 1 count/s
            zero_point = -2.5 * math.log10(flam) - 5 * math.log10(pivot) - 2.408
            seconds = 1.0 if rate else _exposure(headers, "PHOTFLAM")
            return _nanomaggies(zero_point) / seconds
    return None


def _exposure(headers: Sequence[fits.Header], keyword: str) -> float:
    for header in headers:
        for name in ("EXPTIME", "TEXPTIME", "EXPOSURE"):
            if (seconds := _number(header, name)) > 0:
                return seconds
    raise UnknownUnit(
        f"{keyword} is of counts per second, the image is of counts, and the header has no EXPTIME"
    )


def _number(header: fits.Header, keyword: str) -> float:
    """Return the number on a card, also from text; NaN where there is none."""
    try:
        return float(text_on_card(header, keyword))
    except ValueError:
        return float("nan")


def noise_ratio(flux: NDArray[np.float32]) -> float:
    """Return the noise of an image (3, y, x), nanomaggies, over that of the survey nearest to it.

    It is the median over the bands, from the deviation of the pixels below the median; NaN without
    noise.
    """
    logs = []
    for band, plane in enumerate(flux[:, ::2, ::2]):
        middle = np.median(plane)
        below = middle - plane[plane < middle]
        if below.size:
            sigma = 1.4826 * float(np.median(below))
            ratios = [math.log(sigma / survey.noise[band]) for survey in SURVEYS.values()]
            logs.append(min(ratios, key=abs))
    return math.exp(float(np.median(logs))) if logs else math.nan


def doubt(ratios: Sequence[float]) -> str:
    """Return a warning about images without a unit and with implausible noise, "" for none.

    ratios: `noise_ratio` of each image.
    """
    odd = [ratio for ratio in ratios if ratio >= ODD or ratio <= 1 / ODD]
    if not odd:
        return ""
    middle = float(np.median(odd))
    times = f"{middle:,.0f} times" if middle > 1 else f"1/{1 / middle:,.0f} of"
    guess = min(_FORGOTTEN, key=lambda unit: abs(math.log(_FORGOTTEN[unit] / middle)))
    return (
        f"{len(odd):,} images state no unit and have {times} the noise of any survey in "
        f"nanomaggies: are these {guess}? set BUNIT, or import with --unit, --zero-point or "
        "--unit display"
    )
