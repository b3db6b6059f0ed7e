"""The latest table: read one integration's rows, and apply changes to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import pyarrow as pa

from elt_assets.config.safeguards import DeleteMode
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.storage.operational.dialect import Dialect
from elt_assets.sync.streams import Kind, Stream

_TENANT = "organization_id = ? AND connected_integration_id = ?"


@contextmanager
def hashes(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef
) -> Iterator[pa.RecordBatchReader]:
    """Stream the integration's rows as (id, content_hash), text, none NULL."""
    sql = f"SELECT id, content_hash FROM {stream.latest} WHERE {_TENANT} AND deleted_at IS NULL"
    with database.reader(sql, _tenant(ref)) as reader:
        yield reader


@contextmanager
def images(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef
) -> Iterator[pa.RecordBatchReader]:
    """Stream the integration's rows as (id, content_hash, image), all text, none NULL.

    `image` is a JSON object of the row's key, content and attributes: the before-image of
    a change. Being one text it needs no NULLs, which SQLite's driver cannot type.
    """
    sql = (
        f"SELECT id, content_hash, {_image(stream, database.dialect)} AS image"
        f" FROM {stream.latest} WHERE {_TENANT} AND deleted_at IS NULL"
    )
    with database.reader(sql, _tenant(ref)) as reader:
        yield reader


def images_of(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef, ids: Sequence[str]
) -> pa.Table:
    """Those of the rows `ids` that are there, as (id, image); see `images`."""
    sql = (
        f"SELECT id, {_image(stream, database.dialect)} AS image"
        f" FROM {stream.latest} WHERE {_TENANT} AND deleted_at IS NULL"
        f" AND id IN ({database.dialect.texts})"
    )
    with database.reader(sql, (*_tenant(ref), msgspec.json.encode(ids).decode())) as reader:
        return reader.read_all()


@contextmanager
def standing(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef
) -> Iterator[pa.RecordBatchReader]:
    """Stream the integration's rows as (id, content_hash, image, first_seen, last_updated)."""
    sql = (
        f"SELECT id, content_hash, {_image(stream, database.dialect)} AS image,"
        " first_seen, last_updated"
        f" FROM {stream.latest} WHERE {_TENANT} AND deleted_at IS NULL ORDER BY id"
    )
    with database.reader(sql, _tenant(ref)) as reader:
        yield reader


def apply_changes(
    transaction: Transaction,
    stream: Stream,
    ref: IntegrationRef,
    changes: pa.RecordBatchReader,
    *,
    delete_mode: DeleteMode,
    now: str,
) -> None:
    """Upsert and delete what `changes` holds; rows must come sorted by id.

    `delete_mode` 'soft' keeps a deleted row and sets its `deleted_at`.

    Columns of `changes`: id, the stream's columns, attributes, content_hash, change_type.
    """
    keys = [column.name for column in stream.key]
    content = [column.name for column in stream.content]
    written = [*keys, *content, "attributes", "content_hash"]
    updated = ", ".join(f"{name} = excluded.{name}" for name in [*written, "last_updated"])
    columns = ", ".join(written)
    with transaction.ingested("changes", changes) as incoming:
        transaction.execute(
            f"""
            INSERT INTO {stream.latest} (
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
            (*_tenant(ref), now, now),
        )
        gone = f"{_TENANT} AND id IN (SELECT id FROM {incoming} WHERE change_type = 'DELETE')"
        if delete_mode == "soft":
            transaction.execute(
                f"UPDATE {stream.latest} SET deleted_at = ?, last_updated = ? WHERE {gone}",
                (now, now, *_tenant(ref)),
            )
        else:
            transaction.execute(f"DELETE FROM {stream.latest} WHERE {gone}", _tenant(ref))


def replace_all(
    transaction: Transaction, stream: Stream, ref: IntegrationRef, rows: pa.RecordBatchReader
) -> None:
    """Make `rows` the integration's only rows: loaded aside, swapped in this transaction.

    Columns of `rows`: id, the stream's columns, attributes, content_hash, first_seen,
    last_updated.
    """
    columns = ", ".join(
        [
            "id",
            *(column.name for column in stream.columns),
            "attributes",
            "content_hash",
            "first_seen",
            "last_updated",
        ]
    )
    with transaction.ingested("rebuilt", rows) as rebuilt:
        # Rows kept as deleted are not part of the log's result and stay.
        for gone in ("deleted_at IS NULL", f"id IN (SELECT id FROM {rebuilt})"):
            transaction.execute(
                f"DELETE FROM {stream.latest} WHERE {_TENANT} AND {gone}", _tenant(ref)
            )
        transaction.execute(
            f"""
            INSERT INTO {stream.latest} (organization_id, connected_integration_id, {columns})
            SELECT ?, ?, {columns}
            FROM {rebuilt}
            ORDER BY id
            """,
            _tenant(ref),
        )


def count(source: Transaction | OperationalDatabase, stream: Stream, ref: IntegrationRef) -> int:
    """How many rows the integration has in the latest table now."""
    rows = source.rows(
        f"SELECT count(*) AS n FROM {stream.latest} WHERE {_TENANT} AND deleted_at IS NULL",
        _tenant(ref),
    )
    return int(rows[0]["n"])


def external_ids(database: OperationalDatabase, stream: Stream, ref: IntegrationRef) -> list[str]:
    """The keys of the integration's rows, of a stream whose key is one column."""
    key = stream.key[0].name
    rows = database.rows(
        f"SELECT {key} AS key FROM {stream.latest} WHERE {_TENANT} AND deleted_at IS NULL",
        _tenant(ref),
    )
    return [row["key"] for row in rows]


def listing(database: OperationalDatabase, stream: Stream, ref: IntegrationRef) -> list[Row]:
    """The integration's rows as `users --json` shows them, ordered by key."""
    keys = ", ".join(column.name for column in stream.key)
    columns = ", ".join(column.name for column in stream.columns)
    rows = database.rows(
        f"SELECT id, {columns}, organization_id, connected_integration_id, attributes,"
        f" content_hash, first_seen, last_updated"
        f" FROM {stream.latest} WHERE {_TENANT} AND deleted_at IS NULL ORDER BY {keys}",
        _tenant(ref),
    )
    booleans = [column.name for column in stream.columns if column.kind is Kind.BOOLEAN]
    for row in rows:
        row["attributes"] = msgspec.json.decode(row["attributes"])
        for name in booleans:
            row[name] = None if row[name] is None else bool(row[name])
    return rows


def remove_all(transaction: Transaction, stream: Stream, ref: IntegrationRef) -> None:
    """Delete every row of the integration, soft-deleted ones too."""
    transaction.execute(f"DELETE FROM {stream.latest} WHERE {_TENANT}", _tenant(ref))


def _tenant(ref: IntegrationRef) -> tuple[str, str]:
    return ref.organization_id, ref.integration_id


def _image(stream: Stream, dialect: Dialect) -> str:
    members = {
        column.name: dialect.json_boolean(column.name)
        if column.kind is Kind.BOOLEAN
        else column.name
        for column in stream.columns
    }
    return dialect.json_object({**members, "attributes": dialect.json_document("attributes")})
