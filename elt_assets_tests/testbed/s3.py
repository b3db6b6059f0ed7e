"""Object storage that speaks S3, on loopback and in memory, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import urllib3
from moto.server import ThreadedMotoServer

_LISTED = "{http://s3.amazonaws.com/doc/2006-03-01/}Key"


@dataclass(frozen=True)
class Storage:
    """A bucket of a running server."""

    endpoint: str
    bucket: str = "lake"
    key_id: str = "the-key-of-tests"
    secret: str = "the-secret-of-tests"

    def names(self) -> list[str]:
        """What is in the bucket."""
        with urlopen(f"{self.endpoint}/{self.bucket}?list-type=2") as answer:
            return [str(found.text) for found in ElementTree.parse(answer).iter(_LISTED)]


@contextmanager
def object_storage() -> Iterator[Storage]:
    """A server with one empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        storage = Storage(f"http://{host}:{port}")
        urlopen(Request(f"{storage.endpoint}/{storage.bucket}", method="PUT")).close()
        yield storage
    finally:
        server.stop()


@dataclass
class BadDays:
    """What lies between a client and its object storage: seconds for each request, and so many of
    the next writes that are refused as overloaded storage does."""

    latency: float = 0.0
    failing: int = 0
    refused: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def refuses(self, method: str) -> bool:
        with self.guard:
            if method != "PUT" or not self.failing:
                return False
            self.failing -= 1
            self.refused += 1
            return True


@contextmanager
def on_bad_days(storage: Storage) -> Iterator[tuple[Storage, BadDays]]:
    """The same storage, reached through a server that is slow and refuses when it is told to."""
    days = BadDays()
    pool = urllib3.PoolManager(retries=False)

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(days.latency)
            if days.refuses(self.command):
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            answer = pool.request(
                self.command,
                storage.endpoint + self.path,
                body=body,
                headers={**self.headers},
                decode_content=False,
            )
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield Storage(f"http://127.0.0.1:{server.server_address[1]}", bucket=storage.bucket), days
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
        pool.clear()
