"""HTTP client that spares the service: few connections, identification, time limits, back-off.

A busy service says so (429, 5xx, Retry-After) or just fails; errors that another try may resolve
are Transient, all others Permanent. Waiting times follow "full jitter" (M. Brooker, Exponential
backoff and jitter, AWS Architecture Blog, 2015), so that connections do not return all at once.
"""

import email.utils
import errno
import http.client
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import requests
import urllib3

from VAE_model import __version__
from VAE_model.downloads.deadline import Adapter, Watch
from VAE_model.pipeline.files import write_text
from VAE_model.pipeline.problem import Problem

Answer = TypeVar("Answer")

_CONNECT = 10.0  # seconds to wait for a connection
_LONGEST_BACKOFF = 60.0  # seconds, unless the service asks for more
_PIECE = 2**16  # bytes read at a time: at most so many of a large file are lost in a break
_MOST_REDIRECTS = 5
_SEGMENT = 2**22  # bytes of a large file that must arrive within one time limit
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_BROKEN = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)


class Transient(Exception):
    """A failure that another try may resolve; the message is `kind: detail`.

    wait: seconds that the service asks for, None if it does not say;
    everyone: True if the other connections must wait too; refused: True if the service responds
    but fails on this request (HTTP 500); tries: number of requests; refusals: number of
    consecutive refusals at the end.
    """

    tries = refusals = 0

    def __init__(
        self,
        reason: str,
        wait: float | None = None,
        everyone: bool = False,
        refused: bool = False,
    ) -> None:
        super().__init__(reason)
        self.wait, self.everyone, self.refused = wait, everyone, refused


class Permanent(Exception):
    """A failure that another try would not resolve; the message is `kind: detail`.

    tries: number of requests.
    """

    tries = 0


class Stopped(Exception):
    """The whole download must end; Gate.problem is the reason."""


@dataclass(frozen=True)
class Manners:
    """Limits and identification of requests.

    tries: of one request, including the first; backoff: seconds, doubled with each try;
    time_limit: seconds for one whole response; longest_wait: longest accepted Retry-After in
    seconds, beyond which the download ends; contact: e-mail address or web page of the user.
    """

    tries: int = 6
    backoff: float = 1.0
    time_limit: float = 120.0
    longest_wait: float = 600.0
    contact: str = ""

    def user_agent(self) -> str:
        """Return the User-Agent header. Raises Problem if the contact does not fit a header."""
        if not (self.contact.isascii() and self.contact.isprintable()):
            raise Problem(f"contact {self.contact!r} does not fit a header: use plain ASCII")
        return f"Galaxy_VAE/{__version__}" + (f" ({self.contact})" if self.contact else "")


class Gate:
    """State shared by all connections: the time before which none may send a request, and the end.

    memory: a file that stores this time (seconds since 1970), so that the next run keeps to it.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self.problem: BaseException | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._memory = memory
        try:
            remembered = float(memory.read_text()) if memory else 0.0
        except (OSError, ValueError):
            remembered = 0.0
        self._opens = time.monotonic() + (remembered - time.time())

    def hold(self, seconds: float) -> None:
        """Forbid requests on any connection for `seconds`."""
        with self._lock:
            self._opens = max(self._opens, time.monotonic() + seconds)
            if self._memory:
                write_text(self._memory, f"{time.time() + self.closed_for():.3f}\n")

    def closed_for(self) -> float:
        """Return the seconds until requests are allowed; negative if they are."""
        return self._opens - time.monotonic()

    def wait(self, seconds: float = 0.0) -> None:
        """Wait `seconds`, and until requests are allowed. Raises Stopped if the download ends."""
        until = time.monotonic() + seconds
        while (left := max(until, self._opens) - time.monotonic()) > 0:
            if self._stopped.wait(left):
                break
        if self.stopped:
            raise Stopped

    def stop(self, problem: BaseException | None = None) -> None:
        """End the download; of several problems the first is kept."""
        with self._lock:
            self.problem = self.problem or problem
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """True if the download must end."""
        return self._stopped.is_set()


class Client:
    """One connection to a service, for one thread."""

    def __init__(self, manners: Manners, gate: Gate) -> None:
        self.manners, self.gate = manners, gate
        self.came_from = ""  # the address of the last response, after redirects
        self._session = requests.Session()
        self._session.max_redirects = _MOST_REDIRECTS
        self._session.headers["User-Agent"] = manners.user_agent()
        self._session.headers["Accept-Encoding"] = "identity"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Adapter(pool_connections=1, pool_maxsize=1))

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def get(self, url: str, most_bytes: int) -> bytes:
        """Return the body of the response to a single request.

        Raises Transient or Permanent; Permanent if it has more than `most_bytes` bytes.
        """
        body = bytearray()
        with self._answer(url) as (response, _):
            self.came_from = response.url
            _check_status(response)
            for piece in response.iter_content(_PIECE):
                body += piece
                if len(body) > most_bytes:
                    raise Permanent(f"too large: more than {most_bytes:,} bytes")
        return bytes(body)

    def persist(
        self, ask: Callable[[], Answer], most: int | None = None, most_refusals: int | None = None
    ) -> tuple[Answer, int]:
        """Return the result of `ask`, repeated while it raises Transient, and the number of tries.

        most: tries instead of the manners'; most_refusals: consecutive refusals after which no
        try follows. Raises the last Transient (with .tries) if no try succeeds, Permanent at once
        (with .tries), Stopped if the download ends meanwhile.
        """
        tries, refusals = min(self.manners.tries, most or self.manners.tries), 0
        for number in range(1, tries + 1):
            self.gate.wait()
            try:
                return ask(), number
            except Permanent as refusal:
                refusal.tries = number
                raise
            except Transient as failure:
                refusals = refusals + 1 if failure.refused else 0
                failure.tries, failure.refusals = number, refusals
                wait = self._wait(failure, number)
                if failure.everyone:
                    self.gate.hold(wait)
                if number == tries or refusals == most_refusals:
                    raise
            self.gate.wait(wait)
        raise AssertionError("manners.tries is less than one")

    def save(self, url: str, part: Path, size: int, progress: Callable[[int], object]) -> None:
        """Download a large file to `part`, resuming after the bytes that are already there.

        size: bytes of the whole file; progress: called with the number of bytes there. A server
        without Range support starts from the beginning. The count of tries restarts after each
        try that received data. Raises Transient, Permanent, Stopped as `persist` does.
        """
        while (before := _size(part)) != size:
            if before > size:
                part.unlink()
            try:
                self.persist(lambda: self._save(url, part, size, progress))
            except Transient:
                if _size(part) <= before:
                    raise
            else:
                if _size(part) < size:
                    raise Permanent(f"truncated: only {_size(part):,} of {size:,} bytes")

    def _save(self, url: str, part: Path, size: int, progress: Callable[[int], object]) -> None:
        have = _size(part)
        with self._answer(url, {"Range": f"bytes={have}-"} if have else {}) as (response, watch):
            if response.status_code == 416:  # no data beyond those in `part`
                part.unlink(missing_ok=True)
                raise Transient("HTTP 416: the partial file belongs to another file")
            _check_status(response)
            resumes = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            resumes = resumes and response.status_code == 206
            with open(part, "ab" if resumes else "wb") as stream:
                for piece in response.iter_content(_PIECE):
                    stream.write(piece)
                    at = stream.tell()
                    progress(at)
                    if at > size:
                        raise Permanent(f"too large: more than {size:,} bytes")
                    if at // _SEGMENT > (at - len(piece)) // _SEGMENT:
                        watch.renew()

    @contextmanager
    def _answer(
        self, url: str, headers: dict[str, str] | None = None
    ) -> Iterator[tuple[requests.Response, Watch]]:
        """Yield a response whose body is yet to be read, and the watch of its time limit.

        The connection is cut when the time is over. Any failure of the connection becomes
        Transient.
        """
        limit = self.manners.time_limit
        watch = Watch(limit)
        try:
            timeout = (min(_CONNECT, limit), limit)
            with self._session.get(url, headers=headers, stream=True, timeout=timeout) as response:
                yield response, watch
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema,
                requests.exceptions.MissingSchema) as error:  # fmt: skip
            if url not in str(error):
                raise Permanent(f"redirect: not to a valid address: {error}") from None
            raise Problem(f"{url} is not a valid address: {error}") from None
        except requests.TooManyRedirects:
            raise Permanent(f"redirect: more than {_MOST_REDIRECTS} in a row") from None
        except (*_BROKEN, ValueError, AttributeError) as error:
            # Reading from a socket that was cut can raise almost any exception.
            if watch.over or isinstance(error, requests.Timeout):
                raise Transient(f"time limit: no complete response within {limit:g} s") from None
            if not isinstance(error, _BROKEN) or getattr(error, "errno", None) in _OF_THE_DISK:
                raise
            raise Transient(_reason(error)) from None
        finally:
            watch.end()

    def _wait(self, failure: Transient, number: int) -> float:
        """Return the seconds until the next try. Raises Stopped if the service asks for more."""
        longest = min(_LONGEST_BACKOFF, self.manners.backoff * 2 ** (number - 1))
        jitter = random.uniform(0, longest)
        if failure.wait is None:
            return jitter
        if failure.wait > self.manners.longest_wait:
            self.gate.hold(failure.wait)
            self.gate.stop(come_back(failure.wait, str(failure)))
            raise Stopped
        return failure.wait + min(jitter, self.manners.backoff)


def come_back(seconds: float, why: str) -> Problem:
    """Return the Problem that ends a download whose service asks for too long a wait."""
    asked = f"the service asks to come back in {seconds:,.0f} s ({why})"
    return Problem(f"{asked}: run the same command then, it resumes")


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status < 300:
        return
    reason = f"HTTP {status}: {http.client.responses.get(status, 'unknown')}"
    if status not in (408, 425, 429) and status < 500:
        raise Permanent(reason)
    wait = retry_after(response.headers.get("Retry-After"))
    everyone, refused = status == 429 or wait is not None, status == 500 and wait is None
    raise Transient(reason, wait, everyone, refused)


def retry_after(value: str | None) -> float | None:
    """Return the seconds to wait by a Retry-After header: a number of seconds or an HTTP date.

    None if the header is missing or invalid (RFC 9110, section 10.2.3).
    """
    if re.fullmatch(r"\s*\d{1,9}(\.\d*)?\s*", value or ""):
        return float(value or 0)
    try:
        then = email.utils.parsedate_to_datetime(value or "").timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return max(0.0, then - time.time())


def _reason(error: BaseException) -> str:
    """Return `connection: detail`, from the innermost error that has a message."""
    chain: list[BaseException] = [error]
    while (inside := chain[-1].__cause__ or chain[-1].__context__) and inside not in chain:
        chain.append(inside)
    for one in chain:
        if isinstance(one, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
            partial = one.partial or 0  # http.client keeps the bytes, urllib3 their number
            count = len(partial) if isinstance(partial, bytes) else partial
            return f"truncated: the connection ended after {count:,} bytes"
    words = [one.strerror for one in chain if isinstance(one, OSError) and one.strerror]
    last = str(chain[-1]).splitlines()
    return f"connection: {words[-1] if words else (last[0] if last else type(chain[-1]).__name__)}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
