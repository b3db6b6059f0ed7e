"""Middleware of the embedded provider: check the token; number, delay and log requests."""

from __future__ import annotations

import asyncio
import hmac
from itertools import count

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elt_assets.demo.serving.answers import error_answer
from elt_assets.demo.world import Directory

_NOT_HTTP = 0


class Door:
    """A middleware that checks the token, numbers and logs requests, and delays answers.

    `latency` is in seconds.
    """

    def __init__(
        self, app: ASGIApp, directory: Directory, token: str, latency: float = 0.0
    ) -> None:
        self._app = app
        self._latency = latency
        self._log = directory.log
        self._credential = token.encode()
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = f"req-{next(self._numbers):06d}"

        answered = False

        async def logged(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._record(scope, message["status"])
            await send(message)

        app = self._app if scope["path"] == "/" or self._admits(scope) else _unauthorized
        if not scope["path"].startswith("/v1/"):
            await app(scope, receive, send)
            return
        if self._latency:
            await asyncio.sleep(self._latency)
        await app(scope, receive, logged)
        if not answered:
            self._record(scope, _NOT_HTTP)

    def _admits(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, credential = value.partition(b" ")
                return scheme.lower() == b"bearer" and hmac.compare_digest(
                    credential.strip(), self._credential
                )
        return False

    def _record(self, scope: Scope, status: int) -> None:
        request = Request(scope)
        parts: list[str] = scope["path"].split("/")
        organization, integration = (*parts[2:4], "", "")[:2]
        self._log.add(
            method=scope["method"],
            path=scope["path"],
            organization=organization,
            integration=integration,
            cursor=request.query_params.get("cursor"),
            limit=request.query_params.get("limit"),
            status=status,
        )


async def _unauthorized(scope: Scope, receive: Receive, send: Send) -> None:
    message = "a valid bearer token is required"
    response = error_answer(Request(scope), 401, "unauthorized", message)
    response.headers["www-authenticate"] = "Bearer"
    await response(scope, receive, send)
