"""A time limit on a whole HTTP response: the connection is cut when the time is over."""

import contextlib
import socket
import threading
import time
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

_thread = threading.local()  # .socket: the socket of this thread's connection
_LOOK = 0.1  # seconds between checks, at least


class Watch:
    """The time limit of this thread's connection, which another thread cuts when it is over.

    A socket timeout does not suffice, because it restarts with every byte received.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.over = limit, False
        self._own = _thread.__dict__  # of this thread, read by the watching one
        self._ended = threading.Event()
        self.renew()
        threading.Thread(target=self._look_after, daemon=True).start()

    def renew(self) -> None:
        """Restart the time limit."""
        self._deadline = time.monotonic() + self.limit

    def end(self) -> None:
        """Stop watching the connection."""
        self._ended.set()

    def _look_after(self) -> None:
        while not self._ended.wait(max(self._deadline - time.monotonic(), _LOOK)):
            if time.monotonic() > self._deadline:
                self.over = True
                with contextlib.suppress(KeyError, AttributeError, OSError):  # not connected yet
                    socket.socket.shutdown(self._own["socket"], socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    def request(self, *arguments: Any, **keywords: Any) -> None:
        super().request(*arguments, **keywords)
        _thread.socket = self.sock


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class Adapter(HTTPAdapter):
    """HTTP adapter whose connections another thread can cut."""

    def get_connection_with_tls_context(
        self, *arguments: Any, **keywords: Any
    ) -> urllib3.HTTPConnectionPool:
        """Return the pool of connections for a request, of connections that can be cut."""
        pool = super().get_connection_with_tls_context(*arguments, **keywords)
        secure = isinstance(pool, urllib3.HTTPSConnectionPool)
        pool.ConnectionCls = _SecureConnection if secure else _Connection
        return pool
