"""A stand-in of the public services on this machine: cutouts, and the catalogue of Zenodo.

A real HTTP server that answers as the Legacy Surveys' cutout service does by its own code (August
2026), and misbehaves by a plan that depends on the position alone: some faults pass after a try
or two, others never do. It counts the connections that are open at once, and every request. Its
files are written here by astropy, not by VAE_model, so that it does not share our beliefs.

    with CutoutService(share=0.05) as service:
        ... --service {service.url} --zenodo {service.address}
    service.most_connections, service.asked

As a process of its own, so that it does not share the interpreter with who fetches:

    python tests/cutout_service.py --share 0.05      # prints its address; /stats says the counts

The facts that it follows:

- HDU 0 holds all bands as one cube (one band: a plane) with IMAGETYP 'IMAGE', BANDS, BAND0 and so
  on, a TAN WCS, and IMAGEW and IMAGEH as integers. SURVEY is DECaLS in the north too; VERSION
  tells. A layer that merges both has SURVEY LegacySurvey and a VERSION without south or north.
- &invvar and &maskbits add HDUs with IMAGETYP 'INVVAR' and 'MASKBITS'. &subimage gives an empty
  HDU 0, then the pixels of the brick as they are, band by band, each with its inverse variance.
- size is cut to 3,000; a letter in bands that the layer does not have: the layer's own bands.
- Missing or bad ra or dec: 400. Outside the layer's footprint: 500, always. An unknown layer:
  text with HTTP 200. A layer may redirect. Within the footprint, nothing observed: zeros.
"""

import contextlib
import email.utils
import functools
import hashlib
import io
import json
import math
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
from astropy.io import fits

TRANSIENT = ("busy", "error", "reset", "stall", "truncate")
PERMANENT = ("text", "layer", "zero", "outside")
FAULTS = TRANSIENT + PERMANENT

Plan = Callable[[float, float, str], str]  # ra, dec, layer -> one of FAULTS, or ""

SPLIT = 32.375  # Dec (degrees) above which a merged layer shows the north
LARGEST = 3000  # pixels on a side
SIZE, SCALE = 256, 0.262  # pixels, arcsec per pixel: what is asked unless something else is
_BLOCK = 2880


@dataclass(frozen=True)
class Layer:
    """version, survey, imagetyp: VERSION, SURVEY, IMAGETYP of its files; bands: that it has;
    dec: of its footprint, degrees; north: only the north galactic cap; merges: the layers that it
    is made of, the southern one first."""

    version: str
    dec: tuple[float, float] = (-90.0, 90.0)
    north: bool = False
    bands: str = "grz"
    survey: str = "DECaLS"
    imagetyp: str = "IMAGE"
    merges: tuple[str, ...] = ()


LAYERS = {
    "ls-dr9-south": Layer("DR9-south", (-68.0, 34.0)),
    "ls-dr9-north": Layer("DR9-north", (31.0, 85.0), north=True),
    "ls-dr10-south": Layer("DR10-south", (-90.0, 34.0), bands="griz"),
    "ls-dr11-south": Layer("DR11-south", (-90.0, 34.0)),
    "ls-dr11-north": Layer("DR11-north", (31.0, 85.0), north=True),
    "ls-dr9": Layer("DR9", survey="LegacySurvey", merges=("ls-dr9-south", "ls-dr9-north")),
    "ls-dr10": Layer(
        "DR10", bands="griz", survey="LegacySurvey", merges=("ls-dr10-south", "ls-dr9-north")
    ),
    "ls-dr11": Layer("DR11", survey="LegacySurvey", merges=("ls-dr11-south", "ls-dr11-north")),
}


def galactic_latitude(ra: float, dec: float) -> float:
    """Degrees, of a position in degrees."""
    pole_ra, pole_dec = math.radians(192.85948), math.radians(27.12825)
    ra, dec = math.radians(ra), math.radians(dec)
    sine = math.sin(dec) * math.sin(pole_dec)
    sine += math.cos(dec) * math.cos(pole_dec) * math.cos(ra - pole_ra)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def shows(layer: Layer, ra: float, dec: float) -> bool:
    """Return True where a layer covers a position: away from the Milky Way, within its Dec."""
    if layer.merges:
        return any(shows(LAYERS[name], ra, dec) for name in layer.merges)
    latitude = galactic_latitude(ra, dec)
    within = layer.dec[0] <= dec <= layer.dec[1]
    return within and (latitude if layer.north else abs(latitude)) > 17


def part_of(name: str, ra: float, dec: float) -> str:
    """The layer that a merged one shows at a position: the north above SPLIT in the north cap."""
    merges = LAYERS[name].merges
    if not merges:
        return name
    return merges[dec >= SPLIT and galactic_latitude(ra, dec) > 0]


# ---- files as the service writes them
@functools.cache
def galaxy(which: int, bands: str, size: int = SIZE, scale: float = SCALE) -> np.ndarray:
    """One of four galaxies with noise: float32 (band, y, x), nanomaggies."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * scale / SCALE
    light = 0.5 * np.exp(-0.5 * (x**2 + (1.5 * y) ** 2) / (6, 10, 16, 25)[which] ** 2)
    noise = np.random.default_rng(which).standard_normal((4, size, size), np.float32)
    colours = dict(zip("griz", zip((0.6, 1.0, 1.1, 1.2), noise, strict=True), strict=True))
    return np.stack([colours[b][0] * light + 0.004 * colours[b][1] for b in bands], dtype=">f4")


def tangent_plane(ra: float, dec: float, scale: float, width: int, height: int) -> fits.Header:
    step = scale / 3600
    return fits.Header([
        ("CTYPE1", "RA---TAN", "TANgent plane"), ("CTYPE2", "DEC--TAN", "TANgent plane"),
        ("CRVAL1", ra, "Reference RA"), ("CRVAL2", dec, "Reference Dec"),
        ("CRPIX1", (width + 1) / 2, "Reference x"), ("CRPIX2", (height + 1) / 2, "Reference y"),
        ("CD1_1", -step, "CD matrix"), ("CD1_2", 0.0, "CD matrix"),
        ("CD2_1", 0.0, "CD matrix"), ("CD2_2", step, "CD matrix"),
        ("IMAGEW", width, "Image width"), ("IMAGEH", height, "Image height"),
    ])  # fmt: skip


def file_of(
    layer: Layer, flux: np.ndarray, ra: float, dec: float, bands: str = "grz",
    scale: float = SCALE, extra: tuple[str, ...] = (),
) -> bytes:  # fmt: skip
    """A file of all bands in one HDU. flux: (band, y, x), nanomaggies; extra: of invvar, maskbits.

    One header block and 3 x 256 x 256 float32 are the 792,000 bytes of the service's own files.
    """
    height, width = flux.shape[1:]
    header = fits.Header()
    header["COMMENT"] = "FITS (Flexible Image Transport System) format is defined in 'Astronomy"
    header["COMMENT"] = "and Astrophysics', volume 376, page 359; bibcode: 2001A&A...376..359H"
    header["SURVEY"], header["VERSION"] = layer.survey, layer.version
    header["IMAGETYP"], header["BANDS"] = layer.imagetyp, bands
    for number, band in enumerate(bands):
        header[f"BAND{number}"] = band
    header.extend(tangent_plane(ra, dec, scale, width, height))
    hdus = fits.HDUList([fits.PrimaryHDU(flux if len(bands) > 1 else flux[0], header)])
    more = {"invvar": np.full_like(hdus[0].data, 0.004**-2),
            "maskbits": np.zeros((height, width), np.int16)}  # fmt: skip
    for kind in extra:
        hdus.append(fits.ImageHDU(more[kind], header))
        hdus[-1].header["IMAGETYP"] = kind.upper()
    return _bytes_of(hdus)


def subimage_of(layer: Layer, flux: np.ndarray, ra: float, dec: float, bands: str) -> bytes:
    """The pixels of a brick as they are: each band an HDU, followed by its inverse variance."""
    height, width = flux.shape[1:]
    words = {"SURVEY": layer.survey, "VERSION": layer.version, "IMAGETYP": "image"}
    hdus = fits.HDUList([fits.PrimaryHDU(header=fits.Header(words))])
    for band, plane in zip(bands, flux, strict=True):
        for kind, pixels in (("image", plane), ("invvar", np.full_like(plane, 0.004**-2))):
            brick = {"BRICK": "1901p012", "BRICK_X0": 2540, "BRICK_Y0": 1880, "BAND": band}
            header = fits.Header(words | {"IMAGETYP": kind} | brick)
            header.extend(tangent_plane(ra, dec, SCALE, width, height))
            hdus.append(fits.ImageHDU(pixels, header))
    return _bytes_of(hdus)


def _bytes_of(hdus: fits.HDUList) -> bytes:
    stream = io.BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()


@functools.cache
def body_of(layer: Layer, which: int = 0) -> bytes:
    """A cutout of g, r, z at (1, 1): 792,000 bytes, made once."""
    return file_of(layer, galaxy(which, "grz"), 1.0, 1.0)


def cutout(body: bytes, ra: float, dec: float) -> bytes:
    """A cutout's bytes with another position in the header."""
    cards = [body[at : at + 80] for at in range(0, _BLOCK, 80)]
    for number, card in enumerate(cards):
        for keyword, value in ((b"CRVAL1", ra), (b"CRVAL2", dec)):
            if card.startswith(keyword):
                cards[number] = f"{keyword.decode():8s}= {value:20.12G}".ljust(80).encode()
    return b"".join(cards) + body[_BLOCK:]


# ---- what goes wrong
def draw(ra: float, dec: float, layer: str, salt: str = "") -> int:
    """A number from 0 to 2**32 that depends on the position and the layer only."""
    return zlib.crc32(f"{ra:.4f} {dec:.4f} {layer} {salt}".encode())


def plan_of(share: float) -> Plan:
    """Each fault on `share` of all positions."""

    def fault(ra: float, dec: float, layer: str) -> str:
        place = draw(ra, dec, layer) / 2**32 / share if share else len(FAULTS)
        return FAULTS[int(place)] if place < len(FAULTS) else ""

    return fault


class CutoutService:
    """share: of positions that get each fault, or `plan`: the fault of each; latency: seconds
    before each answer; retry_after: seconds that a busy service asks for; images: a folder with
    decals/ and bassmzls/ whose pixels are handed out, zeros elsewhere, in place of drawn ones.

    layers: by name, changed by tests that want another service; redirects: of a layer, to
    another layer, or to an address; outside: status of a position outside the footprint.

    zenodo: name -> content of the record's files; checksum: what the record says in place of
    theirs; longer: bytes that it says they have more; ranges: whether it goes on in the middle of
    a file; cut: bytes after which it breaks
    off, as long as this number of times is left in `cuts`.
    """

    def __init__(
        self,
        share: float = 0.0,
        plan: Plan | None = None,
        latency: float = 0.0,
        retry_after: int = 1,
        port: int = 0,
        images: Path | None = None,
    ) -> None:
        self.images = images
        self.plan = plan or plan_of(share)
        self.latency, self.retry_after = latency, retry_after
        self.layers = dict(LAYERS)
        self.redirects: dict[str, str] = {}
        self.outside = 500
        self.asked: Counter[tuple[float, float, str]] = Counter()
        self.answered: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.too_early: list[tuple[float, float]] = []
        self.most_connections = 0
        self.zenodo: dict[str, bytes] = {}
        self.longer = 0
        self.checksum, self.ranges, self.cut, self.cuts = "", True, 10**12, 0
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()
        self.told: dict[tuple[float, float, str], float] = {}
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.service = self
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.address}/viewer/fits-cutout"

    def __enter__(self) -> "CutoutService":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, ra: float, dec: float, layer: str) -> str:
        """Return the planned fault at a position, lasting or passing."""
        return self.plan(round(ra, 4), round(dec, 4), layer)

    def stats(self) -> dict[str, object]:
        with self.lock:
            return {
                "most_connections": self.most_connections,
                "requests": sum(self.asked.values()),
                "cutouts": len(self.asked),
                "answered": dict(self.answered),
                "too_early": len(self.too_early),
                "agents": sorted(self.agents),
                "asked": [[*key, count] for key, count in self.asked.items()],
            }

    def count(self, what: str) -> None:
        with self.lock:
            self.answered[what] += 1

    def forget(self) -> None:
        """Begin to count anew; the faults that have passed do not come back."""
        with self.lock:
            self.most_connections = 0
            self.answered.clear()

    def enter(self, connection: socket.socket) -> None:
        """Count a connection, with those that are open: not closed by the other side."""
        with self.lock:
            self.open = {one for one in self.open if _alive(one)} | {connection}
            self.most_connections = max(self.most_connections, len(self.open))


def _alive(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    service: CutoutService

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed, or cut a connection, are what this is for."""
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def finish(self) -> None:
        with self.server.service.lock:
            self.server.service.open.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if place.path == "/stats":
            self._send(200, json.dumps(self.server.service.stats()).encode())
        elif place.path.startswith("/api/records/"):
            self._record()
        elif place.path.startswith("/records/"):
            self._file(place.path.rsplit("/")[-1])
        else:
            self.server.service.enter(self.connection)
            # &invvar has no value
            self._cutout({key: values[0] for key, values in parse_qs(place.query, True).items()})

    def _cutout(self, query: dict[str, str]) -> None:
        service = self.server.service
        try:
            ra, dec = float(query["ra"]), float(query["dec"])
        except (KeyError, ValueError):
            service.count("bad request")
            self._send(400, b"bad ra or dec")
            return
        layer = query.get("layer", "")
        key = (round(ra, 4), round(dec, 4), layer)
        with service.lock:
            service.asked[key] += 1
            number = service.asked[key]
            service.agents.add(self.headers.get("User-Agent", ""))
            if time.time() < service.told.get(key, 0.0):
                service.too_early.append(key[:2])
        if service.latency:
            time.sleep(service.latency)
        if layer in service.redirects:
            service.count("redirect")
            self._redirect(service.redirects[layer], query)
            return
        fault = "text" if layer not in service.layers else service.fault(*key)
        if fault in TRANSIENT and number > 1 + draw(*key, "times") % 2:
            fault = ""
        if not (fault or service.images or shows(service.layers[layer], ra, dec)):
            fault = "outside"
        body = b"" if fault in ("text", "outside") else self._body(key, query, fault)
        service.count(fault or "good")
        getattr(self, f"_{fault or 'good'}")(key, body)

    def _body(self, key: tuple[float, float, str], query: dict[str, str], fault: str) -> bytes:
        """The file that is asked for: one of four galaxies, or the pixels of `images`."""
        service, name = self.server.service, key[2]
        if fault == "layer":
            swap = {"south": "north", "north": "south"}
            name = "-".join(swap.get(word, word) for word in name.split("-"))
            name = name if name in service.layers else "ls-dr9-north"
        layer = service.layers[name]
        bands = query.get("bands", layer.bands)
        bands = bands if set(bands) <= set(layer.bands) else layer.bands
        size = min(int(query.get("size", SIZE)), LARGEST)
        scale = float(query.get("pixscale", SCALE))
        ra, dec, which = float(query["ra"]), float(query["dec"]), draw(*key, "which") % 4
        extra = tuple(one for one in ("invvar", "maskbits") if one in query)
        plain = (bands, size, scale, extra) == ("grz", SIZE, SCALE, ())
        if plain and not service.images and fault != "zero" and "subimage" not in query:
            return cutout(body_of(layer, which), ra, dec)
        flux = galaxy(which, bands, size, scale)
        if service.images:
            survey = "decals" if part_of(name, ra, dec).endswith("south") else "bassmzls"
            path = service.images / survey / f"{ra:.4f}_{dec:.4f}.fits"
            flux = fits.getdata(path) if path.exists() else np.zeros_like(flux)
        if fault == "zero":
            flux = np.zeros_like(flux)
        if "subimage" in query:
            return subimage_of(layer, flux, ra, dec, bands)
        return file_of(layer, flux, ra, dec, bands, scale, extra)

    def _redirect(self, target: str, query: dict[str, str]) -> None:
        """302 to another layer of this service, or to an address."""
        if "://" not in target:
            target = f"{self.server.service.url}?{urlencode(query | {'layer': target})}"
        self._send(302, b"", (("Location", target),))

    def _send(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # ---- what comes of a request: the good answer, and each fault
    def _good(self, key: tuple, body: bytes) -> None:
        self._send(200, body, (("Content-Type", "image/fits"),))

    def _busy(self, key: tuple, body: bytes) -> None:
        wait = self.server.service.retry_after
        if draw(*key, "date") % 2:
            then = int(time.time()) + 1 + wait  # a date has whole seconds
            value = email.utils.formatdate(then, usegmt=True)
        else:
            then, value = time.time() + wait, str(wait)
        self.server.service.told[key] = then - 0.01
        self._send(429, b"slow down", (("Retry-After", value),))

    def _error(self, key: tuple, body: bytes) -> None:
        self._send(500, b"internal error")

    def _reset(self, key: tuple, body: bytes) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def _stall(self, key: tuple, body: bytes) -> None:
        """A byte now and then, of the body or already of the header, for a minute."""
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n".encode()
        self.close_connection = True
        with contextlib.suppress(OSError):
            body_too = draw(*key, "where") % 2
            self.wfile.write(head + b"\r\n" + body[:100_000] if body_too else head + b"X-Slow: ")
            for _ in range(1200):
                time.sleep(0.05)
                self.wfile.write(b"0")
                if not _alive(self.connection):
                    break

    def _truncate(self, key: tuple, body: bytes) -> None:
        """Half a body, with the length of the whole or without any."""
        told = draw(*key, "told") % 2
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\n{f'Content-Length: {len(body)}' if told else 'X-None: 1'}\r\n\r\n"  # noqa: E501
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(head.encode() + body[: len(body) // 2])

    def _text(self, key: tuple, body: bytes) -> None:
        self._send(200, b"No such layer, or so it seems\n", (("Content-Type", "text/plain"),))

    def _layer(self, key: tuple, body: bytes) -> None:
        self._good(key, body)

    def _zero(self, key: tuple, body: bytes) -> None:
        self._good(key, body)

    def _outside(self, key: tuple, body: bytes) -> None:
        self._send(self.server.service.outside, b"<h1>Server Error (500)</h1>")

    # ---- Zenodo
    def _record(self) -> None:
        service = self.server.service
        files = [
            {
                "key": name,
                "size": len(content) + service.longer,
                "checksum": service.checksum or f"md5:{hashlib.md5(content).hexdigest()}",
            }
            for name, content in service.zenodo.items()
        ]
        self._send(200, json.dumps({"id": 4573248, "files": files}).encode())

    def _file(self, name: str) -> None:
        service = self.server.service
        content = service.zenodo.get(name)
        if content is None:
            self._send(404, b"no such file")
            return
        begin = 0
        if service.ranges and (asked := self.headers.get("Range")):
            begin = int(asked.removeprefix("bytes=").split("-")[0])
        with service.lock:
            service.answered[f"file from {begin}"] += 1
            cut = service.cuts > 0
            service.cuts -= cut
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin : begin + service.cut] if cut else content[begin:])
        self.close_connection = cut


@dataclass(frozen=True)
class Config:
    """A service as a process of its own, until it is killed."""

    share: float = 0.0
    """Of positions that get each of the nine faults."""
    latency: float = 0.0
    """Seconds before each answer."""
    retry_after: int = 1
    """Seconds that a busy service asks for."""


def main(config: Config) -> None:
    with CutoutService(config.share, None, config.latency, config.retry_after) as service:
        print(service.address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config))
