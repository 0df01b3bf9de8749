"""Compare the cutout service with the behaviour that this code expects: about ten requests.

The expected behaviour follows the service's own code (legacysurvey/imagine, August 2026).
"""

import io
import warnings
from collections.abc import Iterator
from urllib.parse import urlencode

import numpy as np
from astropy.io import fits

from VAE_model.data.astrometry import position_at
from VAE_model.data.cutouts import PIXEL_SCALE, SIZE
from VAE_model.data.fits_frames import BANDS
from VAE_model.downloads.client import Client, Gate, Manners, Permanent, Stopped, Transient
from VAE_model.downloads.cutout_service import MOST_BYTES
from VAE_model.pipeline.problem import Problem
from VAE_model.surveys import BASSMZLS, DECALS, RELEASES, Survey

_NOWHERE = (266.4, -29.0)  # RA and Dec of the galactic centre, in no layer's footprint

Fact = tuple[str, object, object]  # subject, expected value, received value
HDUs = list[fits.PrimaryHDU | fits.ImageHDU]


def compare(service: str, manners: Manners) -> None:
    """Print a line for each fact: as expected, or different.

    service: address. Raises Problem if a fact differs or the service does not answer.
    """
    client = Client(manners, Gate())
    differing = total = 0
    try:
        for about, believed, came in _facts(client, service):
            total += 1
            differing += believed != came
            said = (
                f"as expected: {came}" if believed == came else f"DIFFERS: {came}, not {believed}"
            )
            print(f"  {about}: {said}", flush=True)
    except Stopped:
        raise client.gate.problem or Problem("stopped") from None
    finally:
        client.close()
    if differing:
        raise Problem(
            f"{differing} of {total} facts about {service} differ from what the code expects: see "
            "the lines above"
        )
    print(f"  {total} facts about {service} are as expected")


def _facts(client: Client, service: str) -> Iterator[Fact]:
    layers = {
        survey.at(release).layer: survey.at(release)
        for survey in (DECALS, BASSMZLS)
        for release in RELEASES
    }
    for number, survey in enumerate(layers.values()):
        more = ("invvar", "maskbits") if number == 0 else ()
        status, hdus = _ask(client, service, survey.layer, survey.known, BANDS, more)
        yield from _facts_of_image(survey, status, hdus, more)
    layer = DECALS.layer
    status, hdus = _ask(client, service, layer, DECALS.known, "grq")
    came = hdus[0].header.get("BANDS", "none") if hdus else status
    yield f"{layer}, a band that it lacks", BANDS, came
    for about, other, position, expected in (
        ("an unknown layer", "no-such-layer", DECALS.known, "HTTP 200 with text"),
        (f"{layer}, outside its footprint", layer, _NOWHERE, "HTTP 500"),
        ("neither ra nor dec", layer, None, "HTTP 400"),
    ):
        yield about, expected, _ask(client, service, other, position)[0]


def _facts_of_image(
    survey: Survey, status: str, hdus: HDUs, more: tuple[str, ...]
) -> Iterator[Fact]:
    """more: requested besides the image; if not empty, the header is compared too."""
    layer = survey.layer
    if not hdus:
        yield f"{layer}, a known galaxy", "an image", status
        return
    image, header = hdus[0], hdus[0].header
    shows = image.data is not None and bool(np.any(image.data))
    yield f"{layer}, VERSION", repr(survey.version), repr(header.get("VERSION"))
    yield f"{layer}, BANDS", repr(BANDS), repr(header.get("BANDS"))
    yield f"{layer}, shape", (len(BANDS), SIZE, SIZE), image.shape
    yield f"{layer}, shows the galaxy", True, shows
    if not more:
        return
    for name, value in (("IMAGETYP", "IMAGE"), ("SURVEY", "DECaLS"), ("IMAGEW", SIZE)):
        yield f"{layer}, {name}", repr(value), repr(header.get(name))
    numbered = [header.get(f"BAND{number}") for number in range(len(BANDS))]
    yield f"{layer}, BAND0 and so on", list(BANDS), numbered
    middle = (SIZE + 1) / 2
    ra, dec = position_at(header, middle, middle)
    yield f"{layer}, centre", survey.known, (round(float(ra), 4), round(float(dec), 4))
    kinds = [str(hdu.header.get("IMAGETYP")) for hdu in hdus[1:]]
    yield f"{layer}, further HDUs", [word.upper() for word in more], kinds


def _ask(
    client: Client,
    service: str,
    layer: str,
    position: tuple[float, float] | None,
    bands: str = BANDS,
    more: tuple[str, ...] = (),
) -> tuple[str, HDUs]:
    """Return the HTTP status of a response ("with text" if it is not FITS) and its HDUs.

    Raises Problem if the service cannot be reached.
    """
    place = {"ra": position[0], "dec": position[1]} if position else {}
    query = place | {"layer": layer, "pixscale": PIXEL_SCALE, "bands": bands, "size": SIZE}
    url = f"{service}?{urlencode(query)}" + "".join(f"&{word}" for word in more)
    try:
        body, _ = client.persist(lambda: client.get(url, MOST_BYTES), most=3, most_refusals=2)
    except (Permanent, Transient) as failure:
        reason = str(failure)
        if not reason.startswith("HTTP"):
            raise Problem(f"{service} does not answer ({reason}): nothing was compared") from None
        return reason.split(":")[0], []
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            fits.open(io.BytesIO(body), memmap=False) as hdus,
        ):
            for hdu in hdus:
                _ = hdu.data  # read before the file is closed
            return "HTTP 200", list(hdus)
    except (OSError, ValueError, TypeError):
        return "HTTP 200 with text", []
