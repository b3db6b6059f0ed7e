"""Write the change feed: segments of changes, committed together with the latest table.

A segment holds up to a thousand changes of one sync, compressed. The applying transaction numbers
them within their integration; `feed.numbering` later gives them positions over all integrations.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.sync.clock import now

TENANT_TABLES = ("feed_segments", "feed_bodies", "feed_sequences")
TABLES = (*TENANT_TABLES, "feed_state", "feed_consumers")

SEGMENT_ENTRIES = 1_000
"""The most entries in one segment. A reader decompresses the whole segment to return one entry."""
_SEGMENT_BYTES = 4 * 2**20

REMOVED = ""
"""The stream name of the entry that reports the removal of an integration."""

_CODEC = "zstd"
_ALONE = pa.ipc.IpcWriteOptions(use_threads=False)
_SIZE = 8
"""Length in bytes of the prefix of a compressed body, which holds its uncompressed size."""
_TENANT = "organization_id = ? AND connected_integration_id = ?"
_LAST = f"coalesce((SELECT last_sequence FROM feed_sequences WHERE {_TENANT}), 0)"


@dataclass(frozen=True, slots=True)
class Published:
    """The values that all entries of one sync share."""

    stream: str
    ref: IntegrationRef
    sync_id: str
    version: int


def feed_tables() -> list[str]:
    """Statements that create the feed's tables.

    Bodies have a table of their own because numbering rewrites the rows of segments. `bytes` of a
    segment is the size of its body.
    """
    of_segment = (
        "organization_id TEXT NOT NULL, connected_integration_id TEXT NOT NULL,"
        " first_sequence INTEGER NOT NULL,"
    )
    key = "PRIMARY KEY (organization_id, connected_integration_id, first_sequence)"
    return [
        f"CREATE TABLE IF NOT EXISTS feed_segments ({of_segment} entries INTEGER NOT NULL,"
        " bytes INTEGER NOT NULL, stream TEXT NOT NULL, version INTEGER NOT NULL,"
        f" sync_id TEXT NOT NULL, applied_at TEXT NOT NULL, first_position INTEGER, {key})",
        "CREATE UNIQUE INDEX IF NOT EXISTS feed_segments_by_position"
        " ON feed_segments (first_position)",
        "CREATE INDEX IF NOT EXISTS feed_segments_without_position"
        " ON feed_segments (first_sequence) WHERE first_position IS NULL",
        f"CREATE TABLE IF NOT EXISTS feed_bodies ({of_segment} body TEXT NOT NULL, {key})",
        "CREATE TABLE IF NOT EXISTS feed_sequences (organization_id TEXT NOT NULL,"
        " connected_integration_id TEXT NOT NULL, last_sequence INTEGER NOT NULL,"
        " PRIMARY KEY (organization_id, connected_integration_id))",
        "CREATE TABLE IF NOT EXISTS feed_state (feed_id TEXT NOT NULL, head INTEGER NOT NULL,"
        " trimmed INTEGER NOT NULL, PRIMARY KEY (feed_id))",
        "CREATE TABLE IF NOT EXISTS feed_consumers (name TEXT NOT NULL, token_hash TEXT,"
        " organizations TEXT, streams TEXT, fields TEXT, endpoint TEXT, secret TEXT,"
        " position INTEGER NOT NULL, position_at TEXT NOT NULL, created_at TEXT NOT NULL,"
        " pending INTEGER, batch INTEGER NOT NULL, failures INTEGER NOT NULL, error TEXT,"
        " retry_at TEXT, stopped INTEGER NOT NULL, PRIMARY KEY (name))",
    ]


def publish(transaction: Transaction, about: Published, changes: pa.RecordBatchReader) -> None:
    """Add the changes of one sync to the feed, in the transaction that applies them."""
    entries = 0
    for batch in _in_segments(changes):
        _add(transaction, about, entries, batch.num_rows, _packed(batch))
        entries += batch.num_rows
    _count(transaction, about.ref, entries)


def publish_removal(transaction: Transaction, ref: IntegrationRef) -> None:
    """Erase the integration's entries and publish one entry in their place: that it was removed."""
    exclude_numbering(transaction)
    for table in ("feed_segments", "feed_bodies"):
        transaction.execute(f"DELETE FROM {table} WHERE {_TENANT}", ref.values)
    _add(transaction, Published(REMOVED, ref, "", 0), 0, 1, None)
    _count(transaction, ref, 1)


def exclude_numbering(transaction: Transaction) -> None:
    """Keep other transactions from changing or deleting segments until this one ends.

    Without this, two transactions that change the same segments in different orders could
    deadlock. A transaction that applies changes only adds segments and takes no such lock.
    """
    for statement in transaction.dialect.exclusive("feed_state"):
        transaction.execute(statement)


def renew(database: OperationalDatabase) -> None:
    """Give a copy of the feed another name, so that it refuses positions of the original.

    The two feeds continue separately, and one number means a different entry in each.
    """
    with database.transaction() as transaction:
        transaction.execute("UPDATE feed_state SET feed_id = ?", (new_feed_id(),))


def new_feed_id() -> str:
    """A random name, practically unique among installations."""
    return secrets.token_hex(4)


def unpacked(body: str) -> pa.RecordBatch:
    """The changes of a segment, with the columns of `change_log.to_publish`."""
    data = base64.b64decode(body)
    size = int.from_bytes(data[:_SIZE])
    written = pa.decompress(memoryview(data)[_SIZE:], decompressed_size=size, codec=_CODEC)
    with pa.ipc.open_stream(written) as reader:
        return reader.read_next_batch()


def _add(
    transaction: Transaction, about: Published, before: int, entries: int, body: str | None
) -> None:
    """Add a segment, after the `before` entries that this transaction has already added."""
    values = (*about.ref.values, *about.ref.values, before + 1)
    if body is not None:
        transaction.execute(f"INSERT INTO feed_bodies SELECT ?, ?, {_LAST} + ?, ?", (*values, body))
    transaction.execute(
        f"INSERT INTO feed_segments SELECT ?, ?, {_LAST} + ?, ?, ?, ?, ?, ?, ?, NULL",
        (
            *values,
            entries,
            len(body or ""),
            about.stream,
            about.version,
            about.sync_id,
            now(),
        ),
    )


def _count(transaction: Transaction, ref: IntegrationRef, entries: int) -> None:
    """Increase the last sequence number of the integration by `entries`."""
    if entries:
        transaction.execute(
            """
            INSERT INTO feed_sequences VALUES (?, ?, ?)
            ON CONFLICT (organization_id, connected_integration_id)
            DO UPDATE SET last_sequence = feed_sequences.last_sequence + excluded.last_sequence
            """,
            (*ref.values, entries),
        )


def _in_segments(changes: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    for batch in changes:
        for start in range(0, batch.num_rows, SEGMENT_ENTRIES):
            yield from _split(batch.slice(start, SEGMENT_ENTRIES))


def _split(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Split a batch until each part is small enough for a reader's memory or has one entry."""
    if batch.num_rows <= 1 or batch.nbytes <= _SEGMENT_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _split(batch.slice(0, half))
    yield from _split(batch.slice(half))


def _packed(batch: pa.RecordBatch) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_ALONE) as writer:
        writer.write_batch(batch)
    written = sink.getvalue()
    # Compressed as a whole: Arrow would compress each column by itself, which takes longer and
    # more space.
    packed = pa.compress(written, _CODEC, asbytes=True)
    return base64.b64encode(written.size.to_bytes(_SIZE) + packed).decode("ascii")
