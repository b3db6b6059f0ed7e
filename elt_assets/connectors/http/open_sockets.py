"""A client's open connections, so that closing the client ends what waits for an answer.

Belongs here: knowing them, and ending them from another thread. Does not: requests (wire).

A thread that waits for bytes can be ended by nobody but the network: shutting its socket down
is the same to it as a provider that hangs up.
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
