"""Ways in which a file goes wrong: bytes by chance, and what a hostile hand would change.

A mutation takes a file's content and random numbers and gives another content; it may
raise where it finds nothing to change. Nothing here knows how the readers defend themselves.
"""

import json
import re
import struct
import zlib
from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]

# Numbers and words at which readers have fallen.
_NUMBERS = ("1E999", "-1", "0", "99999999999999", "NaN", "T", "", "'x", "2147483648", "1000000000")
_VALUES = (None, True, -1, 10**400, 1e308, "", "x" * 9, "\x00", [], {}, [[]], {"sha256": []})
_LINES = (b"../../../../etc/passwd", b"/etc/passwd", b"/dev/zero", b"/dev/full", b"images", b".",
          b"\x00", b"\xff\xfe", b"a" * 5000, b"", b"\xe2\x80\xa8", b"~", b"$(id)")  # fmt: skip


def some_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """One of nine accidents: bits, bytes, a hole, a piece lost, doubled, moved or added."""
    data = bytearray(content)
    size = len(data)
    # Headers stand at the beginning of most formats, at the end of parquet and zip.
    near = (0, min(size, 4096)), (max(0, size - 4096), size), (0, size)
    low, high = near[rng.integers(3)]
    at = int(rng.integers(low, high))
    length = int(rng.integers(1, 1 + min(size - at, 2 ** int(rng.integers(1, 12)))))
    kind = rng.integers(9)
    if kind == 0:
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        for place in rng.integers(low, high, rng.integers(1, 16)):
            data[place] = rng.integers(256)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at : at + length] = bytes(length)
    elif kind == 4:
        del data[at : at + length]
    elif kind == 5:
        data[at:at] = data[at : at + length]
    elif kind == 6:
        data[at:at] = rng.bytes(length)
    elif kind == 7:
        data[at : at + 4] = rng.choice(
            [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80"]
        )
    else:
        data += rng.bytes(length)
    return bytes(data)


def fits_card(content: bytes, rng: np.random.Generator) -> bytes:
    """A card of a FITS header gets a monstrous value, or another card's place."""
    data = bytearray(content)
    at = 80 * int(rng.integers(0, 36))
    if rng.random() < 0.7:
        data[at + 10 : at + 80] = f"{rng.choice(_NUMBERS):>20}".encode().ljust(70)
    else:
        other = 80 * int(rng.integers(0, 36))
        data[at : at + 80] = data[other : other + 80]
    return bytes(data)


def png_chunk(content: bytes, rng: np.random.Generator) -> bytes:
    """A chunk of a PNG file is another, and its checksum right: only the meaning is wrong."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        length = struct.unpack(">I", content[at : at + 4])[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    which = int(rng.integers(len(chunks)))
    name, body = chunks[which]
    if name == b"IHDR" and rng.random() < 0.5:
        body = struct.pack(">II", *rng.choice([1, 300, 7999, 65535, 2**31 - 1], 2)) + body[8:]
    elif body:
        body = some_bytes(body, rng)
    else:
        name = rng.choice([b"IEND", b"zTXt", b"iCCP", b"PLTE", b"acTL"])
    chunks[which] = (bytes(name), body)
    parts = [content[:8]]
    for name, body in chunks:
        parts += [
            struct.pack(">I", len(body)),
            name,
            body,
            struct.pack(">I", zlib.crc32(name + body)),
        ]
    return b"".join(parts)


def jpeg_size(content: bytes, rng: np.random.Generator) -> bytes:
    """A JPEG file promises another size or number of channels."""
    at = next((found.start() for found in re.finditer(rb"\xff[\xc0\xc2]\x00", content)), 0)
    data = bytearray(content)
    data[at + 5 : at + 9] = struct.pack(">HH", *rng.choice([0, 1, 300, 7999, 65535], 2))
    if rng.random() < 0.3:
        data[at + 9] = rng.integers(256)
    return bytes(data)


def json_value(content: bytes, rng: np.random.Generator) -> bytes:
    """A value somewhere in a JSON file is lost or of another kind; or all is nested deeply."""
    tree = json.loads(content)
    if rng.random() < 0.1:
        depth = int(rng.choice([10, 1_000, 200_000]))
        return b"[" * depth + b"]" * depth
    places = []

    def walk(node: object) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(tree)
    node, key = places[rng.integers(len(places))]
    if isinstance(node, dict) and rng.random() < 0.3:
        del node[key]
    else:
        node[key] = _VALUES[rng.integers(len(_VALUES))]
    text = json.dumps(tree if rng.random() < 0.95 else _VALUES[rng.integers(len(_VALUES))])
    return text.encode()


def text_line(content: bytes, rng: np.random.Generator) -> bytes:
    """A line of a list is lost, doubled, moved or another; as an editor or a bad disk would."""
    lines = content.split(b"\n")[:-1]
    at, other = (int(number) for number in rng.integers(0, len(lines), 2))
    kind = rng.integers(8)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(other, lines[at])
    elif kind == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 3:
        lines[at] = _LINES[rng.integers(len(_LINES))]
    elif kind == 4:
        lines[at] = some_bytes(lines[at], rng)
    elif kind == 5:
        lines[at] = b"images/../" + lines[at]
    elif kind == 6:
        return b"\r\n".join(lines) + b"\r\n"
    else:
        return b"\xef\xbb\xbf" + content
    return b"\n".join(lines) + b"\n"


def model_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Another header in a model file, its length right, or weights that are not finite."""
    end = 8 + int.from_bytes(content[:8], "little")
    header, data = content[8:end], content[end:]
    if rng.random() < 0.2:
        value = rng.choice([np.nan, np.inf, 1e38])
        data = np.full(len(data) // 4, value, "<f4").tobytes()
    else:
        header = some_bytes(header, rng)
    return len(header).to_bytes(8, "little") + header + data
