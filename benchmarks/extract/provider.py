"""A directory of generated users behind every type of pagination, as fast as Python serves it.

The server is a process of its own that all contenders read. It encodes its records once, when it
starts, so that the benchmark measures the readers and not the server.

    python -m benchmarks.extract.provider USERS LATENCY_MS     (prints its port)
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import urllib3

TOKEN = "benchmark-token"

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def user(number: int, edition: int = 0) -> dict[str, Any]:
    """A user as identity providers send one, some 330 bytes of JSON.

    In edition 1 one in a hundred has another title than in edition 0.
    """
    return {
        "id": f"00u{number:017d}",
        "status": "SUSPENDED" if number % 20 == 0 else "ACTIVE",
        "created": "2024-03-01T08:30:00.000Z",
        "lastUpdated": f"2026-01-{number % 28 + 1:02d}T08:{number % 60:02d}:00.000Z",
        "profile": {
            "login": f"user{number}@company.example",
            "email": f"user{number}@company.example",
            "displayName": f"Given{number} Family{number}",
            "department": f"Department {number % 40}",
            "title": f"Title {number % 200 + (edition if number % 100 == 7 else 0)}",
        },
    }


class Directory:
    """The ASGI application at `/{pagination}?size=…`, with that type's own parameters."""

    def __init__(self, users: int, latency: float) -> None:
        self._records = [json.dumps(user(number)).encode() for number in range(users)]
        self._edition = 0
        self._latency = latency
        self.url = ""

    async def __call__(self, scope: Scope, receive: object, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        query = dict(parse_qsl(scope["query_string"].decode()))
        if self._latency:
            await asyncio.sleep(self._latency)
        headers, body = self._answer(scope["path"].strip("/"), query)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *headers,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, kind: str, query: dict[str, str]) -> tuple[list[tuple[bytes, bytes]], bytes]:
        if kind == "edition":
            self._edit(int(query["number"]))
            return [], b"{}"
        size, total = int(query["size"]), min(int(query["of"]), len(self._records))
        start = {
            "page": lambda: (int(query.get("page", "1")) - 1) * size,
            "scim": lambda: int(query.get("startIndex", "1")) - 1,
            "offset": lambda: int(query.get("offset", "0")),
        }.get(kind, lambda: int(query.get("after", "0")))()
        end = min(start + size, total)
        records = b"[" + b",".join(self._records[start:end]) + b"]"
        following = f"{self.url}/{kind}?size={size}&of={total}&after={end}" if end < total else None
        match kind:
            case "link_header":
                link = f'<{following}>; rel="next"'.encode()
                return ([(b"link", link)] if following else []), records
            case "next_url":
                return [], b'{"items":%b,"next":%b}' % (records, json.dumps(following).encode())
            case "cursor":
                token = json.dumps(str(end) if following else None).encode()
                return [], b'{"items":%b,"next":%b}' % (records, token)
            case "scim":
                return [], b'{"totalResults":%d,"Resources":%b}' % (total, records)
            case "offset":
                return [], b'{"total":%d,"items":%b}' % (total, records)
        return [], b'{"items":%b}' % records

    def _edit(self, edition: int) -> None:
        if edition != self._edition:
            for number in range(len(self._records)):
                if number % 100 == 7:
                    self._records[number] = json.dumps(user(number, edition)).encode()
        self._edition = edition


def set_edition(url: str, edition: int) -> None:
    """Have the server at `url` serve this edition of its users from now on."""
    urllib3.request("GET", f"{url}/edition", fields={"number": str(edition)})


@contextmanager
def serving(users: int, latency_ms: int) -> Iterator[str]:
    """Run the server as a process during the block; yield its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.extract.provider", str(users), str(latency_ms)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def main() -> None:
    """Serve until the process is stopped."""
    import uvicorn

    directory = Directory(int(sys.argv[1]), int(sys.argv[2]) / 1000)
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        port = listening.getsockname()[1]
        directory.url = f"http://127.0.0.1:{port}"
        # The socket listens already: a client that connects now waits until the server runs.
        print(port, flush=True)
        config = uvicorn.Config(directory, log_level="error", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
