"""Read the dead letters: records that could not be used, with the reason."""

from __future__ import annotations

from typing import Any

import msgspec

from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.streams import Stream

_RAW = msgspec.json.Decoder(float_hook=float)
"""Floats are parsed by Python: a record may have been rejected for a number that none can hold."""


def rejected(
    warehouse: Warehouse,
    stream: Stream,
    sync_id: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """The dead letters as `rejected --json` shows them, of one sync or of all that are kept.

    With `limit`, at most that many, oldest first.
    """
    rows = warehouse.execute(
        """
        SELECT sync_id, batch, seq, key, reason, raw
        FROM rejected_records
        WHERE stream = $stream AND sync_id = coalesce($sync_id, sync_id)
        ORDER BY created_at, sync_id, batch, seq
        LIMIT coalesce($limit, 9223372036854775807)
        """,
        {"stream": stream.name, "sync_id": sync_id, "limit": limit},
    ).fetchall()
    return [
        {
            "sync_id": row[0],
            "batch": row[1],
            "seq": row[2],
            "key": row[3],
            "reason": row[4],
            "raw": _RAW.decode(row[5]),
        }
        for row in rows
    ]
