"""Snapshots: the latest rows in pages, and the position from which to go on.

No transaction is held over pages. Each row carries the number of its integration's newest entry
when the page was read, so that a consumer can tell which entries a row holds already.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from elt_assets.errors import InvalidInput
from elt_assets.feed.scope import ATTRIBUTES, Scope
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.sync.streams import ColumnType, Stream

_PAGE_CHARACTERS = 16 * 2**20
"""Of the rows of one page together; a row that has more is a page of its own."""


class SnapshotPosition(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins: behind this row. `position` is that of the snapshot's beginning."""

    position: str
    stream: str
    organization_id: str = ""
    connected_integration_id: str = ""
    id: str = ""

    def text(self) -> str:
        """As a consumer is given it."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> SnapshotPosition:
        """Raises `InvalidInput` for what no page has given."""
        try:
            place = msgspec.json.decode(
                base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls
            )
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            place = None
        # PostgreSQL takes no text with a zero byte.
        if place is None or not all(part.isprintable() for part in msgspec.structs.astuple(place)):
            raise InvalidInput(
                "page is none that this feed gave: send `next_page` of the page before"
            )
        return place


def page(
    database: OperationalDatabase, stream: Stream, place: SnapshotPosition, limit: int, scope: Scope
) -> tuple[list[dict[str, Any]], SnapshotPosition | None]:
    """Up to `limit` rows behind a place, and the next place unless these were the last.

    Fewer where many would take more memory than an answer may.
    """
    with database.snapshot() as snapshot:
        rows, limit = _rows(snapshot, stream, place, limit, scope)
    booleans = [column.name for column in stream.columns if column.kind is ColumnType.BOOLEAN]
    found = []
    for row in rows:
        for name in booleans:
            row[name] = None if row[name] is None else bool(row[name])
        image = {column.name: row[column.name] for column in stream.columns}
        image[ATTRIBUTES] = msgspec.json.decode(row["attributes"])
        found.append(
            {
                "organization_id": row["organization_id"],
                "connected_integration_id": row["connected_integration_id"],
                "stream": stream.name,
                "id": row["id"],
                "key": {column.name: row[column.name] for column in stream.key},
                "row": scope.visible(image),
                "sequence": row["sequence"],
                "first_seen": row["first_seen"],
                "last_updated": row["last_updated"],
            }
        )
    if len(rows) < limit:
        return found, None
    last = rows[-1]
    return found, SnapshotPosition(
        place.position,
        place.stream,
        last["organization_id"],
        last["connected_integration_id"],
        last["id"],
    )


def _rows(
    snapshot: Transaction, stream: Stream, place: SnapshotPosition, limit: int, scope: Scope
) -> tuple[list[Row], int]:
    """Rows behind the place, and how many were asked for: no more than an answer has room for."""
    condition, parameters = scope.condition(snapshot.dialect, of_feed=False)
    behind = (
        f"FROM {stream.latest}"
        " WHERE (organization_id, connected_integration_id, id) > (?, ?, ?)"
        f" AND deleted_at IS NULL AND {condition}"
        " ORDER BY organization_id, connected_integration_id, id"
    )
    values = (place.organization_id, place.connected_integration_id, place.id, *parameters)
    texts = [column.name for column in stream.columns if column.kind is ColumnType.TEXT]
    size = " + ".join(f"coalesce(length({name}), 0)" for name in (*texts, ATTRIBUTES))
    while (
        limit > 1
        and snapshot.value(
            f"SELECT CAST(coalesce(sum({size}), 0) AS BIGINT) AS n"
            f" FROM (SELECT * {behind} LIMIT {limit}) AS latest",
            values,
        )
        > _PAGE_CHARACTERS
    ):
        limit //= 2
    columns = ", ".join(f"latest.{column.name}" for column in stream.columns)
    rows = snapshot.rows(
        f"""
        SELECT
            latest.organization_id, latest.connected_integration_id, latest.id, {columns},
            latest.attributes, latest.first_seen, latest.last_updated,
            coalesce(feed.last_sequence, 0) AS sequence
        FROM (SELECT * {behind} LIMIT {limit}) AS latest
        LEFT JOIN feed_sequences AS feed
            ON feed.organization_id = latest.organization_id
            AND feed.connected_integration_id = latest.connected_integration_id
        ORDER BY latest.organization_id, latest.connected_integration_id, latest.id
        """,
        values,
    )
    return rows, limit
