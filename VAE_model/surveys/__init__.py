"""The surveys that the project knows, one module each; a new survey is a module and an entry here.

A run may hold images of any other survey too. The listed surveys are recognised by VERSION in the
header, and data/simulate.py --surveys draws them; it draws those of DEMO by default.
data/download.py downloads those that have a layer of a release of the Legacy Surveys.
"""

import math
import re

from VAE_model.surveys.bassmzls import BASSMZLS
from VAE_model.surveys.decals import DECALS
from VAE_model.surveys.des import DES
from VAE_model.surveys.hsc import HSC
from VAE_model.surveys.sdss import SDSS
from VAE_model.surveys.survey import RELEASE, RELEASES, Survey

__all__ = [
    "BASSMZLS", "DECALS", "DEMO", "DES", "HSC", "RELEASE", "RELEASES", "SDSS", "SURVEYS", "UNKNOWN",
    "Survey", "label_of", "survey_of",
]  # fmt: skip

SURVEYS = {  # a new survey comes last: the defects of the simulated frames follow this order
    "decals": DECALS,  # the survey of the catalogue, whose images the volunteers classified
    "bassmzls": BASSMZLS,
    "des": DES,
    "sdss": SDSS,
    "hsc": HSC,
}
# The surveys of the demo, and of the exposures on which the shipped weights are trained.
DEMO = (DECALS.name, BASSMZLS.name)
UNKNOWN = "unknown"

# VERSION of layers that merge south and north (ls-dr9, ls-dr10) names neither. They show the
# north above this Dec (degrees) in the north galactic cap.
_MERGED, _SPLIT = re.compile(r"DR(6\+DR7|[89]|\d\d)", re.IGNORECASE), 32.375
_GALACTIC_POLE = (192.85948, 27.12825)  # RA and Dec, degrees


def survey_of(version: str, ra: float = math.nan, dec: float = math.nan) -> str:
    """Return the name of the survey with this header VERSION, else UNKNOWN.

    ra, dec: centre in degrees, which decides where VERSION is that of a merged layer; without a
    position such an image is UNKNOWN.
    """
    if _MERGED.fullmatch(version):
        if not math.isfinite(ra + dec):
            return UNKNOWN
        north = dec >= _SPLIT and _in_north_galactic_cap(ra, dec)
        return BASSMZLS.name if north else DECALS.name
    return next((name for name, one in SURVEYS.items() if one.released(version)), UNKNOWN)


def _in_north_galactic_cap(ra: float, dec: float) -> bool:
    pole_ra, pole_dec, ra, dec = (math.radians(angle) for angle in (*_GALACTIC_POLE, ra, dec))
    across = math.cos(dec) * math.cos(pole_dec) * math.cos(ra - pole_ra)
    return math.sin(dec) * math.sin(pole_dec) + across > 0


def label_of(name: str) -> str:
    """Return the display name of a survey: BASS+MzLS for bassmzls; any other name unchanged."""
    return SURVEYS[name].label if name in SURVEYS else name
