"""Positions: one rising number over the entries of all integrations.

Applies commit in any order and must not wait for each other, so they leave the position open. A
reader closes it: under a lock of its own it numbers what is committed, behind all that was numbered
before. No entry can appear below a position that was served.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from elt_assets.errors import DatabaseBusy, InvalidInput
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.sync.state import feed_log

LOCK = "change feed"
BEGINNING = "0"
_POSITION = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})")


class ForeignPosition(InvalidInput):
    """A position that this feed has not given out."""


class PositionPassed(InvalidInput):
    """A position behind which entries are no longer kept."""


@dataclass(frozen=True, slots=True)
class FeedState:
    """The feed's name, its newest position, and the newest one that is no longer kept."""

    feed_id: str
    head: int
    trimmed: int

    def text(self, number: int) -> str:
        """A position as consumers are given it."""
        return f"{self.feed_id}-{number}"

    def number(self, text: str) -> int:
        """The number of a position that a consumer sends.

        Raises `InvalidInput` for what is no position, `ForeignPosition` for one of another feed
        and `PositionPassed` for one behind which entries are missing.
        """
        if text == BEGINNING:
            number = 0
        elif (found := _POSITION.fullmatch(text)) is None:
            raise InvalidInput(
                f"{text[:40]!r} is not a position: send one that this feed gave, or "
                f"{BEGINNING} for the beginning"
            )
        else:
            number = int(found[2])
            if found[1] != self.feed_id or number > self.head:
                raise ForeignPosition(
                    "the position is of another installation, or of this one before it was "
                    "restored from a backup: take a snapshot and go on from its position"
                )
        if number < self.trimmed:
            raise PositionPassed(
                "entries after this position are no longer kept: take a snapshot and go on from "
                "its position"
            )
        return number

    def begins(self, text: str) -> int:
        """As `number`, but the beginning is before the oldest entry that is kept."""
        return self.trimmed if text == BEGINNING else self.number(text)


def number_of(position: str) -> int:
    """The number of a position that this feed has made, maybe since its state was read."""
    return int(position.rpartition("-")[2])


def number_entries(database: OperationalDatabase) -> FeedState:
    """Number what was committed since the last time, and return how the feed stands now.

    While the database stays busy, a feed that stands is returned as it is: its next entries come
    later.
    """
    rows = database.rows(
        "SELECT feed_id, head, trimmed, CASE WHEN EXISTS (SELECT 1 FROM feed_segments"
        " WHERE first_position IS NULL) THEN 1 ELSE 0 END AS waiting FROM feed_state"
    )
    if not rows:
        return _numbered(database)
    known = FeedState(rows[0]["feed_id"], rows[0]["head"], rows[0]["trimmed"])
    if not rows[0]["waiting"]:
        return known
    try:
        return _numbered(database)
    except DatabaseBusy:
        return known


def _numbered(database: OperationalDatabase) -> FeedState:
    with database.transaction(LOCK) as transaction:
        feed_log.exclude_numbering(transaction)
        state = _begun(transaction)
        transaction.execute(
            """
            UPDATE feed_segments
            SET first_position = numbered.first_position
            FROM (
                SELECT
                    organization_id, connected_integration_id, first_sequence,
                    CAST(? + 1 - entries + sum(entries) OVER (
                        ORDER BY organization_id, connected_integration_id, first_sequence
                    ) AS BIGINT) AS first_position
                FROM feed_segments
                WHERE first_position IS NULL
            ) AS numbered
            WHERE feed_segments.organization_id = numbered.organization_id
                AND feed_segments.connected_integration_id = numbered.connected_integration_id
                AND feed_segments.first_sequence = numbered.first_sequence
            """,
            (state.head,),
        )
        newest = transaction.value(
            "SELECT coalesce(max(first_position + entries - 1), 0) AS n FROM feed_segments"
        )
        state = FeedState(state.feed_id, max(state.head, int(newest)), state.trimmed)
        transaction.execute("UPDATE feed_state SET head = ?", (state.head,))
    return state


def _begun(transaction: Transaction) -> FeedState:
    rows = transaction.rows("SELECT feed_id, head, trimmed FROM feed_state")
    if rows:
        return FeedState(**rows[0])
    state = FeedState(feed_log.new_feed_id(), 0, 0)
    transaction.execute("INSERT INTO feed_state VALUES (?, 0, 0)", (state.feed_id,))
    return state
