"""How far each consumer of the feed is behind, and why."""

from __future__ import annotations

import msgspec

from elt_assets.feed.consumers import Consumer, Consumers
from elt_assets.feed.entries import behind, bytes_after
from elt_assets.feed.numbering import FeedState, number_entries
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.clock import seconds_since

_NEARLY = 0.8
"""Share of the space limit from which entries that a consumer lacks make its state `losing`."""


class Lag(msgspec.Struct, frozen=True):
    """A consumer's lag: entries that it lacks, and seconds since the first of them was applied.

    `state` is `up to date`, `behind`, `failing` (a webhook that is tried again), `stopped` (a
    webhook that waits for a person), `losing` (the entries after its position nearly reach the
    space limit, so the oldest will be deleted) or `lost` (entries that it lacks were deleted).
    `bytes` is the size of all entries after its position, including those outside its scope.
    """

    name: str
    kind: str
    state: str
    entries: int
    seconds: float
    bytes: int
    position: str
    position_at: str
    error: str | None = None
    retry_at: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the consumer needs no person's attention."""
        return self.state in ("up to date", "behind")


class FeedStatus(msgspec.Struct, frozen=True):
    """The newest position, the entries that are kept, and the lag of every consumer."""

    position: str
    entries: int
    bytes: int
    room: int
    consumers: tuple[Lag, ...]


def feed_status(database: OperationalDatabase, room: int) -> FeedStatus:
    """The state of the feed and its consumers; `room` is how many bytes entries may take."""
    state = number_entries(database)
    (row,) = database.rows(
        "SELECT CAST(coalesce(sum(entries), 0) AS BIGINT) AS entries,"
        " CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes FROM feed_segments"
    )
    consumers = tuple(_lag(database, state, one, room) for one in Consumers(database).all())
    return FeedStatus(state.text(state.head), row["entries"], row["bytes"], room, consumers)


def _lag(database: OperationalDatabase, state: FeedState, consumer: Consumer, room: int) -> Lag:
    entries, oldest = behind(database, consumer.position, consumer.scope)
    held = bytes_after(database, consumer.position)
    return Lag(
        name=consumer.name,
        kind="pull" if consumer.webhook is None else "webhook",
        state=_state(consumer, state, entries, full=held > _NEARLY * room),
        entries=entries,
        seconds=0.0 if oldest is None else max(0.0, round(seconds_since(oldest), 3)),
        bytes=held,
        position=state.text(consumer.position),
        position_at=consumer.position_at,
        error=consumer.error,
        retry_at=consumer.retry_at,
    )


def _state(consumer: Consumer, state: FeedState, entries: int, *, full: bool) -> str:
    if consumer.position < state.trimmed:
        return "lost"
    if consumer.stopped:
        return "stopped"
    if entries and full:
        return "losing"
    if consumer.failures:
        return "failing"
    return "behind" if entries else "up to date"
