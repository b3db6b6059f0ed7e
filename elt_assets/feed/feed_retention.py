"""Retention of the change feed: delete old entries that every consumer has.

Two limits apply even to entries that a consumer lacks: an age, and the space that entries take in
the database.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from elt_assets.feed.numbering import LOCK, number_entries
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.sync.admin.maintenance import Work
from elt_assets.sync.clock import ago
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.feed_log import exclude_numbering

_AT_ONCE = 500
"""Segments deleted in one transaction, for which transactions that apply wait on SQLite."""


class FeedRetention(msgspec.Struct, frozen=True):
    """How long entries are kept: `read` for those that every consumer has, `unread` for the rest.

    All entries together take at most `room` bytes.
    """

    read: timedelta
    unread: timedelta
    room: int


def trim_feed(platform: SyncService, *, dry_run: bool) -> Work:
    """Call `trim` with the limits in the settings of an installation."""
    settings = platform.settings
    keep = FeedRetention(
        timedelta(days=settings.keep_feed_days),
        timedelta(days=settings.keep_feed_unread_days),
        settings.keep_feed_bytes,
    )
    return trim(platform.database, keep, dry_run=dry_run)


def trim(database: OperationalDatabase, keep: FeedRetention, *, dry_run: bool) -> Work:
    """Delete the entries that `keep` does not require.

    A consumer that asks for entries after a position before the deleted ones is answered 410.
    """
    state = number_entries(database)
    rows = database.rows(
        "SELECT coalesce(min(position), ?) AS n FROM feed_consumers", (state.head,)
    )
    cut = max(
        min(_older(database, keep.read, state.head), int(rows[0]["n"])),
        _older(database, keep.unread, state.head),
        _beyond(database, keep.room),
    )
    count = _delete(database, cut, dry_run=dry_run)
    return Work("entries of the change feed that are kept no longer", count)


def keep_to_room(database: OperationalDatabase, room: int) -> int:
    """Delete the oldest entries, unread ones too, until the rest fit; return how many.

    `room` is the limit in bytes.
    """
    return _delete(database, _beyond(database, room), dry_run=False)


def _beyond(database: OperationalDatabase, room: int) -> int:
    """The last position whose entry, together with all newer ones, takes more than `room` bytes."""
    (row,) = database.rows(
        """
        SELECT coalesce(max(first_position + entries - 1), 0) AS n
        FROM (
            SELECT
                first_position, entries,
                sum(bytes) OVER (ORDER BY first_position DESC) AS together
            FROM feed_segments
            WHERE first_position IS NOT NULL
        ) AS segment
        WHERE together > ?
        """,
        (room,),
    )
    return int(row["n"])


def _delete(database: OperationalDatabase, cut: int, *, dry_run: bool) -> int:
    """Delete the entries up to position `cut`; return how many there are."""
    (row,) = database.rows(
        "SELECT CAST(coalesce(sum(entries), 0) AS BIGINT) AS n FROM feed_segments"
        " WHERE first_position + entries - 1 <= ?",
        (cut,),
    )
    if row["n"] and not dry_run:
        # `trimmed` is set first, so that no reader gets a feed with a gap that it cannot notice.
        with database.transaction(LOCK) as transaction:
            transaction.execute("UPDATE feed_state SET trimmed = ? WHERE trimmed < ?", (cut, cut))
        while _delete_some(database, cut):
            pass
    return int(row["n"])


def _older(database: OperationalDatabase, age: timedelta, head: int) -> int:
    """The last position before the first entry that is younger than `age`."""
    (row,) = database.rows(
        "SELECT coalesce(min(first_position) - 1, ?) AS n FROM feed_segments"
        " WHERE applied_at >= ? AND first_position IS NOT NULL",
        (head, ago(age)),
    )
    return int(row["n"])


def _delete_some(database: OperationalDatabase, cut: int) -> int:
    with database.transaction(LOCK) as transaction:
        exclude_numbering(transaction)
        rows = transaction.rows(
            "SELECT first_position FROM feed_segments WHERE first_position + entries - 1 <= ?"
            f" ORDER BY first_position LIMIT {_AT_ONCE}",
            (cut,),
        )
        if rows:
            _delete_up_to(transaction, rows[-1]["first_position"])
    return len(rows)


def _delete_up_to(transaction: Transaction, position: int) -> None:
    transaction.execute(
        """
        DELETE FROM feed_bodies
        WHERE EXISTS (
            SELECT 1
            FROM feed_segments
            WHERE feed_segments.organization_id = feed_bodies.organization_id
                AND feed_segments.connected_integration_id = feed_bodies.connected_integration_id
                AND feed_segments.first_sequence = feed_bodies.first_sequence
                AND feed_segments.first_position <= ?
        )
        """,
        (position,),
    )
    transaction.execute("DELETE FROM feed_segments WHERE first_position <= ?", (position,))
