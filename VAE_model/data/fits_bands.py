"""Names of the bands of FITS planes, from BAND, FILTER, EXTNAME, BANDS or BAND0, BAND1, ..."""

import re

from astropy.io import fits

BANDS = "grz"
BY_WAVELENGTH = "ugrizy"
# 'g DECam SDSS c0001', "r'", 'SDSS z', 'HSC-I2', 'gp': a letter, or one behind a camera's name.
_FILTER = re.compile(
    r"(?:([ugrizy])|(?i:sdss|des|decam|hsc|ps1?|panstarrs|lsst|bok|90prime|mosaic|mzls|sm)[ _.-]*"
    r"([ugrizyUGRIZY]))(?:['pd]?\d?)(?![a-zA-Z0-9])",
    re.ASCII,
)
_PLANE_NAME = re.compile(
    r"(?:(?:sci|image|img|coadd|band|filter)[ _.-]*)?([ugrizy])", re.IGNORECASE
)


def band_of(header: fits.Header) -> str:
    """Return the band of a plane by BAND, FILTER or EXTNAME: one letter, or "" without one."""
    band = str(header.get("BAND", "")).strip()
    if len(band) == 1:
        return band
    for text in (band, str(header.get("FILTER", ""))):
        if found := _FILTER.match(text.strip()):
            return (found[1] or found[2]).lower()
    found = _PLANE_NAME.fullmatch(str(header.get("EXTNAME", "")).strip())
    return found[1].lower() if found else ""


def bands_of(header: fits.Header, primary: fits.Header) -> tuple[str, ...]:
    """Return BANDS, or BAND0, BAND1 and so on; none where the file has neither."""
    for source in (header, primary):
        if "BANDS" in source:
            words = re.split(r"[\s,;]+", str(source["BANDS"]).strip())
            return tuple(words if len(words) > 1 else words[0])
    numbered = (str(header.get(f"BAND{number}", "")).strip() for number in range(10))
    return tuple(filter(None, numbered))
