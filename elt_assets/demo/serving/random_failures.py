"""Failures of a share of the page requests, each of which a retry overcomes."""

from __future__ import annotations

import gzip
import random

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elt_assets.demo.wire import Wire

_FAILURES = ("status_500", "status_503", "reset_in_the_body", "closed", "gzip_cut")


class RandomFailures:
    """A middleware that fails this share of the requests for a page of users."""

    def __init__(self, app: ASGIApp, *, share: float, seed: int) -> None:
        self._app = app
        self._share = share
        self._dice = random.Random(seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _lists_users(scope["path"]) or self._dice.random() >= self._share:
            await self._app(scope, receive, send)
            return
        match self._dice.choice(_FAILURES):
            case "status_500":
                await Response(b'{"error":"failed at random"}', 500)(scope, receive, send)
            case "status_503":
                await Response(b"", 503)(scope, receive, send)
            case "gzip_cut":
                packed = gzip.compress(await self._page(scope, receive))
                headers = {"content-type": "application/json", "content-encoding": "gzip"}
                answer = Response(packed[: len(packed) // 2], headers=headers)
                await answer(scope, receive, send)
            case "reset_in_the_body":
                body, wire = await self._page(scope, receive), Wire.under(scope, receive)
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                await wire.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
                await wire.write(body[: len(body) // 2])
                await wire.reset()
                await wire.gone()
            case _:
                wire = Wire.under(scope, receive)
                wire.close()
                await wire.gone()

    async def _page(self, scope: Scope, receive: Receive) -> bytes:
        """The body that the application answers with."""
        parts = []

        async def keep(message: Message) -> None:
            parts.append(message.get("body", b""))

        await self._app(scope, receive, keep)
        return b"".join(parts)


def _lists_users(path: str) -> bool:
    match path.split("/"):
        case ["", "v1", _, _, "users"]:
            return True
    return False
