"""Reading the feed: the entries after a position that are in a scope."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from elt_assets.feed.numbering import FeedState, number_of
from elt_assets.feed.scope import ATTRIBUTES, Scope
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.sync.state.feed_log import REMOVED, SEGMENT_ENTRIES, unpacked
from elt_assets.sync.streams import STREAMS, Stream

_PACKED_BYTES = 8 * 2**20
"""The most bytes of compressed bodies that one answer reads; one body is always read."""
_UNPACKED_BYTES = 16 * 2**20
"""The same limit for decompressed bodies: equal values compress to a thousandth."""

_TYPES = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted"}


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries found, and the number to continue from: all entries up to it were searched.

    `more` says that there may already be further entries.
    """

    found: list[dict[str, Any]]
    next: int
    more: bool


def read(
    database: OperationalDatabase, state: FeedState, after: int, limit: int, scope: Scope
) -> Entries:
    """The first `limit` entries after `after` that are in the scope, in the order of positions.

    `state` must have been read before, and `after` be a number of it. The result may have entries
    that were numbered since.
    """
    with database.snapshot() as snapshot:
        chosen, cut = _chosen(snapshot, after, limit, scope)
        bodies = _bodies(snapshot, chosen, scope)
    found: list[dict[str, Any]] = []
    size = 0
    for segment in chosen:
        rows = _rows(segment, bodies, after, limit - len(found))
        size += rows.size
        if found and size > _UNPACKED_BYTES:
            cut = True
            break
        found += _entries(segment, rows, state, scope)
        if len(found) == limit:
            cut = True
            break
    last = number_of(found[-1]["position"]) if found else after
    return Entries(found, last if cut else max(state.head, last), cut)


def behind(database: OperationalDatabase, after: int, scope: Scope) -> tuple[int, str | None]:
    """The number of entries of the scope after a position, and when the first was applied.

    Only entries that have a position are counted.
    """
    condition, parameters = scope.condition(database.dialect, of_feed=True)
    (row,) = database.rows(
        f"""
        SELECT
            CAST(coalesce(sum(
                entries - CASE WHEN first_position <= ? THEN ? + 1 - first_position ELSE 0 END
            ), 0) AS BIGINT) AS entries,
            min(applied_at) AS oldest
        FROM feed_segments
        WHERE first_position + entries - 1 > ? AND first_position > ? AND {condition}
        """,
        (after, after, after, after - SEGMENT_ENTRIES, *parameters),
    )
    return int(row["entries"]), row["oldest"]


def bytes_after(database: OperationalDatabase, after: int) -> int:
    """The number of bytes that entries after a position take; entries without one are left out."""
    (row,) = database.rows(
        "SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) AS n FROM feed_segments"
        " WHERE first_position + entries - 1 > ? AND first_position > ?",
        (after, after - SEGMENT_ENTRIES),
    )
    return int(row["n"])


def _chosen(snapshot: Transaction, after: int, limit: int, scope: Scope) -> tuple[list[Row], bool]:
    """The segments to read for the answer, and whether there may be more after them."""
    condition, parameters = scope.condition(snapshot.dialect, of_feed=True)
    rows = snapshot.rows(
        f"""
        SELECT
            organization_id, connected_integration_id, first_sequence, first_position, entries,
            bytes, stream, version, sync_id, applied_at
        FROM feed_segments
        WHERE first_position > ? AND first_position + entries - 1 > ? AND {condition}
        ORDER BY first_position
        LIMIT {int(limit)}
        """,
        (after - SEGMENT_ENTRIES, after, *parameters),
    )
    chosen: list[Row] = []
    entries = size = 0
    for row in rows:
        size += row["bytes"]
        if chosen and (entries >= limit or size > _PACKED_BYTES):
            return chosen, True
        chosen.append(row)
        entries += row["entries"] - max(0, after + 1 - row["first_position"])
    return chosen, len(rows) == limit


def _bodies(
    snapshot: Transaction, chosen: list[Row], scope: Scope
) -> dict[tuple[str, str, int], str]:
    if not chosen:
        return {}
    condition, parameters = scope.condition(snapshot.dialect, of_feed=True)
    rows = snapshot.rows(
        f"""
        SELECT
            body.organization_id, body.connected_integration_id, body.first_sequence, body.body
        FROM (
            SELECT organization_id, connected_integration_id, first_sequence
            FROM feed_segments
            WHERE first_position BETWEEN ? AND ? AND {condition}
        ) AS segment
        JOIN feed_bodies AS body
            ON body.organization_id = segment.organization_id
            AND body.connected_integration_id = segment.connected_integration_id
            AND body.first_sequence = segment.first_sequence
        """,
        (chosen[0]["first_position"], chosen[-1]["first_position"], *parameters),
    )
    return {_key(row): row["body"] for row in rows}


@dataclass(frozen=True, slots=True)
class _Rows:
    """Changes of a segment from place `first` on; `size` is its decompressed size in bytes."""

    first: int
    changes: pa.RecordBatch | None
    size: int


def _rows(segment: Row, bodies: dict[tuple[str, str, int], str], after: int, limit: int) -> _Rows:
    first = max(0, after + 1 - segment["first_position"])
    if segment["stream"] == REMOVED:
        return _Rows(first, None, 0)
    changes = unpacked(bodies[_key(segment)])
    return _Rows(first, changes.slice(first, limit), changes.nbytes)


def _entries(segment: Row, rows: _Rows, state: FeedState, scope: Scope) -> Iterator[dict[str, Any]]:
    common = {
        "organization_id": segment["organization_id"],
        "connected_integration_id": segment["connected_integration_id"],
        "applied_at": segment["applied_at"],
    }
    if rows.changes is None:
        yield {
            "position": state.text(segment["first_position"]),
            "sequence": segment["first_sequence"],
            "type": "integration.removed",
            **common,
        }
        return
    stream = STREAMS[segment["stream"]]
    for place, row in enumerate(rows.changes.to_pylist(), rows.first):
        yield {
            "position": state.text(segment["first_position"] + place),
            "sequence": segment["first_sequence"] + place,
            "type": f"{stream.name}.{_TYPES[row['change_type']]}",
            **common,
            "stream": stream.name,
            "id": row["id"],
            "key": {column.name: row[column.name] for column in stream.key},
            **_images(stream, row, scope),
            "version": segment["version"],
            "sync_id": segment["sync_id"],
        }


def _images(stream: Stream, row: dict[str, Any], scope: Scope) -> dict[str, Any]:
    before = None if row["before"] is None else msgspec.json.decode(row["before"])
    after = None
    if row["change_type"] != "DELETE":
        after = {column.name: row[column.name] for column in stream.columns}
        after[ATTRIBUTES] = msgspec.json.decode(row["attributes"])
    names = [column.name for column in stream.content] + [ATTRIBUTES]
    changed = [name for name in names if (before or {}).get(name) != (after or {}).get(name)]
    if scope.fields:
        changed = [name for name in changed if name in scope.fields]
    return {"changed": changed, "before": scope.visible(before), "after": scope.visible(after)}


def _key(row: Row) -> tuple[str, str, int]:
    return (
        row["organization_id"],
        row["connected_integration_id"],
        row["first_sequence"],
    )
