"""Python starts with this where PYTHONPATH leads here: a process that looks beyond its own
machine ends at once with exit code 97, whatever it would have caught."""

import os
import socket

_HERE = {"localhost", "127.0.0.1", "::1", "", None}


def _only_here(call):
    def guarded(*arguments, **options):
        address = next((a for a in arguments if isinstance(a, tuple | str | bytes)), None)
        if isinstance(address, tuple):
            address = address[0]
        is_local = isinstance(arguments[0], socket.socket) and arguments[0].family == socket.AF_UNIX
        if address not in _HERE and not is_local:
            os.write(2, f"network: {address!r} was asked for\n".encode())
            os._exit(97)
        return call(*arguments, **options)

    return guarded


socket.socket.connect = _only_here(socket.socket.connect)
socket.socket.connect_ex = _only_here(socket.socket.connect_ex)
socket.getaddrinfo = _only_here(socket.getaddrinfo)
