"""A proxy on loopback that lets the world change between two pages of a listing.

The changes are made in `world`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import urllib3

_NOT_PASSED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@contextmanager
def between(server: str, listing: str, after_page: Callable[[], None]) -> Iterator[str]:
    """The address of a proxy of `server`; `after_page` runs before a page is passed on."""
    pool = urllib3.PoolManager()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            # The host stays the proxy's: servers make the address of the next page of it.
            answer = pool.request(
                "GET",
                server + self.path,
                headers=dict(self.headers),
                retries=False,
                redirect=False,
                decode_content=False,
            )
            if urlsplit(self.path).path == listing and answer.status in (200, 304):
                after_page()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _NOT_PASSED:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
        pool.clear()
