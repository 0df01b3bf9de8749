"""A stand-in of the public services on this machine: cutouts, and the catalogue of Zenodo.

A real HTTP server that hands out cheap cutouts (a few images, the header of the position asked
for) and misbehaves by a plan that depends on the position alone: some faults pass after a try or
two, others never do. It counts the connections that are open at once, and every request.

    with CutoutService(share=0.05) as service:
        ... --service {service.url} --zenodo {service.address}
    service.most_connections, service.asked

As a process of its own, so that it does not share the interpreter with who fetches:

    python tests/cutout_service.py --share 0.05      # prints its address; /stats says the counts
"""

import contextlib
import email.utils
import hashlib
import json
import socket
import struct
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

from VAE_model.cutout_writer import write_cutout
from VAE_model.cutouts import SIZE

TRANSIENT = ("busy", "error", "reset", "stall", "truncate")
PERMANENT = ("text", "layer", "zero")
FAULTS = TRANSIENT + PERMANENT
VERSIONS = {"ls-dr9-south": "DR9-south", "ls-dr9-north": "DR9-north"}

Plan = Callable[[float, float, str], str]  # ra, dec, layer -> one of FAULTS, or ""
_BLOCK = 2880


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
    decals/ and bassmzls/ whose files are handed out, zeros elsewhere, in place of drawn ones.

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
        self.bodies = {layer: _bodies(version) for layer, version in VERSIONS.items()}
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
        """What goes wrong at a position whenever it is asked, or at first: the plan."""
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


def _bodies(version: str) -> list[bytes]:
    """A few cutouts of a survey as the service's files, 792,000 bytes each."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for width in (6, 10, 16, 25):
            light = 0.5 * np.exp(-0.5 * (x**2 + (1.5 * y) ** 2) / width**2)
            flux = light + 0.004 * rng.standard_normal((3, SIZE, SIZE), np.float32)
            path = Path(folder) / f"{width}.fits"
            write_cutout(path, flux, 1.0, 1.0, version)
            made.append(path.read_bytes())
    return made


def cutout(body: bytes, ra: float, dec: float) -> bytes:
    """A cutout's bytes with another position in the header."""
    cards = [body[at : at + 80] for at in range(0, _BLOCK, 80)]
    for number, card in enumerate(cards):
        for keyword, value in ((b"CRVAL1", ra), (b"CRVAL2", dec)):
            if card.startswith(keyword):
                cards[number] = f"{keyword.decode():8s}= {value:20.12G}".ljust(80).encode()
    return b"".join(cards) + body[_BLOCK:]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    service: CutoutService

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed, or cut a connection, are what this is for."""


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
            query = parse_qs(place.query)
            self._cutout(float(query["ra"][0]), float(query["dec"][0]), query["layer"][0])

    def _cutout(self, ra: float, dec: float, layer: str) -> None:
        service = self.server.service
        key = (round(ra, 4), round(dec, 4), layer)
        with service.lock:
            service.asked[key] += 1
            number = service.asked[key]
            service.agents.add(self.headers.get("User-Agent", ""))
            if time.time() < service.told.get(key, 0.0):
                service.too_early.append(key[:2])
        if service.latency:
            time.sleep(service.latency)
        fault = service.fault(*key) if layer in VERSIONS else "text"
        if fault in TRANSIENT and number > 1 + draw(*key, "times") % 2:
            fault = ""
        body = cutout(service.bodies.get(layer, [b""])[draw(*key, "which") % 4], ra, dec)
        if service.images and layer in VERSIONS:
            survey = "decals" if VERSIONS[layer] == "DR9-south" else "bassmzls"
            path = service.images / survey / f"{ra:.4f}_{dec:.4f}.fits"
            fault = fault if path.exists() else "zero"
            body = path.read_bytes() if path.exists() else body
        with service.lock:
            service.answered[fault or "good"] += 1
        getattr(self, f"_{fault or 'good'}")(key, body)

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
        wrong = {"ls-dr9-south": b"DR9-north", "ls-dr9-north": b"DR9-south"}[key[2]]
        right = VERSIONS[key[2]].encode()
        self._good(key, body[:_BLOCK].replace(right, wrong) + body[_BLOCK:])

    def _zero(self, key: tuple, body: bytes) -> None:
        self._good(key, body[:_BLOCK] + bytes(len(body) - _BLOCK))

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
    """Of positions that get each of the eight faults."""
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
