"""Reading the warehouse: the change log, the dead letters, the totals.

Belongs here: read-only queries for people and commands. Does not: writing (stage, detect).

Changes above the latest table's version were never applied and are not shown.
"""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec

from elt_assets.stores.warehouse import one_row
from elt_assets.sync.stream import Kind, Stream


def changes(
    connection: duckdb.DuckDBPyConnection, stream: Stream, version: int, sync_id: str | None
) -> list[dict[str, Any]]:
    """Applied changes in order, as `changes --json` shows them."""
    members = ", ".join(
        f"'{column.name}', {_json(column.name, column.kind)}" for column in stream.columns
    )
    key = ", ".join(column.name for column in stream.key)
    rows = connection.execute(
        f"""
        SELECT
            sync_id, sequence, change_type, id::VARCHAR, [{key}], "before",
            CASE WHEN change_type <> 'DELETE'
                THEN json_object({members}, 'attributes', attributes) END,
            strftime(detected_at, '%Y-%m-%dT%H:%M:%S.%fZ')
        FROM {stream.cdc}
        WHERE version <= $version AND coalesce(sync_id = $sync_id, true)
        ORDER BY version, sequence
        """,
        {"version": version, "sync_id": sync_id},
    ).fetchall()
    return [
        {
            "sync_id": row[0],
            "sequence": row[1],
            "change_type": row[2],
            "id": row[3],
            "external_id": " / ".join(row[4]),
            "before": None if row[5] is None else msgspec.json.decode(row[5]),
            "after": None if row[6] is None else msgspec.json.decode(row[6]),
            "detected_at": row[7],
        }
        for row in rows
    ]


def rejected(connection: duckdb.DuckDBPyConnection, stream: Stream) -> list[dict[str, Any]]:
    """The dead letters of all syncs still kept, as `rejected --json` shows them."""
    rows = connection.execute(
        """
        SELECT sync_id, batch, seq, key, reason, raw
        FROM rejected_records
        WHERE stream = $stream
        ORDER BY created_at, sync_id, batch, seq
        """,
        {"stream": stream.name},
    ).fetchall()
    return [
        {
            "sync_id": row[0],
            "batch": row[1],
            "seq": row[2],
            "key": row[3],
            "reason": row[4],
            "raw": msgspec.json.decode(row[5]),
        }
        for row in rows
    ]


def staged_and_unique(
    connection: duckdb.DuckDBPyConnection, stream: Stream, sync_id: str
) -> tuple[int, int]:
    """How many records one sync staged, and how many of them differ in id."""
    staged, unique = one_row(
        connection,
        f"SELECT count(*), count(DISTINCT id) FROM {stream.staging} WHERE sync_id = $sync_id",
        {"sync_id": sync_id},
    )
    return staged, unique


def _json(name: str, kind: Kind) -> str:
    return name if kind is Kind.TEXT else f"to_json({name})"
