"""Answers of the feed's server: entries or rows as JSON or as JSON lines, and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from elt_assets.errors import EltAssetsError, InvalidInput, SyncError
from elt_assets.feed.numbering import ForeignPosition, PositionPassed
from elt_assets.feed.places import TooMany
from elt_assets.feed.scope import OutOfScope

_PIECE = 1 << 16
"""The number of bytes of an answer that are passed to the connection at a time."""

_STATUSES: tuple[tuple[type[EltAssetsError], int], ...] = (
    (PositionPassed, 410),
    (ForeignPosition, 409),
    (OutOfScope, 403),
    (InvalidInput, 400),
    (SyncError, 503),
)


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class _InPieces(Response):
    """A response whose next piece is sent when the client has read most of the earlier ones."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response in pieces."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        for start in range(0, len(self.body), _PIECE):
            piece = bytes(self.body[start : start + _PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def refusal(_: Request, error: Exception) -> Response:
    """The answer to a request that fails with `error`."""
    headers: Mapping[str, str] = {}
    message = str(error)
    if isinstance(error, Refused):
        status, headers = error.status, error.headers
    elif isinstance(error, TooMany):
        status = 429
    elif isinstance(error, HTTPException):
        status, message = error.status_code, f"{error.detail}; there are /feed and /snapshot"
    else:
        status = next(code for kind, code in _STATUSES if isinstance(error, kind))
    if status == 503:
        # The error may name the database server and its account, which only the operator may know.
        message, headers = "the feed cannot be read now; try again", {"Retry-After": "5"}
    body = msgspec.json.encode({"error": {"status": status, "message": message}})
    return Response(body, status, {**headers, "Cache-Control": "no-store"}, "application/json")


def answer(
    items: list[dict[str, Any]], lines: bool, name: str, about: Mapping[str, Any]
) -> Response:
    """Return `items` and `about` as JSON, or the items as JSON lines.

    With lines, the members of `about` become headers (`Feed-Next`, …).
    """
    headers = {"Cache-Control": "no-store"}
    if not lines:
        body = msgspec.json.encode({name: items, **about})
        return _InPieces(body, 200, headers, "application/json")
    encoder = msgspec.json.Encoder()
    headers |= {
        f"Feed-{key.replace('_', '-').title()}": str(value).lower()
        if isinstance(value, bool)
        else str(value)
        for key, value in about.items()
        if value is not None
    }
    return _InPieces(encoder.encode_lines(items), 200, headers, "application/x-ndjson")
