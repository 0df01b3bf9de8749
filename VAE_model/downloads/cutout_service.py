"""The Legacy Surveys' cutout service: its requests, and the checks of its responses.

Failures arrive with HTTP 200: text, an image of zeros, or the southern survey in place of the
northern. So every response is checked before the file gets its name.
"""

import zlib
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np

from VAE_model.data.astrometry import position_at
from VAE_model.data.cutouts import SIZE, check_flux
from VAE_model.data.fits_frames import BANDS, BadCutout, frame_in
from VAE_model.data.sky import iauname, separation, unit_vectors
from VAE_model.downloads.client import Permanent, Transient
from VAE_model.surveys import RELEASE, SURVEYS, survey_of

SERVICE = "https://www.legacysurvey.org/viewer/fits-cutout"

_SIGNATURE = b"SIMPLE  ="
_BLOCK = 2880
_SHARDS = 256  # folders per survey: 1,226 files in each for 313,789 cutouts
MOST_BYTES = 2**22  # of a response, so that none fills the memory; a cutout has 792,000
_ASTRAY = 2.0  # arcsec; an image farther from the requested position is refused


@dataclass(frozen=True)
class Job:
    """One cutout to download.

    name, ra, dec (degrees): the galaxy; survey; url: the request; path: the file, relative to the
    run; version: required VERSION in the header, or empty for any of the survey's.
    """

    name: str
    ra: float
    dec: float
    survey: str
    url: str
    path: str
    version: str = ""


def file_name(ra: float, dec: float) -> str:
    """Return a name such as 154.7709_46.4537.fits: degrees to 4 decimals, RA from 0 to 360.

    Zero has no minus sign.
    """
    return f"{round(ra, 4) % 360.0:.4f}_{round(dec, 4) + 0.0:.4f}.fits"


def path_of(survey: str, ra: float, dec: float) -> str:
    """Return images/<survey>/<shard>/<ra>_<dec>.fits; the shards fill evenly."""
    name = file_name(ra, dec)
    return f"images/{survey}/{zlib.crc32(name.encode()) % _SHARDS:02x}/{name}"


def url_of(service: str, layer: str, ra: float, dec: float, pixel_scale: float = 0.262) -> str:
    """Return the URL of a cutout; ra, dec: centre in degrees; pixel_scale: arcsec."""
    query = {"ra": f"{ra:.6f}", "dec": f"{dec:.6f}", "layer": layer,
             "pixscale": f"{pixel_scale:g}", "bands": BANDS, "size": SIZE}  # fmt: skip
    return f"{service}?{urlencode(query)}"


def job_at(
    survey: str,
    ra: float,
    dec: float,
    name: str = "",
    release: str = RELEASE,
    service: str = SERVICE,
    pixel_scale: float = 0.262,
) -> Job:
    """Return the request for a survey's cutout at a position in degrees; pixel_scale: arcsec."""
    there = SURVEYS[survey].at(release)
    url = url_of(service, there.layer, ra, dec, pixel_scale)
    path = path_of(survey, ra, dec)
    return Job(name or iauname(ra, dec), ra, dec, survey, url, path, there.version)


def _check_signature(body: bytes) -> None:
    """Raise Permanent if a response is text, Transient if it is cut off near its beginning."""
    if body.startswith(_SIGNATURE):
        return
    if _SIGNATURE.startswith(body[: len(_SIGNATURE)]):
        raise Transient(f"truncated: {len(body)} bytes")
    shown = " ".join(body[:80].decode("ascii", "replace").split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in shown)
    raise Permanent(f"text instead of an image: it begins with {shown[:60]!r}")


def check_cutout(body: bytes, job: Job) -> None:
    """Raise Transient or Permanent if a response is not the requested cutout.

    It must be complete, FITS, 3 x 256 x 256, bands g, r, z, of the survey and release by VERSION,
    centred on the requested position, finite, and with signal in every band.
    """
    _check_signature(body)
    try:
        frame = frame_in(body, SIZE)
        as_asked = job.version.lower() in ("", frame.release.lower())
        if not as_asked or survey_of(frame.release) != job.survey:
            found = f"VERSION is {frame.release!r}, {survey_of(frame.release)}"
            raise Permanent(f"wrong layer: {found}, not {job.survey} {job.version}".rstrip())
        if not frame.flux.any():
            raise Permanent("zero image: outside the footprint, or nothing was observed there")
        check_flux(frame.flux)
    except BadCutout as refusal:
        worth_a_try = str(refusal).split(":")[0] in ("truncated", "unreadable")
        raise (Transient if worth_a_try else Permanent)(str(refusal)) from None
    middle = (SIZE + 1) / 2
    seen = unit_vectors(*position_at(frame.header, middle, middle))
    apart = float(separation(np.linalg.norm(seen - unit_vectors(job.ra, job.dec))))
    if not apart <= _ASTRAY:
        raise Permanent(f"wrong position: the image is centred {apart:.1f} arcsec away")


def fill_in_version(body: bytes, job: Job, came_from: str) -> bytes:
    """Return the response with a blank VERSION filled in with the requested one.

    One version of the service's code (August 2026) has no name for DR11 and writes `VERSION = ''`.
    The card is filled in, with a comment that says so, only if the response came from the requested
    layer; any other response is returned unchanged.
    came_from: address of the response, after redirects.
    """
    layers = [parse_qs(urlsplit(url).query).get("layer") for url in (job.url, came_from)]
    if not job.version.startswith("DR11-") or layers[0] != layers[1]:
        return body
    for at in range(0, min(len(body), _BLOCK), 80):
        keyword, _, value = body[at : at + 80].partition(b"=")
        if keyword == b"VERSION " and not value.partition(b"/")[0].strip(b" '"):
            card = f"VERSION = '{job.version}' / as asked: the service left it blank"
            return body[:at] + card.ljust(80).encode() + body[at + 80 :]
    return body
