"""Positions: one rising number over the entries of all integrations.

Transactions that apply changes commit in any order and must not wait for each other, so they leave
the position NULL. A reader assigns it: under a lock, it numbers the committed entries after all
those numbered before. No entry can therefore appear before a position that was already served.
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
    """A position that this feed has not issued."""


class PositionPassed(InvalidInput):
    """A position after which entries are no longer kept."""


@dataclass(frozen=True, slots=True)
class FeedState:
    """The feed's name, its newest position, and the newest one that is no longer kept."""

    feed_id: str
    head: int
    trimmed: int

    def text(self, number: int) -> str:
        """The position with this number, in the form that consumers get."""
        return f"{self.feed_id}-{number}"

    def number(self, text: str) -> int:
        """The number of a position that a consumer sends.

        Raises `InvalidInput` for a malformed position, `ForeignPosition` for one of another feed
        and `PositionPassed` for one after which entries are no longer kept.
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
        """Like `number`, but `BEGINNING` means just before the oldest entry that is kept."""
        return self.trimmed if text == BEGINNING else self.number(text)


def number_of(position: str) -> int:
    """The number of a position that this feed has issued, even after `FeedState` was read."""
    return int(position.rpartition("-")[2])


def number_entries(database: OperationalDatabase) -> FeedState:
    """Number the entries committed since the last call, and return the state of the feed.

    If the database is busy, the recorded state is returned; new entries are numbered by a later
    call. Raises `DatabaseBusy` if there is no recorded state yet.
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
