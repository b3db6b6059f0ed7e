"""How far each consumer is behind, and what keeps it."""

from __future__ import annotations

import msgspec

from elt_assets.feed.consumers import Consumer, Consumers
from elt_assets.feed.entries import behind
from elt_assets.feed.numbering import FeedState, number_entries
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.clock import seconds_since


class Lag(msgspec.Struct, frozen=True):
    """A consumer's lag: entries that it lacks, and seconds since the first of them was applied.

    `state` is `up to date`, `behind`, `failing` (a webhook that is tried again), `stopped` (one
    that waits for a person) or `lost` (what it lacks is no longer kept).
    """

    name: str
    kind: str
    state: str
    entries: int
    seconds: float
    position: str
    position_at: str
    error: str | None = None
    retry_at: str | None = None

    @property
    def ok(self) -> bool:
        """Whether no person is needed."""
        return self.state in ("up to date", "behind")


class FeedStatus(msgspec.Struct, frozen=True):
    """The newest position, and the lag of every consumer."""

    position: str
    entries: int
    consumers: tuple[Lag, ...]


def feed_status(database: OperationalDatabase) -> FeedStatus:
    """How the feed and its consumers stand now."""
    state = number_entries(database)
    (row,) = database.rows(
        "SELECT CAST(coalesce(sum(entries), 0) AS BIGINT) AS n FROM feed_segments"
    )
    consumers = tuple(_lag(database, state, one) for one in Consumers(database).all())
    return FeedStatus(state.text(state.head), int(row["n"]), consumers)


def _lag(database: OperationalDatabase, state: FeedState, consumer: Consumer) -> Lag:
    entries, oldest = behind(database, consumer.position, consumer.scope)
    return Lag(
        name=consumer.name,
        kind="pull" if consumer.webhook is None else "webhook",
        state=_state(consumer, state, entries),
        entries=entries,
        seconds=0.0 if oldest is None else max(0.0, round(seconds_since(oldest), 3)),
        position=state.text(consumer.position),
        position_at=consumer.position_at,
        error=consumer.error,
        retry_at=consumer.retry_at,
    )


def _state(consumer: Consumer, state: FeedState, entries: int) -> str:
    if consumer.position < state.trimmed:
        return "lost"
    if consumer.stopped:
        return "stopped"
    if consumer.failures:
        return "failing"
    return "behind" if entries else "up to date"
