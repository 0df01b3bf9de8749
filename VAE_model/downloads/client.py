"""Polite HTTP: few connections, each with a name, a time limit on a whole answer, and back-off.

A service that is busy says so (429, 5xx, Retry-After) or just fails; what may be worth another
try is told apart from what is not. Waits are drawn by "full jitter" (M. Brooker, Exponential
backoff and jitter, AWS Architecture Blog, 2015), so that connections do not come back together.
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
_LONGEST_BACKOFF = 60.0  # seconds that back-off of our own waits at most
_PIECE = 2**20  # bytes read at a time
_MOST_REDIRECTS = 5  # from one address to the next: more is a loop
_KEPT = 2**16  # bytes of a large file read at a time: at most so many are lost in a break
_SEGMENT = 2**22  # bytes of a large file that must come within one time limit
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_BROKEN = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)


class Transient(Exception):
    """An answer that another try may better; the message is `kind: detail`.

    wait: seconds that the service asks for, None where it does not say;
    everyone: whether it asks the other connections too; refused: the service is there, but fails
    on this very request (HTTP 500); tries: how often it was asked, refusals: how often in a row
    it refused at last.
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
    """An answer that another try would not better; the message is `kind: detail`;
    tries: how often it was asked.
    """

    tries = 0


class Stopped(Exception):
    """The whole download is to end; Gate.problem says why."""


@dataclass(frozen=True)
class Manners:
    """tries: of one request, the first among them; backoff: seconds, doubled with each try;
    time_limit: seconds for one whole answer; longest_wait: seconds of Retry-After that are
    waited for, beyond which the download ends; contact: address or page of who asks.
    """

    tries: int = 6
    backoff: float = 1.0
    time_limit: float = 120.0
    longest_wait: float = 600.0
    contact: str = ""

    def user_agent(self) -> str:
        """Raises Problem where the contact does not fit a header."""
        if not (self.contact.isascii() and self.contact.isprintable()):
            raise Problem(f"contact {self.contact!r} does not fit a header: use plain ASCII")
        return f"Galaxy_VAE/{__version__}" + (f" ({self.contact})" if self.contact else "")


class Gate:
    """State that all connections share: the time before which none may ask, and the end."""

    def __init__(self, memory: Path | None = None) -> None:
        """memory: a file that keeps that time, so that a killed run's successor waits for it too
        (seconds since 1970, since another process has another monotonic clock).
        """
        self.problem: BaseException | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._memory = memory
        self._opens = time.monotonic() + (self._remembered() - time.time())

    def hold(self, seconds: float) -> None:
        """No connection asks again within `seconds`."""
        with self._lock:
            self._opens = max(self._opens, time.monotonic() + seconds)
            if self._memory:
                write_text(self._memory, f"{time.time() + self.closed_for():.3f}\n")

    def closed_for(self) -> float:
        """Seconds until the gate opens; negative where it is open."""
        return self._opens - time.monotonic()

    def _remembered(self) -> float:
        try:
            return float(self._memory.read_text()) if self._memory else 0.0
        except (OSError, ValueError):
            return 0.0

    def wait(self, seconds: float = 0.0) -> None:
        """Wait `seconds`, and until the gate is open. Raises Stopped where all is to end."""
        until = time.monotonic() + seconds
        while (left := max(until, self._opens) - time.monotonic()) > 0:
            if self._stopped.wait(left):
                break
        if self._stopped.is_set():
            raise Stopped

    def stop(self, problem: BaseException | None = None) -> None:
        """End it all; the first problem counts."""
        with self._lock:
            self.problem = self.problem or problem
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()


class Client:
    """One connection to a service, for one thread."""

    def __init__(self, manners: Manners, gate: Gate) -> None:
        self.manners, self.gate = manners, gate
        self.came_from = ""  # the address of the last answer, behind redirects
        self._session = requests.Session()
        self._session.max_redirects = _MOST_REDIRECTS
        self._session.headers["User-Agent"] = manners.user_agent()
        self._session.headers["Accept-Encoding"] = "identity"
        adapter = Adapter(pool_connections=1, pool_maxsize=1)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        self._session.close()

    def get(self, url: str, most_bytes: int) -> bytes:
        """The body of an answer, asked for once.

        Raises Transient or Permanent; Permanent where it has more than `most_bytes` bytes.
        """
        with self._answer(url, {}) as (response, _):
            self.came_from = response.url
            _check_status(response)
            pieces, length = [], 0
            for piece in response.iter_content(_PIECE):
                pieces.append(piece)
                length += len(piece)
                if length > most_bytes:
                    raise Permanent(f"too large: more than {most_bytes:,} bytes")
            return b"".join(pieces)

    def persist(
        self, ask: Callable[[], Answer], most: int | None = None, most_refusals: int | None = None
    ) -> tuple[Answer, int]:
        """Return what `ask` returns, tried again where it raises Transient, and how often it was.

        most: tries in place of the manners'; most_refusals: in a row after which no try follows.
        Raises the last Transient (with .tries) where no try helped, Permanent at once (with
        .tries), Stopped where the download ends meanwhile.
        """
        tries, refusals = min(self.manners.tries, most or self.manners.tries), 0
        for number in range(1, tries + 1):
            self.gate.wait()
            try:
                return ask(), number
            except Permanent as refusal:
                refusal.tries = number
                raise
            except Transient as hiccup:
                refusals = refusals + 1 if hiccup.refused else 0
                hiccup.tries, hiccup.refusals = number, refusals
                wait = self._wait(hiccup, number)
                if hiccup.everyone:
                    self.gate.hold(wait)
                if number == tries or refusals == most_refusals:
                    raise
            self.gate.wait(wait)
        raise AssertionError("manners.tries is less than one")

    def save(self, url: str, part: Path, size: int, progress: Callable[[int], object]) -> None:
        """Bring a large file to `part`, going on after the bytes that are there already.

        size: bytes of the whole file; progress: called with the bytes that are there.
        A server that does not know Range starts from the beginning. Tries are counted anew after
        each that brought something. Raises Transient, Permanent, Stopped as `persist` does.
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
                    raise Permanent(f"truncated: {_size(part):,} bytes and no more, not {size:,}")

    def _save(self, url: str, part: Path, size: int, progress: Callable[[int], object]) -> None:
        have = _size(part)
        with self._answer(url, {"Range": f"bytes={have}-"} if have else {}) as (response, renew):
            if response.status_code == 416:  # there is nothing after what we have
                part.unlink(missing_ok=True)
                raise Transient("HTTP 416: the part that was there is of another file")
            _check_status(response)
            goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            goes_on = goes_on and response.status_code == 206
            since = 0
            with open(part, "ab" if goes_on else "wb") as stream:
                for piece in response.iter_content(_KEPT):
                    stream.write(piece)
                    progress(stream.tell())
                    if stream.tell() > size:
                        raise Permanent(f"too large: more than {size:,} bytes")
                    since += len(piece)
                    if since >= _SEGMENT:
                        renew()
                        since = 0

    @contextmanager
    def _answer(
        self, url: str, headers: dict[str, str]
    ) -> Iterator[tuple[requests.Response, Callable[[], None]]]:
        """An answer whose body is still to be read, and what gives it another time limit.

        When the time is over the connection is cut, whatever the server trickles meanwhile.
        Whatever breaks becomes Transient.
        """
        limit = self.manners.time_limit
        watch = Watch(limit)
        try:
            timeout = (min(_CONNECT, limit), limit)
            with self._session.get(url, headers=headers, stream=True, timeout=timeout) as response:
                yield response, watch.renew
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema,
                requests.exceptions.MissingSchema) as error:  # fmt: skip
            if url not in str(error):
                raise Permanent(
                    f"redirect: it leads to no address that is known: {error}"
                ) from None
            raise Problem(f"{url} is no address: {error}") from None
        except requests.TooManyRedirects:
            raise Permanent(f"redirect: more than {_MOST_REDIRECTS}, one after the other") from None
        except (*_BROKEN, ValueError, AttributeError) as error:
            # A socket that is cut under a reader raises nearly anything.
            if watch.over or isinstance(error, requests.Timeout):
                raise Transient(f"time limit: no whole answer within {limit:g} s") from None
            if not isinstance(error, _BROKEN) or getattr(error, "errno", None) in _OF_THE_DISK:
                raise
            raise Transient(_words(error)) from None
        finally:
            watch.end()

    def _wait(self, hiccup: Transient, number: int) -> float:
        """Seconds until the next try. Raises Stopped where the service asks for too many."""
        longest = min(_LONGEST_BACKOFF, self.manners.backoff * 2 ** (number - 1))
        jitter = random.uniform(0, longest)
        if hiccup.wait is None:
            return jitter
        if hiccup.wait > self.manners.longest_wait:
            self.gate.hold(hiccup.wait)
            self.gate.stop(come_back(hiccup.wait, str(hiccup)))
            raise Stopped
        return hiccup.wait + min(jitter, self.manners.backoff)


def come_back(seconds: float, why: str) -> Problem:
    """The word that ends a download whose service asks for a longer wait than is waited for."""
    asked = f"the service asks to come back in {seconds:,.0f} s ({why})"
    return Problem(f"{asked}: give the same command then, it goes on")


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status < 300:
        return
    reason = f"HTTP {status}: {http.client.responses.get(status, 'unknown')}"
    if status in (408, 425, 429) or status >= 500:
        wait = retry_after(response.headers.get("Retry-After"))
        raise Transient(
            reason,
            wait,
            everyone=status == 429 or wait is not None,
            refused=status == 500 and wait is None,
        )
    raise Permanent(reason)


def retry_after(value: str | None) -> float | None:
    """Seconds from now that a Retry-After header asks for: a number of them, or an HTTP date.

    None where there is no such header, or one that says neither (RFC 9110, section 10.2.3).
    """
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d*)?\s*", value):
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return max(0.0, then - time.time())


def _words(error: BaseException) -> str:
    """`connection: what`, from the innermost error that says something."""
    seen: list[BaseException] = [error]
    while (inside := seen[-1].__cause__ or seen[-1].__context__) and inside not in seen:
        seen.append(inside)
    for one in seen:
        if isinstance(one, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
            partial = one.partial or 0  # http.client keeps the bytes, urllib3 their number
            count = len(partial) if isinstance(partial, bytes) else partial
            return f"truncated: the connection ended after {count:,} bytes"
    said = [one.strerror for one in seen if isinstance(one, OSError) and one.strerror]
    last = str(seen[-1]).splitlines()
    return f"connection: {said[-1] if said else (last[0] if last else type(seen[-1]).__name__)}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
