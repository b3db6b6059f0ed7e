"""Object storage that speaks S3, on loopback and in memory, for tests.

Belongs here: starting and stopping it, and what is in it. Does not: what a test keeps there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import Request, urlopen
from xml.etree import ElementTree

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
