"""A proxy in front of a directory that counts the pages that a client asks for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PAGED = b"1.2.840.113556.1.4.319"


@contextmanager
def counting_proxy(port: int, before_page: Callable[[int], None]) -> Iterator[int]:
    """Passes everything on to `port`, each request for a page after `before_page(its number)`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads: list[threading.Thread] = []
        open_sockets: list[socket.socket] = []
        pages, counting = 0, threading.Lock()

        def requests(client: socket.socket, server: socket.socket) -> None:
            nonlocal pages
            for received in _received(client):
                if _PAGED in received:
                    with counting:
                        pages += 1
                        before_page(pages)
                server.sendall(received)

        def answers(client: socket.socket, server: socket.socket) -> None:
            for received in _received(server):
                client.sendall(received)

        def passed(
            one: Callable[[socket.socket, socket.socket], None],
            client: socket.socket,
            server: socket.socket,
        ) -> None:
            with suppress(OSError):
                one(client, server)
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def accept() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                server = socket.create_connection(("127.0.0.1", port))
                open_sockets.extend((client, server))
                for one in (requests, answers):
                    threads.append(threading.Thread(target=passed, args=(one, client, server)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for end in open_sockets:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for end in open_sockets:
                end.close()


def _received(end: socket.socket) -> Iterator[bytes]:
    while received := end.recv(1 << 16):
        yield received
