"""A provider on loopback that answers over real HTTP as a test defines, and builders of answers."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    number: int
    method: str = "GET"
    body: bytes = b""

    @property
    def form(self) -> dict[str, str]:
        """The body of a form."""
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True)
class Reply:
    """An answer. `raw` replaces everything and ends the connection, for answers that are wrong."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: Iterable[bytes] | None = None


Answer = Callable[[Asked], Reply]


def as_json(value: object, status: int = 200, **headers: str) -> Reply:
    """A JSON answer; `retry_after="1"` becomes the header Retry-After."""
    named = {name.replace("_", "-").title(): text for name, text in headers.items()}
    body = json.dumps(value).encode()
    return Reply(body, status, {"Content-Type": "application/json", **named})


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that were killed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Provider:
    """Serves `answer` on a free port; every request is kept in `asked`."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer: Answer = answer or (lambda _: Reply(status=404))
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                provider._count(1)

            def finish(self) -> None:
                provider._count(-1)
                super().finish()

            def do_GET(self) -> None:
                provider._handle(self)

            def do_POST(self) -> None:
                provider._handle(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._connections = 0
        self._counting = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.connected: Callable[[ssl.SSLSocket], None] = lambda _: None
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def wait_until_all_are_gone(self) -> None:
        """Wait until no client is connected: what a dead one has sent is answered by then."""
        with self._counting:
            self._counting.wait_for(lambda: self._connections == 0)

    def _count(self, change: int) -> None:
        with self._counting:
            self._connections += change
            self._counting.notify_all()

    def encrypt(self, context: ssl.SSLContext) -> None:
        """From now on speak TLS; `connected` sees each connection at its first request."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        # A connection that is refused is no error of the test.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]

    def __enter__(self) -> Provider:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        if isinstance(handler.connection, ssl.SSLSocket):
            self.connected(handler.connection)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            asked = Asked(
                parts.path,
                {
                    name: values[0]
                    for name, values in parse_qs(parts.query, keep_blank_values=True).items()
                },
                {name.lower(): value for name, value in handler.headers.items()},
                len(self.asked) + 1,
                handler.command,
                body,
            )
            self.asked.append(asked)
        reply = self.answer(asked)
        try:
            if reply.raw is not None:
                handler.close_connection = True
                for part in reply.raw:
                    handler.wfile.write(part)
                return
            handler.send_response(reply.status)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(reply.body)))
            handler.end_headers()
            handler.wfile.write(reply.body)
        except ConnectionError:
            handler.close_connection = True


def listing(pages: list[list[object]], **top: object) -> Answer:
    """Answers with `pages` by cursor: {"data": {"items": [...], "next": "p2" | null}}."""

    def answer(asked: Asked) -> Reply:
        number = int(asked.query.get("cursor", "p1").removeprefix("p"))
        following = f"p{number + 1}" if number < len(pages) else None
        return as_json({"data": {"items": pages[number - 1], "next": following}, **top})

    return answer
