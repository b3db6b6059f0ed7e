"""The feed's listener: it closes connections whose clients send or read too slowly.

uvicorn itself waits without limit for a request's head and for a client to read its answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_WITHIN = 10.0
"""Seconds from the connection, or from the end of an answer, to the end of a request's head."""
SENT_WITHIN = 60.0
"""Seconds within which a client must read its answer."""
_HEAD_BYTES = 1 << 16
_CONNECTIONS = 500
"""The most concurrent connections; further ones are answered 503."""
_LOOK_EVERY = 0.5
_GRACE = 5
"""Seconds that running answers have to finish when the server is stopped."""


class _Connection(H11Protocol):
    """One connection, whose time limits are checked every half second."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start checking the time limits."""
        super().connection_made(transport)
        self._stage: tuple[Any, bool, bool] | None = None
        self._since = 0.0
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        request: RequestResponseCycle | None = self.cycle
        answered = request is None or request.response_complete
        sending = request is not None and request.response_started
        stage = (request, sending, answered)
        if stage != self._stage:
            self._stage, self._since = stage, self.loop.time()
        # While the server prepares an answer, no limit applies to the client.
        limit = HEAD_WITHIN if answered else SENT_WITHIN if sending else None
        if limit is not None and self.loop.time() - self._since >= limit:
            self.transport.abort()
            return
        self._next_look = self.loop.call_later(_LOOK_EVERY, self._look)


def listener(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """A server of `app` with limits on heads, connections and the time that clients take."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=_Connection,
            ws="none",
            h11_max_incomplete_event_size=_HEAD_BYTES,
            limit_concurrency=_CONNECTIONS,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
    )
