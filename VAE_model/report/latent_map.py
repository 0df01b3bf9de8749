"""The interactive map of the latent space: one HTML file that works offline.

The page (templates/latent_map.html) holds a canvas, one script (marks.js and latent_map.js), the
galaxies as JSON, and their thumbnails as sheets of JPEG tiles, which the browser decodes when it
shows them. Names come from files and tables of other people: they enter the page as data and are
shown as text. The page's content security policy forbids every request, and every script but this
one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VAE_model.report.figures import jpeg
from VAE_model.report.map_data import Scheme
from VAE_model.report.page import in_script, render, script_of

TILE = 80  # pixels on a side of a thumbnail
TILES = 16  # thumbnails on a side of a sheet
QUALITY = 82  # of the sheets' JPEG


@dataclass(frozen=True)
class Vote:
    """The votes on one question.

    leads: code of the leading answer, (N,); share: of the votes for it in per cent, (N,), -1 where
    the question was not reached.
    """

    question: str
    answers: list[str]
    leads: NDArray[np.int64]
    share: NDArray[np.int64]


@dataclass(frozen=True)
class Galaxies:
    """The galaxies on the map, one row per galaxy, in the order of the sheets.

    places: on the map, (N, 2), any unit; names; paths: of the images; ra, dec: degrees, NaN where
    unknown; survey: code of each galaxy's in `surveys`, their labels; viewer: address of each
    survey's viewer, with {ra} and {dec}; schemes: the first is shown first, the last is not on the
    cards; similar: rows of the galaxies most similar to each, (N, K), the most similar first;
    labels: origin of the votes; simulated: the sky is; marking: from marking_content, None where
    galaxies cannot be marked.
    """

    places: NDArray[np.floating]
    names: list[str]
    paths: list[str]
    ra: NDArray[np.floating]
    dec: NDArray[np.floating]
    survey: NDArray[np.int64]
    surveys: list[str]
    viewer: list[str]
    schemes: list[Scheme]
    similar: NDArray[np.int64]
    votes: list[Vote]
    labels: str
    simulated: bool = False
    marking: dict[str, Any] | None = None


def sheet_order(places: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return an order of the galaxies, (N,), along a Morton curve.

    Galaxies that are close on the map then share a sheet.
    """
    low, span = places.min(axis=0), max(float(np.ptp(places, axis=0).max()), 1e-12)
    cells = np.minimum((places - low) / span * 256, 255).astype(np.int64)
    code = np.zeros(len(places), np.int64)
    for bit in range(8):
        for axis in (0, 1):
            code |= (cells[:, axis] >> bit & 1) << (2 * bit + axis)
    return np.argsort(code, kind="stable")


def sheets(thumbnails: Iterator[NDArray[np.uint8]]) -> Iterator[str]:
    """Yield JPEG sheets in base64, of thumbnails (TILE, TILE, 3) in the galaxies' order."""
    canvas = np.zeros((TILES * TILE, TILES * TILE, 3), np.uint8)
    place = 0
    for tile in thumbnails:
        row, column = divmod(place, TILES)
        canvas[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = tile
        place += 1
        if place == TILES**2:
            yield jpeg(canvas, QUALITY)
            canvas[:], place = 0, 0
    if place:
        yield jpeg(canvas[: -(-place // TILES) * TILE], QUALITY)


def map_page(title: str, lead: str, galaxies: Galaxies, thumbnails: Iterator[NDArray]) -> str:
    """Return the page. thumbnails: colours (TILE, TILE, 3) in the galaxies' order."""
    return render(
        "latent_map.html", title=title, lead=lead, data=in_script(_content(galaxies)),
        marking=galaxies.marking is not None, sheets=sheets(thumbnails),
        **script_of("marks.js", "latent_map.js"),
    )  # fmt: skip


def _content(galaxies: Galaxies) -> dict[str, Any]:
    content = dict(vars(galaxies))
    places, names = content.pop("places"), content.pop("names")
    extent = np.ptp(places, axis=0)
    longer = max(float(extent.max()), 1e-12)
    x, y = np.round((places - places.min(axis=0)) / longer, 5).T
    known = np.isfinite(galaxies.ra) & np.isfinite(galaxies.dec)
    for name in ("ra", "dec"):
        content[name] = np.where(known, np.round(content[name], 6), None)
    size = np.round(extent / longer, 5)
    return {**content, "x": x, "y": y, "size": size, "name": names, "tile": TILE, "tiles": TILES}
