"""A client's open connections, so that closing the client ends what waits for an answer.

Belongs here: knowing them, and ending them from another thread. Does not: requests (http).

A thread that waits for bytes can be ended by nobody but the network: shutting its socket down
is the same to it as a provider that hangs up.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class OpenSockets:
    """The sockets of one client. Safe to share among threads."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._guard = threading.Lock()
        self._closed = False

    def opened(self, one: socket.socket) -> None:
        """There is one more; it is of no use when all are closed already."""
        with self._guard:
            self._sockets.add(one)
            if self._closed:
                _shut(one)

    def close(self) -> None:
        """End whatever waits on any of them, now and from now on."""
        with self._guard:
            self._closed = True
            for one in self._sockets:
                _shut(one)


def pool_of(sockets: OpenSockets, **options: Any) -> urllib3.PoolManager:
    """A pool, made with `options`, whose connections are among `sockets`."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.opened(self.sock)

    class Encrypted(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.opened(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    pool = urllib3.PoolManager(**options)
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}
    return pool


def _shut(one: socket.socket) -> None:
    # Not the method of an encrypted one: it takes the encryption off under the reader's feet.
    with suppress(OSError):
        socket.socket.shutdown(one, socket.SHUT_RDWR)
