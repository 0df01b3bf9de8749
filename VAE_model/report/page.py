"""Building blocks of pages that need no other file: no font, no server, no network, and (but for
the map of latent_map.py) no script.

Markup is of the type Html; any other text is escaped where it enters an element, so that a file
name or a reason in a table can never become markup. Pages follow the reader's light or dark
setting and fold to a phone's width.
"""

import base64
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

_PHOTOGRAPH = 400_000  # bytes as PNG from which a picture is taken for photographs
_VOID = {"br", "hr", "img", "input", "link", "meta"}  # elements without an end tag


class Html(str):
    """Finished markup."""


def element(tag: str, /, *children: object, **attributes: object) -> Html:
    """`<tag attribute="...">children</tag>`: children that are not Html are escaped.

    An attribute that is a word of Python ends in _ (class_); one that is None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{join(children)}</{tag}>")


def join(children: Iterable[object], between: str = "") -> Html:
    """Children one after the other: Html as it is, everything else escaped."""
    return Html(
        between.join(c if isinstance(c, Html) else escape(str(c), quote=False) for c in children)
    )


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], caption: object = "", total: bool = False
) -> Html:
    """A table that scrolls sideways where it is wider than the screen.

    Cells that are numbers (or text that `number` made of one) stand at the right; a row's first
    cell is its heading. total: the last row is a sum, and set apart.
    """
    body = [[cell if isinstance(cell, Html) else number(cell) for cell in row] for row in rows]
    columns = [[row[i] for row in body] for i in range(len(head))]
    right = [bool(column) and all(_is_numeric(cell) for cell in column) for column in columns]
    classes = ["n" if side else None for side in right]
    heading = [element("th", h, scope="col", class_=c) for h, c in zip(head, classes, strict=True)]
    lines = []
    for place, row in enumerate(body):
        first, *others = row
        cells = [element("th", first, scope="row", class_=classes[0])]
        cells += [element("td", v, class_=c) for v, c in zip(others, classes[1:], strict=True)]
        last = total and place == len(body) - 1
        lines.append(element("tr", *cells, class_="total" if last else None))
    content = [element("caption", element("span", caption))] if caption else []
    content += [
        element("thead", element("tr", *heading)),
        element("tbody", join(lines, "\n")),
    ]
    return element("div", element("table", *content), class_="wide", tabindex="0")


def number(value: object) -> str:
    """A value as people read it: thousands apart, four significant digits, nothing for none."""
    if value is None or value != value:  # NaN differs from itself
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, Real) or not math.isfinite(value):
        return str(value)
    value = value if isinstance(value, int) else float(value)
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"


def facts(numbers: dict[str, Any], head: tuple[str, str] = ("", "number")) -> list[Html]:
    """Whatever numbers a stage wanted remembered, by name."""
    rows = list(_flat(numbers))
    return [table(head, rows)] if rows else []


def _flat(numbers: dict[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in numbers.items():
        words = f"{before}{name}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, f"{words}, ")
        else:
            yield words, ", ".join(map(str, value)) if isinstance(value, list) else value


def tiles(items: Iterable[tuple[str, object, str]]) -> Html:
    """The numbers that matter, large: (what it is, the number, what it is worth) each."""
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", label),
                element("dd", element("strong", value), element("span", note)),
            )
            for label, value, note in items
        ),
        class_="tiles",
    )


def details(summary: str, *content: object) -> Html:
    """What is folded away until one asks for it."""
    return element("details", element("summary", summary), *content)


def picture(source: Path | BinaryIO, caption: object, alt: str, widest: int = 1600) -> Html:
    """A figure of the run with its caption; a tap shows it at full size."""
    address, width, height = embed(source, widest)
    image = element("img", src=address, alt=alt, width=width, height=height)
    zoom = element("input", type="checkbox", aria_label=f"show at full size: {alt}")
    framed = element("label", zoom, image, class_="zoom")
    return element("figure", framed, element("figcaption", caption))


def embed(source: Path | BinaryIO, widest: int = 1600) -> tuple[str, int, int]:
    """A picture file as a `data:` address, and its width and height on the page.

    Pictures of more pixels are scaled down to `widest`. On the page a figure of so many inches
    has that size, its text the size it was drawn with. A drawing stays PNG; one that is large as
    PNG is made of photographs and becomes JPEG.
    """
    with Image.open(source) as opened:
        per_inch = float(opened.info.get("dpi", (96.0, 96.0))[0]) or 96.0
        image = opened.convert("RGBA")
    width = min(round(image.width * 96 / per_inch), widest)
    height = round(image.height * width / image.width)
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.width > widest:
        size = (widest, round(image.height * widest / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    stream, kind = io.BytesIO(), "png"
    image.save(stream, "PNG", optimize=True)
    if stream.tell() > _PHOTOGRAPH:
        stream, kind = io.BytesIO(), "jpeg"
        image.save(stream, "JPEG", quality=88, subsampling=0)
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{text}", width, height


def document(title: str, *body: object, style: str = "", head: Sequence[Html] = ()) -> str:
    """A whole page. head: further elements of its head, before its title."""
    elements = [
        element("meta", charset="utf-8"),
        *head,
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE + style)),
    ]
    content = element(
        "html",
        element("head", join(elements, "\n")),
        "\n",
        element("body", join(body, "\n")),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{content}\n"


def _is_numeric(cell: str) -> bool:
    return bool(cell) and ":" not in cell and (cell == "–" or cell.lstrip("+-−")[:1].isdigit())


STYLE = """
:root { color-scheme: light dark; --ground: #f6f6f4; --card: #ffffff; --ink: #1d1d1f;
  --soft: #5c5e64; --line: #dcdcd8; --link: #1f5fa8; --accent: #332288; }
@media (prefers-color-scheme: dark) { :root { --ground: #131416; --card: #1e2023; --ink: #ececee;
  --soft: #a2a6ad; --line: #34373c; --link: #8bb8ee; --accent: #b3a7f5; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0 auto; padding: 1.6rem clamp(.9rem, 4vw, 2.6rem) 4rem; max-width: 78rem;
  background: var(--ground); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1, h2, h3 { line-height: 1.2; text-wrap: balance; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); font-weight: 650; letter-spacing: -.015em;
  margin: .2rem 0 .5rem; }
h2 { font-size: 1.32rem; font-weight: 620; margin: 0 0 .5rem; }
h3 { font-size: 1rem; font-weight: 620; margin: 1.8rem 0 .4rem; }
p { max-width: 70ch; margin: .5rem 0; } .soft { color: var(--soft); }
a { color: var(--link); text-underline-offset: .18em; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
code { font: .88em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  background: color-mix(in srgb, var(--ink) 7%, transparent); border-radius: 4px;
  padding: .1em .35em; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0 1.4rem; /* a shade where there is more to the right */
  background: linear-gradient(to left, var(--ground) 50%, transparent) right / 3rem 100% no-repeat
  local, linear-gradient(to left, color-mix(in srgb, var(--ink) 16%, transparent), transparent)
  right / .8rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.4; min-width: 50%; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
caption span { display: block; max-width: min(70ch, calc(100vw - 2rem)); }
th, td { padding: .34rem .8rem .34rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line); font-weight: 400; }
thead th, thead .n { color: var(--soft); font-size: .82rem; border-bottom-color: var(--soft);
  vertical-align: bottom; white-space: normal; }
tbody th { position: sticky; left: 0; background: var(--ground); }
tbody :not(.n) { min-width: 6rem; max-width: 26rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small, th small { display: block; color: var(--soft); font-size: .86em;
  overflow-wrap: anywhere; }
.total th, .total td { font-weight: 650; border-bottom: 0; }
.tiles { display: grid; gap: .8rem; margin: 1.4rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(13.5rem, 46%), 1fr)); }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .8rem 1rem .9rem; }
.tiles dt { color: var(--soft); font-size: .86rem; line-height: 1.35; }
.tiles dd { margin: .2rem 0 0; } .tiles span { color: var(--soft); font-size: .84rem;
  display: block; line-height: 1.4; }
.tiles strong { font-size: 1.75rem; font-weight: 620; letter-spacing: -.02em; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
figure { margin: 1.4rem 0 1.8rem; }
figcaption { color: var(--soft); font-size: .88rem; line-height: 1.45; max-width: 75ch;
  margin-top: .5rem; }
.zoom { display: block; overflow: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 8px; padding: .5rem; cursor: zoom-in; }
.zoom img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.zoom input { position: absolute; opacity: 0; pointer-events: none; }
.zoom:has(:checked) { cursor: zoom-out; } .zoom input:checked + img { max-width: none; }
.zoom:has(:focus-visible) { outline: 3px solid var(--link); }
@media print { body { max-width: none; } figure, tr { break-inside: avoid; } }
"""
