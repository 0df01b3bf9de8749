"""The Legacy Surveys' cutout service: what it is asked, and whether its answer is the cutout.

Its failures arrive as success: text or an image of zeros with HTTP 200, or the southern survey
where the northern one was meant. So every answer is looked at before it gets its name.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from VAE_model.astrometry import position_at
from VAE_model.cutouts import SIZE, check_flux, survey_of
from VAE_model.downloads.client import Permanent, Transient
from VAE_model.frames import BANDS, BadCutout, read_frame
from VAE_model.sky import chord, separation, unit_vectors

SERVICE = "https://www.legacysurvey.org/viewer/fits-cutout"
LAYERS = {"decals": "ls-dr9-south", "bassmzls": "ls-dr9-north"}

_SIGNATURE = b"SIMPLE  ="
_SHARDS = 256  # folders of a survey's cutouts: 313,789 files are 1,226 in each
_ASTRAY = 2.0  # arcsec from the position asked for at which an image is of another one


@dataclass(frozen=True)
class Job:
    """One cutout: `name` and `ra`, `dec` (degrees) of the galaxy, the survey, the URL that is
    asked and the file that it becomes, relative to the run."""

    name: str
    ra: float
    dec: float
    survey: str
    url: str
    path: str


def file_name(ra: float, dec: float) -> str:
    """154.7709_46.4537.fits: degrees to 4 decimals, RA from 0 to 360, no minus before zero."""
    return f"{round(ra, 4) % 360.0:.4f}_{round(dec, 4) + 0.0:.4f}.fits"


def path_of(survey: str, ra: float, dec: float) -> str:
    """images/<survey>/<shard>/<ra>_<dec>.fits: spread evenly however the galaxies lie."""
    name = file_name(ra, dec)
    return f"images/{survey}/{zlib.crc32(name.encode()) % _SHARDS:02x}/{name}"


def url_of(
    service: str, layer: str, ra: float, dec: float, size: int = SIZE, pixel_scale: float = 0.262
) -> str:
    """size: pixels on a side; pixel_scale: arcsec; ra, dec: degrees of the centre."""
    query = {"ra": f"{ra:.6f}", "dec": f"{dec:.6f}", "layer": layer,
             "pixscale": f"{pixel_scale:g}", "bands": BANDS, "size": size}  # fmt: skip
    return f"{service}?{urlencode(query)}"


def most_bytes(size: int) -> int:
    """More than a cutout can have, so that no answer fills the memory."""
    return 4 * (4 * len(BANDS) * size * size) + 2**20


def check_signature(body: bytes) -> None:
    """Raise Permanent where an answer is text, Transient where it hardly began."""
    if body.startswith(_SIGNATURE):
        return
    if _SIGNATURE.startswith(body[: len(_SIGNATURE)]):
        raise Transient(f"truncated: {len(body)} bytes")
    shown = " ".join(body[:80].decode("ascii", "replace").split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in shown)
    raise Permanent(f"text instead of an image: it begins with {shown[:60]!r}")


def check_cutout(path: Path, job: Job, size: int = SIZE) -> None:
    """Raise Transient or Permanent where a file is not the cutout that was asked for.

    It must be whole, 3 x size x size, bands g, r, z, of the survey by VERSION, centred where it
    was asked for, finite, and with signal in every band.
    """
    try:
        frame = read_frame(path, size)
        if (found := survey_of(frame.release)) != job.survey:
            raise Permanent(f"wrong layer: VERSION is {frame.release!r}, {found}, not {job.survey}")
        if not frame.flux.any():
            raise Permanent("zero image: outside the footprint, or nothing was observed there")
        check_flux(frame.flux)
    except BadCutout as refusal:
        kind = str(refusal).split(":")[0]
        raise (Transient if kind in ("truncated", "unreadable") else Permanent)(
            str(refusal)
        ) from None
    middle = (size + 1) / 2
    ra, dec = position_at(frame.header, middle, middle)
    apart = np.linalg.norm(unit_vectors(ra, dec) - unit_vectors(job.ra, job.dec))
    if not apart <= chord(_ASTRAY):
        astray = float(separation(apart))
        raise Permanent(f"wrong position: the image is centred {astray:.1f} arcsec away")
