"""The interactive map of the latent space: one file that needs no other, and works offline.

A canvas and a script of our own (latent_map.js), the galaxies as JSON, their thumbnails as sheets
of JPEG tiles, which the browser decodes when they are looked at. Names come from files and tables
of other people: they enter the page as data and are shown as text. The page's own policy lets
nothing be fetched, and no script run but this one.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from VAE_model.report.page import Html, document, element, join

TILE = 80  # pixels on a side of a thumbnail
TILES = 16  # thumbnails on a side of a sheet
QUALITY = 82  # of the sheets' JPEG
SCRIPT = Path(__file__).with_suffix(".js")


@dataclass(frozen=True)
class Answer:
    """How a group of galaxies is drawn: its name for people, colour, marker (o, s, D or ^);
    none: no answer, drawn small and below."""

    label: str
    colour: str
    marker: str
    none: bool = False


@dataclass(frozen=True)
class Scheme:
    """One way to colour the map: answers, and which of them each galaxy has, (N,)."""

    title: str
    answers: list[Answer]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Vote:
    """Of one question: its answers, which of them leads, and its share in per cent, (N,) each;
    share -1 where the question was not reached."""

    question: str
    answers: list[str]
    leads: NDArray[np.int64]
    share: NDArray[np.int64]


@dataclass(frozen=True)
class Galaxies:
    """What is on the map, a row a galaxy, in the order of the sheets.

    places: on the map, (N, 2), any unit; names; ra, dec: degrees, NaN where unknown; survey: code
    of each galaxy's in `surveys`, names for people; viewer: of each survey, an address with {ra}
    and {dec}; schemes: the first is shown first, the last is not told on cards; labels: what the
    votes are; simulated: their sky is.
    """

    places: NDArray[np.floating]
    names: list[str]
    ra: NDArray[np.floating]
    dec: NDArray[np.floating]
    survey: NDArray[np.int64]
    surveys: list[str]
    viewer: list[str]
    schemes: list[Scheme]
    votes: list[Vote]
    labels: str
    simulated: bool = False


def sheet_order(places: NDArray[np.floating]) -> NDArray[np.int64]:
    """An order of the galaxies, (N,), in which neighbours on the map share a sheet: along a Morton
    curve."""
    low, span = places.min(axis=0), max(float(np.ptp(places, axis=0).max()), 1e-12)
    cells = np.minimum((places - low) / span * 256, 255).astype(np.int64)
    code = np.zeros(len(places), np.int64)
    for bit in range(8):
        for axis in (0, 1):
            code |= (cells[:, axis] >> bit & 1) << (2 * bit + axis)
    return np.argsort(code, kind="stable")


def sheets(thumbnails: Iterator[NDArray[np.uint8]]) -> Iterator[str]:
    """Base64 of JPEG sheets, of thumbnails (TILE, TILE, 3) in the galaxies' order."""
    canvas = np.zeros((TILES * TILE, TILES * TILE, 3), np.uint8)
    place = 0
    for tile in thumbnails:
        row, column = divmod(place, TILES)
        canvas[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = tile
        place += 1
        if place == TILES**2:
            yield _jpeg(canvas)
            canvas[:], place = 0, 0
    if place:
        yield _jpeg(canvas[: -(-place // TILES) * TILE])


def _jpeg(canvas: NDArray[np.uint8]) -> str:
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, "JPEG", quality=QUALITY)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def map_page(title: str, lead: str, galaxies: Galaxies, thumbnails: Iterator[NDArray]) -> str:
    """The page as text. thumbnails: colours (TILE, TILE, 3) in the galaxies' order."""
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    ends = [
        element("script", Html(sheet), type="text/plain", id=f"sheet-{number}")
        for number, sheet in enumerate(sheets(thumbnails))
    ]
    return document(
        title,
        element("h1", title),
        element("p", lead, class_="soft"),
        _controls(),
        element("div", id="legend", role="group", aria_label="groups on the map"),
        element("div", _stage(), element("aside", *_panel()), class_="both"),
        element("script", Html(in_script(_content(galaxies))), type="application/json", id="data"),
        element("script", Html(script)),
        *ends,
        style=_STYLE,
        head=[element("meta", http_equiv="Content-Security-Policy", content=policy)],
    )


def in_script(content: Any) -> str:
    """JSON that can stand in a script element: no character of it can end or open one."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _content(galaxies: Galaxies) -> dict[str, Any]:
    low = galaxies.places.min(axis=0)
    extent = np.ptp(galaxies.places, axis=0)
    longer = max(float(extent.max()), 1e-12)
    x, y = ((galaxies.places - low) / longer).T
    known = np.isfinite(galaxies.ra) & np.isfinite(galaxies.dec)
    return {
        "x": _rounded(x, 5), "y": _rounded(y, 5), "size": _rounded(extent / longer, 5),
        "name": galaxies.names,
        "ra": [v if k else None for v, k in zip(_rounded(galaxies.ra, 6), known, strict=True)],
        "dec": [v if k else None for v, k in zip(_rounded(galaxies.dec, 6), known, strict=True)],
        "survey": galaxies.survey.tolist(), "surveys": galaxies.surveys,
        "viewer": galaxies.viewer, "labels": galaxies.labels, "simulated": galaxies.simulated,
        "tile": TILE, "tiles": TILES,
        "schemes": [
            {"title": s.title, "answers": [vars(a) for a in s.answers], "codes": s.codes.tolist()}
            for s in galaxies.schemes
        ],
        "votes": [
            {"question": v.question, "answers": v.answers, "leads": v.leads.tolist(),
             "share": v.share.tolist()}
            for v in galaxies.votes
        ],
    }  # fmt: skip


def _rounded(values: NDArray[np.floating], digits: int) -> list[float]:
    return np.round(np.nan_to_num(np.asarray(values, float)), digits).tolist()


def _controls() -> Html:
    search = element(
        "form",
        element("input", id="words", type="search", autocomplete="off", spellcheck="false",
                placeholder="name, or RA, Dec (deg)",
                aria_label="search for a galaxy by name, or by RA and Dec in degrees"),
        element("button", "Find", type="submit"),
        element("span", id="said", role="status"),
        id="search",
    )  # fmt: skip
    colours = element("label", "Colour by ", element("select", id="scheme"))
    return element("div", search, colours, class_="controls")


def _stage() -> Html:
    zoom = [
        element("button", sign, id=name, type="button", aria_label=words, title=words)
        for sign, name, words in (
            ("+", "in", "zoom in"), ("−", "out", "zoom out"), ("⤢", "all", "show all"),
        )
    ]  # fmt: skip
    words = "map of galaxies: arrow keys go from galaxy to galaxy, Enter opens the survey's viewer"
    return element(
        "div",
        element("canvas", id="map", tabindex="0", role="application", aria_label=words),
        element("div", *zoom, class_="zooming"),
        class_="stage",
    )


def _panel() -> list[Html]:
    arrows, zoom = (join(element("kbd", key) for key in keys) for keys in ("←↑↓→", "+−0"))
    enter = element("kbd", "Enter")
    keys = [
        "Point at a galaxy, or tap it. Drag and scroll, or pinch. ",
        element("span", arrows, " from galaxy to galaxy, ", zoom, " zoom, ", enter, " viewer."),
    ]
    return [
        element("article", id="card", aria_live="polite", hidden="hidden"),
        element("p", *keys, id="keys", class_="soft"),
    ]


_STYLE = """
body { max-width: none; padding-top: 1rem; padding-bottom: 1rem; }
h1 { font-size: 1.4rem; } h1 + p { margin-top: 0; font-size: .92rem; }
.controls { display: flex; flex-wrap: wrap; gap: .6rem 1.4rem; align-items: center;
  margin: .6rem 0; }
.controls form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
.controls input, .controls select, .controls button, .zooming button { font: inherit;
  min-height: 44px; padding: .3rem .8rem; color: var(--ink); background: var(--card);
  border: 1px solid var(--soft); border-radius: 8px; }
.controls input { width: min(19rem, 62vw); } #said { color: var(--soft); font-size: .9rem; }
.both { display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr) 19rem; }
.stage { position: relative; height: calc(100vh - 13.5rem); min-height: 22rem; }
#map { width: 100%; height: 100%; display: block; background: #fff; touch-action: none;
  border: 1px solid var(--line); border-radius: 10px; cursor: grab; }
.zooming { position: absolute; right: .6rem; top: .6rem; display: grid; gap: .35rem; }
.zooming button { width: 44px; padding: 0; font-size: 1.2rem; color: #1d1d1f;
  background: rgb(255 255 255 / 92%); }
aside { max-height: calc(100vh - 13.5rem); overflow: auto; }
#legend { display: flex; flex-wrap: wrap; gap: .35rem; margin: .2rem 0 .8rem; }
#legend button { font: inherit; font-size: .86rem; min-height: 36px; display: inline-flex;
  gap: .4rem; align-items: center; padding: .1rem .7rem .1rem .4rem; border-radius: 18px;
  border: 1px solid var(--line); color: var(--ink); background: var(--card); cursor: pointer;
  white-space: nowrap; }
#legend button[aria-pressed=false] { opacity: .5; text-decoration: line-through; }
#legend canvas { width: 18px; height: 18px; background: #fff; border-radius: 50%; }
#legend small { color: var(--soft); }
#card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  overflow: hidden; font-size: .86rem; line-height: 1.4; }
#card > canvas { display: block; width: 100%; height: 13rem; object-fit: contain;
  background: #0b0b0c; }
#card > div { padding: .5rem .8rem .8rem; }
#card h2 { font-size: .95rem; margin: 0; overflow-wrap: anywhere; white-space: pre-wrap;
  unicode-bidi: isolate; }
#card h3 { font-size: .8rem; margin: .6rem 0 .1rem; color: var(--soft); font-weight: 500; }
#card p { margin: .1rem 0; } #card dl { display: grid; grid-template-columns: 1fr auto;
  gap: 0 .8rem; margin: .3rem 0 0; } #card dt { color: var(--soft); overflow-wrap: anywhere; }
#card dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
#card a { display: block; text-align: center; margin-top: .6rem; padding: .5rem; min-height: 44px;
  border: 1px solid var(--link); border-radius: 8px; text-decoration: none; }
#keys { font-size: .86rem; margin: 0; } kbd { font: inherit; padding: 0 .35em; border-radius: 4px;
  border: 1px solid var(--line); margin: 0 .1em; }
@media (hover: none) { #keys span { display: none; } }
@media (max-width: 52rem) { .both { grid-template-columns: minmax(0, 1fr); }
  h1 + p { font-size: .84rem; line-height: 1.4; } .controls { gap: .4rem; }
  .stage { height: min(60vh, 115vw); } aside { max-height: none; }
  #legend { flex-wrap: nowrap; overflow-x: auto; } #legend button { min-height: 44px; }
  #card { position: fixed; left: 0; right: 0; bottom: 0; z-index: 2; max-height: 44vh;
    overflow: auto; border-radius: 14px 14px 0 0; box-shadow: 0 -4px 24px rgb(0 0 0 / 25%); }
  #card:not([hidden]) { display: grid; grid-template-columns: 8rem minmax(0, 1fr); }
  #card > canvas { height: 8rem; } }
"""
