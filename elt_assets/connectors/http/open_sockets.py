"""A client's open connections, so that closing the client ends every wait for a response.

A thread that waits for bytes can only be ended through the network. Shutting its socket down from
another thread looks to it like a provider that closes the connection.
"""

from __future__ import annotations

import socket
import threading
from weakref import WeakSet

from elt_assets.connectors.http.deadline import shut


class OpenSockets:
    """The sockets of one client. Safe to share among threads."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._guard = threading.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing that waits on one of them may go on."""
        return self._closed

    def opened(self, one: socket.socket) -> None:
        """There is one more; it is of no use when all are closed already."""
        with self._guard:
            self._sockets.add(one)
            if self._closed:
                shut(one)

    def close(self) -> None:
        """End whatever waits on any of them, now and from now on."""
        with self._guard:
            self._closed = True
            for one in self._sockets:
                shut(one)
