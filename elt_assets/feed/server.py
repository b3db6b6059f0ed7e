"""The feed over HTTP: GET /feed and GET /snapshot, with a bearer token for each consumer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from elt_assets.errors import DatabaseBusy, EltAssetsError, InvalidInput, SyncError
from elt_assets.feed.consumers import Consumer, Consumers
from elt_assets.feed.entries import Entries, read
from elt_assets.feed.numbering import (
    FeedState,
    ForeignPosition,
    PositionPassed,
    number_entries,
)
from elt_assets.feed.query import FeedQuery, SnapshotQuery, feed_query, snapshot_query
from elt_assets.feed.scope import OutOfScope, Scope
from elt_assets.feed.snapshot import Place, page
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.streams import STREAMS

_GRACE = 5
"""Seconds that answers under way have when the server is stopped."""
_LOOK_EVERY = 0.25
"""Seconds between two looks for new entries, however many requests wait for them."""
_WAITING = 8
"""Requests of one consumer that may wait for entries at once."""
_NOTE_EVERY = 1.0
"""Seconds between two notes of how far a consumer is."""

_STATUSES: tuple[tuple[type[EltAssetsError], int], ...] = (
    (PositionPassed, 410),
    (ForeignPosition, 409),
    (OutOfScope, 403),
    (InvalidInput, 400),
    (SyncError, 503),
)


class _Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class FeedServer:
    """The handlers over one installation's database."""

    def __init__(self, database: OperationalDatabase) -> None:
        self._database = database
        self._consumers = Consumers(database)
        self._waiting: Counter[str] = Counter()
        self._noted: dict[str, float] = {}
        self._looking = asyncio.Lock()
        self._looked = 0.0
        self._seen: FeedState | None = None

    async def feed(self, request: Request) -> Response:
        """GET /feed."""
        consumer = await run_in_threadpool(self._consumer, request)
        query = feed_query(request.query_params, request.headers.get("accept", ""))
        scope = consumer.scope.narrowed(query.organization, query.stream)
        state = await run_in_threadpool(number_entries, self._database)
        after = state.number(query.after)
        await run_in_threadpool(self._note, consumer, after)
        found = await self._found(consumer, query, scope, state, after)
        return _answer(
            found.found,
            query.lines,
            "entries",
            {"next": state.text(found.next), "more": found.more},
        )

    async def snapshot(self, request: Request) -> Response:
        """GET /snapshot."""
        consumer = await run_in_threadpool(self._consumer, request)
        query = snapshot_query(request.query_params, request.headers.get("accept", ""))
        scope = consumer.scope.narrowed(query.organization, query.stream)
        rows, following, position = await run_in_threadpool(self._page, query, scope)
        return _answer(
            rows,
            query.lines,
            "rows",
            {"position": position, "next_page": None if following is None else following.text()},
        )

    async def _found(
        self, consumer: Consumer, query: FeedQuery, scope: Scope, state: FeedState, after: int
    ) -> Entries:
        """The entries, waiting for the first one as long as the query says."""
        ends = time.monotonic() + query.wait
        reading = (self._database, state, after, query.limit, scope)
        found = await run_in_threadpool(read, *reading)
        if found.found or not query.wait:
            return found
        with self._a_place(consumer.name):
            while not found.found and time.monotonic() < ends:
                await asyncio.sleep(_LOOK_EVERY)
                state = await self._state()
                if state.head > found.next:
                    found = await run_in_threadpool(
                        read, self._database, state, found.next, query.limit, scope
                    )
        return found

    async def _state(self) -> FeedState:
        async with self._looking:
            if self._seen is None or time.monotonic() - self._looked >= _LOOK_EVERY:
                self._seen = await run_in_threadpool(number_entries, self._database)
                self._looked = time.monotonic()
            return self._seen

    @contextmanager
    def _a_place(self, name: str) -> Iterator[None]:
        if self._waiting[name] >= _WAITING:
            raise _Refused(429, f"{_WAITING} requests of this consumer wait already")
        self._waiting[name] += 1
        try:
            yield
        finally:
            self._waiting[name] -= 1

    def _page(
        self, query: SnapshotQuery, scope: Scope
    ) -> tuple[list[dict[str, Any]], Place | None, str]:
        if query.page is None:
            state = number_entries(self._database)
            place = Place(state.text(state.head), query.stream)
        else:
            place = Place.parse(query.page)
            number_entries(self._database).number(place.position)
            if place.stream != query.stream:
                raise InvalidInput(
                    f"page is of a snapshot of another stream than {query.stream}: send the "
                    "parameters of the first page again"
                )
        rows, following = page(self._database, STREAMS[query.stream], place, query.limit, scope)
        return rows, following, place.position

    def _consumer(self, request: Request) -> Consumer:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        consumer = self._consumers.of_token(token.strip()) if scheme.lower() == "bearer" else None
        if consumer is None:
            raise _Refused(
                401,
                "the bearer token is missing, wrong or revoked; "
                "`elt-assets feed consumers add` makes one",
                **{"WWW-Authenticate": "Bearer"},
            )
        return consumer

    def _note(self, consumer: Consumer, after: int) -> None:
        """What a consumer asks after, it has: retention and the report of its lag rely on that."""
        last = self._noted.get(consumer.name)
        moment = time.monotonic()
        if after != consumer.position and (last is None or moment - last >= _NOTE_EVERY):
            self._noted[consumer.name] = moment
            # A note that does not come through is made with a later request.
            with suppress(DatabaseBusy):
                self._consumers.move(consumer.name, after)


def application(
    opened: Callable[[], OperationalDatabase],
    middleware: Sequence[Middleware],
    deliver: Callable[[OperationalDatabase, threading.Event], None] | None = None,
) -> Starlette:
    """The routes over the database that `opened` gives; it is closed at the end.

    `deliver` runs in a thread next to them until its event is set.
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

    return Starlette(
        routes=[
            Route("/", index),
            Route("/feed", server.feed),
            Route("/snapshot", server.snapshot),
        ],
        middleware=middleware,
        exception_handlers={
            _Refused: _refusal,
            EltAssetsError: _refusal,
            HTTPException: _refusal,
        },
        lifespan=lifespan,
    )


def serve(app: Starlette, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE,
    )


def _refusal(_: Request, error: Exception) -> Response:
    headers: Mapping[str, str] = {}
    message = str(error)
    if isinstance(error, _Refused):
        status, headers = error.status, error.headers
    elif isinstance(error, HTTPException):
        status, message = error.status_code, f"{error.detail}; there are /feed and /snapshot"
    else:
        status = next(code for kind, code in _STATUSES if isinstance(error, kind))
    if status == 503:
        # Which server and which account are the operator's to know.
        message, headers = "the feed cannot be read now; try again", {"Retry-After": "5"}
    body = msgspec.json.encode({"error": {"status": status, "message": message}})
    return Response(body, status, {**headers, "Cache-Control": "no-store"}, "application/json")


def _answer(
    items: list[dict[str, Any]], lines: bool, name: str, about: Mapping[str, Any]
) -> Response:
    """As JSON; or as lines, with what is about all of them in headers (`Feed-Next`, …)."""
    headers = {"Cache-Control": "no-store"}
    if not lines:
        body = msgspec.json.encode({name: items, **about})
        return Response(body, 200, headers, "application/json")
    encoder = msgspec.json.Encoder()
    headers |= {
        f"Feed-{key.replace('_', '-').title()}": str(value).lower()
        if isinstance(value, bool)
        else str(value)
        for key, value in about.items()
        if value is not None
    }
    return Response(encoder.encode_lines(items), 200, headers, "application/x-ndjson")
