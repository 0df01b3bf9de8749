"""The surveys that the project knows, a module each. A new one is a module and an entry here.

A run may hold images of any other survey too: what is listed here is recognised by the header's
VERSION, drawn by data/simulate.py and fetched by data/download.py.
"""

from VAE_model.surveys.bassmzls import BASSMZLS
from VAE_model.surveys.decals import DECALS
from VAE_model.surveys.survey import RELEASE, RELEASES, Survey

__all__ = [
    "BASSMZLS", "DECALS", "RELEASE", "RELEASES", "SURVEYS", "UNKNOWN", "Survey", "label_of",
    "survey_of",
]  # fmt: skip

SURVEYS = {
    "decals": DECALS,  # the survey of the catalogue: what the volunteers looked at
    "bassmzls": BASSMZLS,
}
UNKNOWN = "unknown"


def survey_of(version: str) -> str:
    """Name of the survey by the header's VERSION: the first whose VERSIONs begin like it, else
    UNKNOWN."""
    return next((name for name, one in SURVEYS.items() if one.released(version)), UNKNOWN)


def label_of(name: str) -> str:
    """A survey as people write it: bassmzls -> BASS+MzLS; another as it is."""
    return SURVEYS[name].label if name in SURVEYS else name
