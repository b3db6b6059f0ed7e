"""Retention: delete old extractions and the old part of the change log of one integration.

A baseline replaces the deleted part of the log: the rows as they were at the last version of that
part. Replaying, undoing and queries of past moments work within the kept part and are refused
before it.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from elt_assets.storage.warehouse.warehouse import Warehouse, one_row
from elt_assets.sync.extract.checkpoints import forget_extractions
from elt_assets.sync.state import change_log
from elt_assets.sync.streams import Stream


class Forgotten(msgspec.Struct, frozen=True):
    """The numbers of rows of one integration's stream that are deleted, and that are `kept`."""

    staged: int = 0
    rejected: int = 0
    changes: int = 0
    kept: int = 0

    @property
    def rows(self) -> int:
        """The total number of deleted rows."""
        return self.staged + self.rejected + self.changes

    def __add__(self, other: Forgotten) -> Forgotten:
        """The sums of both."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Forgotten(*map(sum, pairs))


def forget(
    warehouse: Warehouse,
    stream: Stream,
    *,
    old: Collection[str],
    applied: int,
    before: str,
    dry_run: bool,
) -> Forgotten:
    """Delete the `old` extractions, and the changes older than `before`.

    The changes of the newest version are kept at any age. `applied` is the latest table's version.
    With `dry_run` nothing is written.
    """
    last = _last_old_version(warehouse, stream, applied, before)
    forgotten = _count(warehouse, stream, old, last)
    if (old or forgotten.changes) and not dry_run:
        with warehouse.transaction():
            forget_extractions(warehouse, stream, old)
            if forgotten.changes:
                _begin_log_after(warehouse, stream, last)
    return forgotten


def extractions(
    warehouse: Warehouse,
    stream: Stream,
    *,
    unsettled: Collection[str],
    keep: int,
) -> tuple[list[str], list[str]]:
    """The syncs whose extraction is to be kept, and those whose extraction is old.

    The newest `keep` are kept, and those in `unsettled`, because these syncs can continue.
    """
    rows = warehouse.execute(
        """
        SELECT sync_id
        FROM extractions
        WHERE stream = $stream
        ORDER BY started_at DESC, sync_id
        """,
        {"stream": stream.name},
    ).fetchall()
    kept: list[str] = []
    old: list[str] = []
    for place, (sync_id,) in enumerate(rows):
        (kept if place < keep or sync_id in unsettled else old).append(sync_id)
    return kept, old


def _last_old_version(warehouse: Warehouse, stream: Stream, applied: int, before: str) -> int:
    # Only versions below every version that is not old: clocks can go backwards, versions cannot.
    (last,) = one_row(
        warehouse,
        """
        SELECT coalesce(max(version), 0)
        FROM applied_syncs
        WHERE stream = $stream AND version < least($applied, (
            SELECT coalesce(min(version), $applied)
            FROM applied_syncs
            WHERE stream = $stream AND applied_at >= $before::TIMESTAMP
        ))
        """,
        {"stream": stream.name, "applied": applied, "before": before},
    )
    return int(last)


def _count(warehouse: Warehouse, stream: Stream, old: Collection[str], last: int) -> Forgotten:
    """Count the rows to delete: records of `old` extractions, changes up to version `last`.

    Changes that the baseline will contain count as kept.
    """
    staged, rejected, logged, withheld, standing, total = one_row(
        warehouse,
        f"""
        SELECT
            (
                SELECT count(*)
                FROM {stream.landed} AS landed
                WHERE NOT EXISTS (
                    FROM extraction_batches AS b
                    WHERE b.stream = $stream
                        AND NOT list_contains($old::VARCHAR[], b.sync_id)
                        AND b.records_of = landed.sync_id
                        AND b.batch = landed.batch
                )
            ),
            (
                SELECT count(*)
                FROM rejected_records
                WHERE stream = $stream AND list_contains($old::VARCHAR[], sync_id)
            ),
            (SELECT count(*) FROM {stream.cdc} WHERE version <= $applied),
            (SELECT count(*) FROM {stream.withheld} WHERE version <= $applied),
            (SELECT count(*) FROM ({change_log.replayed(stream)})),
            (SELECT count(*) FROM {stream.landed}) + (SELECT count(*) FROM {stream.cdc})
        """,
        {"old": [*old], "stream": stream.name, "applied": last, "moment": change_log.EVER},
    )
    changes = logged - standing + withheld
    return Forgotten(staged, rejected, changes, total - staged - logged + standing)


def _begin_log_after(warehouse: Warehouse, stream: Stream, last: int) -> None:
    """Replace the changes up to version `last` by a baseline: the rows that result from them."""
    known = {"stream": stream.name, "applied": last}
    columns = ", ".join(column.name for column in stream.columns)
    warehouse.execute(
        f"CREATE OR REPLACE TEMP TABLE standing_rows AS {change_log.replayed(stream)}",
        {"applied": last, "moment": change_log.EVER},
    )
    (moment,) = one_row(
        warehouse,
        f"""
        SELECT greatest(
            (SELECT max(detected_at) FROM {stream.cdc} WHERE version <= $applied),
            (SELECT max(applied_at) FROM applied_syncs
                WHERE stream = $stream AND version = $applied)
        )
        """,
        known,
    )
    for table in (stream.cdc, stream.withheld):
        warehouse.delete(table, "version <= $applied", {"applied": last})
    warehouse.delete("logged_versions", "stream = $stream AND version <= $applied", known)
    warehouse.delete("log_beginnings", "stream = $stream", {"stream": stream.name})
    warehouse.insert(
        "log_beginnings",
        "SELECT $stream AS stream, $applied AS version, $moment::TIMESTAMP AS moment",
        known | {"moment": moment},
    )
    warehouse.add(
        stream.cdc,
        f"""
        SELECT
            $applied AS version,
            $baseline AS sync_id,
            row_number() OVER (ORDER BY id) AS sequence,
            id,
            {columns},
            'INSERT' AS change_type,
            attributes,
            content_hash,
            last_updated AS detected_at,
            first_seen
        FROM standing_rows
        """,
        {
            "applied": last,
            "baseline": change_log.BASELINE,
        },
    )
