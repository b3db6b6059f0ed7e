"""A foreign server as a process on loopback, and requests to it.

The module starts any server, waits until it answers, and ends it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import urllib3
import yaml

_DOCUMENT = Path(__file__).parents[2] / "docs" / "connectors" / "servers.md"
TOKEN = "t0ken-of-the-foreign-tests"
PATIENCE = 120.0
"""Seconds until a server must answer."""


@dataclass(frozen=True)
class Api:
    """Requests to a server's own API."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed; the document that comes back, if any."""
        sent = None if body is None else json.dumps(body).encode()
        answer = self.pool.request(
            method,
            self.url + path,
            body=sent,
            headers={"Content-Type": "application/json", **self.headers},
            retries=False,
            timeout=60,
        )
        if not 200 <= answer.status < 300:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.data[:500]!r}")
        return json.loads(answer.data) if answer.data else None


class Directory(Protocol):
    """A server's people, changed through its own API."""

    api: Api
    provider: str
    """What kind of integration reads it."""
    listing: str
    """The path of the listing."""
    url: str

    def data(self, url: str) -> dict[str, Any]:
        """The provider_data of somebody who has read the documentation; `url` is the server's."""

    def everybody(self) -> set[str]:
        """The keys of those that a listing has, whom this test did not let join."""

    def join(self, number: int) -> str:
        """Somebody joins; their key."""

    def change(self, key: str, name: str) -> None:
        """Something about somebody changes."""

    def leave(self, key: str) -> None:
        """Somebody leaves."""


def documented(title: str, url: str, **changes: Any) -> dict[str, Any]:
    """The provider_data of that example in the documentation, for the server at `url`."""
    text = _DOCUMENT.read_text(encoding="utf-8").partition(f"#### Example: {title}\n")[2]
    example = text.partition("```yaml\n")[2].partition("```")[0]
    example = re.sub(r"env: \w+", "env: FOREIGN_TOKEN", example)
    data: dict[str, Any] = yaml.safe_load(re.sub(r"https://[^/\s]+", url, example))
    return data | changes


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, answers_at: str, **environment: str
) -> Iterator[None]:
    """Run a server until the block ends; it begins once `answers_at` answers anything."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env={**os.environ, **environment},
        )
    try:
        _wait(process, log, answers_at)
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], log: Path, url: str) -> None:
    until = time.monotonic() + PATIENCE
    with urllib3.PoolManager() as pool:
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the server does not answer: {log.read_text()[-2000:]}")
            try:
                pool.request("GET", url, retries=False, timeout=5)
            except urllib3.exceptions.HTTPError:
                time.sleep(0.1)
            else:
                return
