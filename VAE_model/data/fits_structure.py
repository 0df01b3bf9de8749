"""Bytes of a FITS file, read within a size limit, and validation of its structure.

A header that declares two billion axes, or a billion pixels that are not there, costs a reader
that trusts it hours or all memory. Source: FITS Standard 4.0, sections 3 and 4.4.1.
"""

import gzip
import io
import math
import os
import zlib
from pathlib import Path

BLOCK = 2880  # bytes
MOST_HDUS = 64  # that are read

_SMALL = 2**27  # bytes that any file may decompress to: three bands of 11 megapixels
_GZIP = b"\x1f\x8b"
_CARD = 80
_MOST_BLOCKS = 200  # of one header: 7,200 cards
_MOST_AXES = 999  # and columns of a table, by the standard
_COUNTED = {"NAXIS", "ZNAXIS", "TFIELDS"}
_SIZES = {"BITPIX", "PCOUNT", "GCOUNT"}
_BITS = {8, 16, 32, 64, -32, -64}


class BadCutout(Exception):
    """A file that is not a usable cutout; the message is `kind: detail`."""


def read_content(path: Path, most: int) -> bytes:
    """Return the FITS bytes of a file, decompressed where it is a gzip file, at most `most`.

    Raises BadCutout: `unreadable`, `truncated` or `not an image`.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadCutout("not an image: a folder or a device, not a file")
        with open(path, "rb") as stream:
            check_size(os.fstat(stream.fileno()).st_size, most)
            content = stream.read()
        if content.startswith(_GZIP):
            most = most_unpacked(len(content), most)
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(most + 1)
            check_size(len(content), most)
    except EOFError:
        raise BadCutout("truncated: the compressed data end too early") from None
    except (OSError, zlib.error) as error:
        raise BadCutout(f"unreadable: {getattr(error, 'strerror', None) or error}") from None
    if not content:
        raise BadCutout("not an image: the file is empty")
    if not content.startswith(b"SIMPLE  ="):
        shown = content[:24].decode("ascii", "replace").strip()
        raise BadCutout(f"not an image: no FITS signature (the file begins with {shown!r})")
    return content


def most_unpacked(size: int, most: int) -> int:
    """Return the largest size in bytes to which a compressed file may decompress.

    Noise compresses two- to fourfold.
    """
    return min(most, max(_SMALL, 16 * size))


def check_size(size: int, most: int) -> None:
    """Raise BadCutout where a file or an image of `size` bytes is larger than `most`."""
    if size > most:
        raise BadCutout(f"unreadable: more than {most / 2**20:,.0f} MiB, too large for a cutout")


def check_structure(content: bytes) -> None:
    """Raise BadCutout where the headers of a FITS file that begins with SIMPLE are not valid.

    `truncated`: data or a header end early; `unreadable`: the declared sizes are invalid.
    """
    at = 0
    for _ in range(MOST_HDUS):
        cards, at = _header(content, at)
        promised, held = _data_bytes(cards), len(content) - at
        if promised > held:
            raise BadCutout(f"truncated: {held:,} of {promised:,} bytes of data are there")
        at += math.ceil(promised / BLOCK) * BLOCK
        if content[at : at + 8] != b"XTENSION":
            return


def _header(content: bytes, start: int) -> tuple[dict[str, str], int]:
    """Return the cards of sizes, the first of each keyword, and the offset of the data."""
    cards: dict[str, str] = {}
    for block in range(start, start + _MOST_BLOCKS * BLOCK, BLOCK):
        if block + BLOCK > len(content):
            raise BadCutout("truncated: the file ends in a header")
        for at in range(block, block + BLOCK, _CARD):
            keyword, _, value = content[at : at + _CARD].partition(b"=")
            name = keyword.strip().upper().decode("ascii", "replace")
            if name == "END":
                return cards, block + BLOCK
            if name in _COUNTED and _number(name, value.decode("ascii", "replace")) > _MOST_AXES:
                raise BadCutout(f"unreadable: {name} is more than {_MOST_AXES}")
            if name in _COUNTED | _SIZES or name.startswith("NAXIS") or name == "GROUPS":
                cards.setdefault(name, value.decode("ascii", "replace"))
    raise BadCutout("unreadable: a header has no end")


def _data_bytes(cards: dict[str, str]) -> int:
    """Return the length of the data after a header, without padding."""

    def number(name: str, default: str) -> int:
        return _number(name, cards.get(name, default))

    axes = [number(f"NAXIS{axis + 1}", "") for axis in range(number("NAXIS", ""))]
    bits = number("BITPIX", "")
    if bits not in _BITS:
        raise BadCutout(f"unreadable: BITPIX is {bits}")
    if not axes:
        return 0
    if axes[0] == 0 and "GROUPS" in cards:  # random groups, of which nothing is read
        axes = axes[1:]
    return abs(bits) // 8 * number("GCOUNT", "1") * (number("PCOUNT", "0") + math.prod(axes))


def _number(name: str, text: str) -> int:
    """Return the integer on a card; only BITPIX may be negative."""
    try:
        value = int(text.partition("/")[0])
    except ValueError:
        raise BadCutout(f"unreadable: {name} is not a whole number") from None
    if value < 0 and name != "BITPIX":
        raise BadCutout(f"unreadable: {name} is negative")
    return value
