"""The latest table: read one integration's rows, and apply changes to them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import msgspec
import pyarrow as pa

from elt_assets.config.safeguards import DeleteMode
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.storage.operational.sql_dialect import SqlDialect
from elt_assets.sync.streams import ColumnType, Stream, StreamKey

_TENANT = "organization_id = ? AND connected_integration_id = ?"


def hashes(
    database: OperationalDatabase, key: StreamKey
) -> AbstractContextManager[pa.RecordBatchReader]:
    """Stream the integration's rows as (id, content_hash), text, none NULL."""
    return database.reader(f"SELECT id, content_hash {_rows(key)}", key.ref.values)


def identities(
    database: OperationalDatabase, stream: Stream, refs: Sequence[IntegrationRef]
) -> AbstractContextManager[pa.RecordBatchReader]:
    """Stream the rows of several integrations: their tenant, id, key columns and content_hash."""
    keys = ", ".join(f"held.{column.name}" for column in stream.key)
    # CROSS JOIN fixes the order of the join; SQLite would otherwise scan the whole table.
    return database.reader(
        f"""
        SELECT
            held.organization_id, held.connected_integration_id, held.id, {keys},
            held.content_hash
        FROM ({database.dialect.pairs}) AS asked
        CROSS JOIN {stream.latest} AS held
        WHERE held.organization_id = asked.first
            AND held.connected_integration_id = asked.second
            AND held.deleted_at IS NULL
        """,
        (msgspec.json.encode([ref.values for ref in refs]).decode(),),
    )


def images(
    database: OperationalDatabase, key: StreamKey
) -> AbstractContextManager[pa.RecordBatchReader]:
    """Stream the integration's rows as (id, content_hash, image), all text, none NULL.

    `image` is a JSON object of the row's key, content and attributes: the before-image of
    a change. As a single text it contains no NULL columns, which SQLite's driver cannot type.
    """
    image = _image(key.stream, database.dialect)
    return database.reader(
        f"SELECT id, content_hash, {image} AS image {_rows(key)}", key.ref.values
    )


def images_of(database: OperationalDatabase, key: StreamKey, ids: Sequence[str]) -> pa.Table:
    """The rows with one of `ids`, as (id, image), where they exist; see `images`."""
    image = _image(key.stream, database.dialect)
    sql = f"SELECT id, {image} AS image {_rows(key)} AND id IN ({database.dialect.texts})"
    with database.reader(sql, (*key.ref.values, msgspec.json.encode(ids).decode())) as reader:
        return reader.read_all()


def with_times(
    database: OperationalDatabase, key: StreamKey
) -> AbstractContextManager[pa.RecordBatchReader]:
    """Stream the integration's rows as (id, content_hash, image, first_seen, last_updated)."""
    image = _image(key.stream, database.dialect)
    return database.reader(
        f"SELECT id, content_hash, {image} AS image, first_seen, last_updated"
        f" {_rows(key)} ORDER BY id",
        key.ref.values,
    )


def apply_changes(
    transaction: Transaction,
    key: StreamKey,
    changes: pa.RecordBatchReader,
    *,
    delete_mode: DeleteMode,
    now: str,
) -> None:
    """Upsert and delete rows as `changes` says; `changes` must be sorted by id.

    `delete_mode` 'soft' keeps a deleted row and sets its `deleted_at`. Columns of `changes`: id,
    the stream's columns, attributes, content_hash, change_type.
    """
    written = [*(column.name for column in key.stream.columns), "attributes", "content_hash"]
    updated = ", ".join(f"{name} = excluded.{name}" for name in [*written, "last_updated"])
    columns = ", ".join(written)
    with transaction.ingested("changes", changes) as incoming:
        transaction.execute(
            f"""
            INSERT INTO {key.stream.latest} (
                organization_id, connected_integration_id, id, {columns},
                first_seen, last_updated
            )
            SELECT ?, ?, id, {columns}, ?, ?
            FROM {incoming}
            WHERE change_type <> 'DELETE'
            ORDER BY id
            ON CONFLICT (organization_id, connected_integration_id, id) DO UPDATE
            SET {updated}, deleted_at = NULL
            """,
            (*key.ref.values, now, now),
        )
        gone = f"{_TENANT} AND id IN (SELECT id FROM {incoming} WHERE change_type = 'DELETE')"
        if delete_mode == "soft":
            transaction.execute(
                f"UPDATE {key.stream.latest} SET deleted_at = ?, last_updated = ? WHERE {gone}",
                (now, now, *key.ref.values),
            )
        else:
            transaction.execute(f"DELETE FROM {key.stream.latest} WHERE {gone}", key.ref.values)


def replace_all(transaction: Transaction, key: StreamKey, rows: pa.RecordBatchReader) -> None:
    """Replace the integration's rows by `rows`, in this transaction.

    Columns of `rows`: id, the stream's columns, attributes, content_hash, first_seen,
    last_updated.
    """
    content = ", ".join(column.name for column in key.stream.columns)
    columns = f"id, {content}, attributes, content_hash, first_seen, last_updated"
    with transaction.ingested("rebuilt", rows) as rebuilt:
        # Soft-deleted rows are not in the replayed log. They stay, unless `rows` has them again.
        for gone in ("deleted_at IS NULL", f"id IN (SELECT id FROM {rebuilt})"):
            transaction.execute(
                f"DELETE FROM {key.stream.latest} WHERE {_TENANT} AND {gone}", key.ref.values
            )
        transaction.execute(
            f"""
            INSERT INTO {key.stream.latest} (organization_id, connected_integration_id, {columns})
            SELECT ?, ?, {columns}
            FROM {rebuilt}
            ORDER BY id
            """,
            key.ref.values,
        )


def count(source: Transaction | OperationalDatabase, key: StreamKey) -> int:
    """How many rows the integration has in the latest table now."""
    rows = source.rows(f"SELECT count(*) AS n {_rows(key)}", key.ref.values)
    return int(rows[0]["n"])


def external_ids(database: OperationalDatabase, key: StreamKey) -> list[str]:
    """The keys of the integration's rows; for streams whose key is one column."""
    rows = database.rows(
        f"SELECT {key.stream.key[0].name} AS key {_rows(key)}",
        key.ref.values,
    )
    return [row["key"] for row in rows]


def listing(database: OperationalDatabase, key: StreamKey) -> list[Row]:
    """The integration's rows as `users --json` shows them, ordered by key."""
    stream = key.stream
    keys = ", ".join(column.name for column in stream.key)
    columns = ", ".join(column.name for column in stream.columns)
    rows = database.rows(
        f"SELECT id, {columns}, organization_id, connected_integration_id, attributes,"
        f" content_hash, first_seen, last_updated {_rows(key)} ORDER BY {keys}",
        key.ref.values,
    )
    booleans = [column.name for column in stream.columns if column.kind is ColumnType.BOOLEAN]
    for row in rows:
        row["attributes"] = msgspec.json.decode(row["attributes"])
        for name in booleans:
            row[name] = None if row[name] is None else bool(row[name])
    return rows


def remove_all(transaction: Transaction, key: StreamKey) -> None:
    """Delete every row of the integration, soft-deleted ones too."""
    transaction.execute(f"DELETE FROM {key.stream.latest} WHERE {_TENANT}", key.ref.values)


def _rows(key: StreamKey) -> str:
    """SQL for the integration's rows that are not soft-deleted; its parameters are `ref.values`."""
    return f"FROM {key.stream.latest} WHERE {_TENANT} AND deleted_at IS NULL"


def _image(stream: Stream, dialect: SqlDialect) -> str:
    members = {
        column.name: dialect.json_boolean(column.name)
        if column.kind is ColumnType.BOOLEAN
        else column.name
        for column in stream.columns
    }
    return dialect.json_object({**members, "attributes": dialect.json_document("attributes")})
