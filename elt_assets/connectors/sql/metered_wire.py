"""A relay between a driver and a server that counts what the server sends.

libpq reads a row of a gigabyte into memory before the caller gets any of it, and waits without
limit for a server that sends slowly. It therefore connects to a port of this relay, which can end
the connection. TLS passes through unchanged, so the driver verifies the server's own certificate.

The limit is set in `postgresql_reader`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from elt_assets.connectors.http.deadline import Deadline, shut
from elt_assets.errors import ProviderUnavailable

_PART = 1 << 16


class MeteredWire:
    """Relays connections, one after the other, from a port on loopback to a server.

    The relay ends a connection when the server exceeds its room, and at the deadline.
    """

    def __init__(self, connect: Callable[[Deadline], socket.socket]) -> None:
        self.overrun = False
        """Whether the server has sent more bytes than its room."""
        self.failure: ProviderUnavailable | None = None
        """Why the server could not be reached."""
        self._connect = connect
        self._room = 0
        self._closed = False
        self._deadline: Deadline | None = None
        self._server: socket.socket | None = None
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="sql wire", daemon=True)
        self._thread.start()

    @contextmanager
    def hold(self, room: int, deadline: Deadline) -> Iterator[None]:
        """Let the server send `room` bytes within this context, until `deadline`."""
        with self._lock:
            self._room, self._deadline = room, deadline
            if self._server is not None:
                deadline.watch(self._server)
        try:
            yield
        finally:
            with self._lock:
                self._deadline = None

    def close(self) -> None:
        """End the connection and the thread."""
        with self._lock:
            self._closed = True
            shut(self._listening)
            if self._server is not None:
                shut(self._server)
        self._thread.join()
        self._listening.close()

    def _accept(self) -> None:
        # The driver opens two connections: one to query the server's types, then one for use.
        with suppress(OSError):
            while True:
                driver, _ = self._listening.accept()
                deadline = self._deadline
                if deadline is None:
                    driver.close()
                    continue
                with driver:
                    try:
                        server = self._connect(deadline)
                    except ProviderUnavailable as error:
                        self.failure = error
                        continue
                    with server:
                        self._relay(driver, server)

    def _relay(self, driver: socket.socket, server: socket.socket) -> None:
        driver.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.settimeout(None)
        with self._lock:
            self._server = server
            if self._closed:
                shut(server)
            if self._deadline is not None:
                self._deadline.watch(server)
        answers = threading.Thread(
            target=self._answers, args=(driver, server), name="sql wire", daemon=True
        )
        answers.start()
        with suppress(OSError):
            while part := driver.recv(_PART):
                server.sendall(part)
        with self._lock:
            self._server = None
        shut(server)
        answers.join()

    def _answers(self, driver: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while part := server.recv(_PART):
                self._room -= len(part)
                if self._room < 0:
                    self.overrun = True
                    break
                driver.sendall(part)
        shut(server)
        shut(driver)
