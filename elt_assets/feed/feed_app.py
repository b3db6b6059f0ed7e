"""The feed over HTTP: GET /feed and GET /snapshot, with a bearer token for each consumer.

`places` limits the concurrent requests of a consumer, `listener` the time that a connection takes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from elt_assets.errors import DatabaseBusy, EltAssetsError, InvalidInput
from elt_assets.feed.consumers import Consumer, Consumers
from elt_assets.feed.entries import Entries, read
from elt_assets.feed.feed_answers import Refused, answer, refusal
from elt_assets.feed.numbering import (
    FeedState,
    number_entries,
)
from elt_assets.feed.places import Places, TooMany
from elt_assets.feed.query import FeedQuery, SnapshotQuery, feed_query, snapshot_query
from elt_assets.feed.scope import Scope
from elt_assets.feed.snapshot import SnapshotPosition, page
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.streams import STREAMS

_LOOK_EVERY = 0.25
"""Seconds between two queries for new entries, however many requests wait for them."""
_NOTE_EVERY = 1.0
"""Seconds between two updates of a consumer's position."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, its consumer, and the semaphore to hold while it reads the database."""

    request: Request
    consumer: Consumer
    reading: asyncio.Semaphore

    async def read(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run `work`, which reads the database, in a thread."""
        async with self.reading:
            return await run_in_threadpool(work, *arguments)


class FeedServer:
    """The handlers over one installation's database."""

    def __init__(self, database: OperationalDatabase) -> None:
        self._database = database
        self._consumers = Consumers(database)
        self._noted: dict[str, float] = {}
        self._looking = asyncio.Lock()
        self._looked = 0.0
        self._seen: FeedState | None = None
        places = Places()
        self.feed = _Endpoint(self._feed, self.consumer, places)
        self.snapshot = _Endpoint(self._snapshot, self.consumer, places)

    async def consumer(self, request: Request) -> Consumer:
        """The consumer whose token the request carries. Raises `Refused`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        consumer = None
        if scheme.lower() == "bearer":
            consumer = await run_in_threadpool(self._consumers.of_token, token.strip())
        if consumer is None:
            raise Refused(
                401,
                "the bearer token is missing, wrong or revoked; "
                "`elt-assets feed consumers add` makes one",
                **{"WWW-Authenticate": "Bearer"},
            )
        return consumer

    async def _feed(self, asked: _Asked) -> Response:
        query = feed_query(asked.request.query_params, asked.request.headers.get("accept", ""))
        scope = asked.consumer.scope.narrowed(query.organization, query.stream)
        state = await asked.read(number_entries, self._database)
        after = state.number(query.after)
        await asked.read(self._note, asked.consumer, after)
        found = await self._found(asked, query, scope, state, after)
        return answer(
            found.found,
            query.lines,
            "entries",
            {"next": state.text(found.next), "more": found.more},
        )

    async def _snapshot(self, asked: _Asked) -> Response:
        query = snapshot_query(asked.request.query_params, asked.request.headers.get("accept", ""))
        scope = asked.consumer.scope.narrowed(query.organization, query.stream)
        rows, following, position = await asked.read(self._page, query, scope)
        return answer(
            rows,
            query.lines,
            "rows",
            {"position": position, "next_page": None if following is None else following.text()},
        )

    async def _found(
        self, asked: _Asked, query: FeedQuery, scope: Scope, state: FeedState, after: int
    ) -> Entries:
        """Read the entries; if there are none, wait for the first, up to `query.wait` seconds."""
        ends = time.monotonic() + query.wait
        found: Entries = await asked.read(read, self._database, state, after, query.limit, scope)
        if found.found or not query.wait:
            return found
        # The consumer has all entries up to `after`. Record that now, because its next request
        # comes only after this wait.
        await asked.read(self._note, asked.consumer, after, 0.0)
        while not found.found and time.monotonic() < ends:
            await asyncio.sleep(_LOOK_EVERY)
            if await asked.request.is_disconnected():
                break
            state = await self._state()
            if state.head > found.next:
                found = await asked.read(
                    read, self._database, state, found.next, query.limit, scope
                )
        # The consumer's token may have been revoked while the request waited.
        await self.consumer(asked.request)
        return found

    async def _state(self) -> FeedState:
        async with self._looking:
            if self._seen is None or time.monotonic() - self._looked >= _LOOK_EVERY:
                self._seen = await run_in_threadpool(number_entries, self._database)
                self._looked = time.monotonic()
            return self._seen

    def _page(
        self, query: SnapshotQuery, scope: Scope
    ) -> tuple[list[dict[str, Any]], SnapshotPosition | None, str]:
        if query.page is None:
            state = number_entries(self._database)
            place = SnapshotPosition(state.text(state.head), query.stream)
        else:
            place = SnapshotPosition.parse(query.page)
            number_entries(self._database).number(place.position)
            if place.stream != query.stream:
                raise InvalidInput(
                    f"page is of a snapshot of another stream than {query.stream}: send the "
                    "parameters of the first page again"
                )
        rows, following = page(self._database, STREAMS[query.stream], place, query.limit, scope)
        return rows, following, place.position

    def _note(self, consumer: Consumer, after: int, every: float = _NOTE_EVERY) -> None:
        """Record that a consumer has all entries up to the position that its request names.

        Retention and the report of its lag rely on that.
        """
        last = self._noted.get(consumer.name)
        moment = time.monotonic()
        if after != consumer.position and (last is None or moment - last >= every):
            self._noted[consumer.name] = moment
            # If the database is busy, a later request records the position.
            with suppress(DatabaseBusy):
                self._consumers.move(consumer.name, after)


class _Endpoint:
    """An ASGI application that counts a request of a consumer until its answer is sent.

    An answer that the client has not read takes memory, so the request counts until then.
    """

    def __init__(
        self,
        answer: Callable[[_Asked], Awaitable[Response]],
        consumer: Callable[[Request], Awaitable[Consumer]],
        places: Places,
    ) -> None:
        self._answer = answer
        self._consumer = consumer
        self._places = places

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        consumer = await self._consumer(request)
        with self._places.of(consumer.name) as reading:
            response = await self._answer(_Asked(request, consumer, reading))
            await response(scope, receive, send)


def application(
    opened: Callable[[], OperationalDatabase],
    middleware: Sequence[Middleware],
    deliver: Callable[[OperationalDatabase, threading.Event], None] | None = None,
) -> Starlette:
    """The application over the database that `opened` returns; shutdown closes that database.

    `deliver` runs in a thread next to it, until its event is set.
    """
    database = opened()
    server = FeedServer(database)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=deliver, args=(database, stop), name="delivering")
        if deliver is not None:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if deliver is not None:
                await run_in_threadpool(thread.join)
            await run_in_threadpool(database.close)

    async def index(_: Request) -> Response:
        return PlainTextResponse("/feed  /snapshot\n")

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/feed", server.feed, methods=["GET"]),
            Route("/snapshot", server.snapshot, methods=["GET"]),
        ],
        middleware=middleware,
        exception_handlers={
            Refused: refusal,
            TooMany: refusal,
            EltAssetsError: refusal,
            HTTPException: refusal,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app
