"""Snapshots: the latest rows in pages, and the position from which to continue with the feed.

No transaction spans several pages. Each row carries the number of its integration's newest entry
when the page was read, so that a consumer can tell which entries the row already reflects.
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
"""The most characters in the rows of one page; a larger row is a page by itself."""


class SnapshotPosition(msgspec.Struct, frozen=True, array_like=True):
    """The row after which a page begins; `position` is the feed's when the snapshot began."""

    position: str
    stream: str
    organization_id: str = ""
    connected_integration_id: str = ""
    id: str = ""

    def text(self) -> str:
        """This place in the form that consumers get."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> SnapshotPosition:
        """Parse a `next_page`. Raises `InvalidInput` for any other text."""
        try:
            place = msgspec.json.decode(
                base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls
            )
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            place = None
        # PostgreSQL accepts no text with a NUL character.
        if place is None or not all(part.isprintable() for part in msgspec.structs.astuple(place)):
            raise InvalidInput(
                "page is not one that this feed returned: send `next_page` of the previous answer"
            )
        return place


def page(
    database: OperationalDatabase, stream: Stream, place: SnapshotPosition, limit: int, scope: Scope
) -> tuple[list[dict[str, Any]], SnapshotPosition | None]:
    """Up to `limit` rows after `place`, and the next place, None if these were the last.

    There are fewer rows where `limit` of them would take too much memory.
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
    """The rows after the place, and the limit that was used: lowered until the page is small."""
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
