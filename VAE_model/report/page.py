"""Pages that need no other file: no font, no server, no network.

The markup lies in templates/ (jinja2), which escape every text that enters them, so that a file
name or a reason in a table can never become markup. A page is made of blocks: tables
(tables.Table) and the classes below. Pages follow the reader's light or dark setting and fold to
the width of a phone.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from VAE_model.report.tables import Table

_PHOTOGRAPH = 400_000  # bytes as PNG above which a picture is taken for photographs
_WIDEST = 1600  # pixels

Block = object  # a Table or one of the classes below


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; link: text and address of a link at its beginning."""

    text: str
    link: tuple[str, str] | None = None


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away below a line of summary."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Tiles:
    """The main numbers in large type: name, number and note of each."""

    items: Sequence[tuple[str, object, str]]


@dataclass(frozen=True)
class Picture:
    """A figure with its caption; a tap shows it at full size.

    source: an image file; alt: its description for those who cannot see it; widest: pixels.
    """

    source: Path | BinaryIO
    caption: str
    alt: str
    widest: int = _WIDEST


def is_web(address: str) -> bool:
    """Return True where an address leads to the web, as a link in a page must."""
    return urlsplit(address).scheme in ("http", "https")


_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("VAE_model.report"), autoescape=True,
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True,
)  # fmt: skip
_templates.filters["web"] = is_web
_templates.tests["web"] = is_web
_templates.filters["kind"] = lambda block: type(block).__name__.lower()


def render(template: str, **content: Any) -> str:
    """Return the page that a file of templates/ makes of `content`."""
    return _templates.get_template(template).render(**content)


def in_script(content: Any) -> Markup:
    """Return JSON for a script element: no character of it can end or open one."""
    text = json.dumps(
        content, ensure_ascii=True, separators=(",", ":"), allow_nan=False,
        default=lambda of: of.tolist() if isinstance(of, np.ndarray) else vars(of),
    )  # fmt: skip
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704


def script_of(*names: str) -> dict[str, str]:
    """Return the scripts of these files of this package as one, and its digest for the policy."""
    here = Path(__file__).parent
    text = "\n".join((here / name).read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return {"script": Markup(text), "digest": digest}  # noqa: S704


def facts(numbers: dict[str, Any], head: tuple[str, str] = ("", "number")) -> list[Table]:
    """Return a table of all numbers in nested dicts, by name; none where there are none."""
    rows = list(_flat(numbers))
    return [Table(head, rows)] if rows else []


def _flat(numbers: dict[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in numbers.items():
        words = f"{before}{name}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, f"{words}, ")
        else:
            yield words, ", ".join(map(str, value)) if isinstance(value, list) else value


def embed(source: Path | BinaryIO, widest: int = _WIDEST) -> tuple[str, int, int]:
    """Return a picture file as a `data:` address, and its width and height on the page.

    Pictures of more pixels are scaled down to `widest`. On the page a figure has its size in
    inches, so that its text has the size it was drawn with. A drawing stays PNG; one that is large
    as PNG consists of photographs and becomes JPEG.
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


_templates.filters["embed"] = embed
