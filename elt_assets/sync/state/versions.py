"""The version of each latest table, which an apply compares and sets."""

from __future__ import annotations

from dataclasses import dataclass, field

from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.sync.clock import now
from elt_assets.sync.state.ledger import ONE_STREAM, SyncRow
from elt_assets.sync.streams import StreamKey


@dataclass(frozen=True, slots=True)
class Version:
    """State of one integration's latest table.

    `version` counts the syncs that settled, without those that only repeated the records of the
    sync before; `ordinal` is that of the newest settled sync.
    `watermark` is the newest change time seen, by the provider's clock. `mark` is the place in the
    provider's history that the source returned. `full_at` is when everything was last read
    completely; None makes the next sync read everything. `sync_id` is the newest sync that
    settled, None before the first. `records_of` is the sync whose records it repeated; None if the
    warehouse has records of its own.
    """

    version: int = 0
    ordinal: int = 0
    watermark: str | None = None
    full_at: str | None = None
    mark: str | None = None
    sync_id: str | None = field(default=None, compare=False)
    records_of: str | None = field(default=None, compare=False)

    @property
    def extraction(self) -> str | None:
        """The sync whose records in the warehouse are those of the newest sync that settled."""
        return self.records_of or self.sync_id


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a sync that settles has read.

    A watermark only rises; None keeps the recorded one. `full_at` and `mark` replace the recorded
    values.
    """

    watermark: str | None = None
    full_at: str | None = None
    mark: str | None = None


def current(source: Transaction | OperationalDatabase, key: StreamKey) -> Version:
    """The current state of the latest table; version 0 before the first sync."""
    rows = source.rows(
        f"""
        SELECT version, ordinal, watermark, full_at, mark, sync_id, records_of
        FROM integration_versions
        WHERE {ONE_STREAM}
        """,
        key.values,
    )
    return Version(**rows[0]) if rows else Version()


def advance(
    transaction: Transaction,
    expected: Version,
    row: SyncRow,
    reading: Reading,
    *,
    repeats: bool = False,
) -> bool:
    """Compare and set: make `row` the newest settled sync if the version is still `expected`.

    A sync that `repeats` the records of `expected` makes no version. A recorded watermark later
    than the start of `row` was a provider's mistake and is dropped.
    """
    key = row.key.values
    if expected.version == 0:
        changed = transaction.execute(
            """
            INSERT INTO integration_versions VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, NULL)
            ON CONFLICT DO NOTHING
            """,
            (
                *(*key, row.ordinal, row.sync_id, now()),
                *(reading.watermark, reading.full_at, reading.mark),
            ),
        )
    else:
        known = expected.watermark if (expected.watermark or "") <= row.started_at else None
        risen = max(filter(None, (reading.watermark, known)), default=None)
        changed = transaction.execute(
            f"""
            UPDATE integration_versions
            SET version = version + ?, ordinal = ?, sync_id = ?, settled_at = ?,
                watermark = ?, full_at = ?, mark = ?, records_of = ?
            WHERE {ONE_STREAM} AND version = ?
            """,
            (
                *(int(not repeats), row.ordinal, row.sync_id, now()),
                *(risen, reading.full_at, reading.mark),
                *(expected.extraction if repeats else None, *key, expected.version),
            ),
        )
    return changed == 1


def set_version(transaction: Transaction, key: StreamKey, version: int, sync_id: str) -> None:
    """Set the latest table's version without comparing; only rebuilding from the log does this."""
    transaction.execute(
        """
        INSERT INTO integration_versions VALUES (?, ?, ?, ?, 0, ?, ?, NULL, NULL, NULL, NULL)
        ON CONFLICT (organization_id, connected_integration_id, stream) DO UPDATE
        SET version = excluded.version, settled_at = excluded.settled_at
        """,
        (*key.values, version, sync_id, now()),
    )
