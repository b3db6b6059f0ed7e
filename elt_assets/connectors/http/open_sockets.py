"""A client's open connections, so that closing the client ends every wait for a response.

A thread that waits for bytes can only be interrupted through its socket. If another thread shuts
the socket down, the wait ends as if the provider had closed the connection.
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
        """Whether `close` was called."""
        return self._closed

    def opened(self, one: socket.socket) -> None:
        """Add a socket. After `close`, it is shut down at once."""
        with self._guard:
            self._sockets.add(one)
            if self._closed:
                shut(one)

    def close(self) -> None:
        """End every wait on these sockets, and on sockets that are added later."""
        with self._guard:
            self._closed = True
            for one in self._sockets:
                shut(one)
