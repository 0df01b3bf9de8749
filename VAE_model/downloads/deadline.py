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
_watched: set["Watch"] = set()
_watching = threading.Lock()
_watchers: list[threading.Thread] = []
_LOOK = 0.1  # seconds between checks of the watched connections


class Watch:
    """The time limit of this thread's connection, which is cut when the time is over.

    One background thread watches all connections. A socket timeout does not suffice, because it
    restarts with every byte received.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.over = limit, False
        self._place = _thread.__dict__  # of this thread, read by the watching thread
        self.renew()
        with _watching:
            _watched.add(self)
            if not _watchers:
                _watchers.append(threading.Thread(target=_look_after, daemon=True))
                _watchers[0].start()

    def renew(self) -> None:
        """Restart the time limit."""
        self.deadline = time.monotonic() + self.limit

    def end(self) -> None:
        """Stop watching the connection."""
        with _watching:
            _watched.discard(self)

    def cut(self) -> None:
        """Shut the connection down."""
        self.over = True
        if self._place.get("socket") is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._place["socket"], socket.SHUT_RDWR)


def _look_after() -> None:
    while True:
        time.sleep(_LOOK)
        with _watching:
            for watch in _watched:
                if time.monotonic() > watch.deadline:
                    watch.cut()


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _thread.socket = self.sock


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _thread.socket = self.sock


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Adapter(HTTPAdapter):
    """HTTP adapter whose connections another thread can cut."""

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        """Create the pools of connections that can be cut."""
        super().init_poolmanager(*arguments, **keywords)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> urllib3.ProxyManager:
        """Return a proxy manager whose connections can be cut."""
        manager = super().proxy_manager_for(*arguments, **keywords)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
