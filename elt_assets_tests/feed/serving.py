"""The feed's server over an installation, in this process, and one that asks it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3

from elt_assets.cli.commands.feed import served
from elt_assets.config.settings import Settings
from elt_assets.feed.listener import listener


@dataclass(frozen=True)
class Answered:
    """A status, headers and a body."""

    status: int
    headers: Any
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def message(self) -> str:
        return str(self.document["error"]["message"])


@dataclass
class Asking:
    """A consumer that pulls."""

    url: str
    token: str | None
    http: urllib3.PoolManager

    def get(self, path: str, **query: Any) -> Answered:
        headers = query.pop("headers", {})
        if self.token is not None:
            headers = {"Authorization": f"Bearer {self.token}"} | headers
        answer = self.http.request(
            "GET", f"{self.url}{path}", fields=query, headers=headers, retries=False
        )
        return Answered(answer.status, answer.headers, answer.data)


@contextmanager
def feed_server(settings: Settings) -> Iterator[str]:
    """The server on a free port; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = listener(served(settings))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
