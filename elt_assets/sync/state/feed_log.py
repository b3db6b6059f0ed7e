"""The change feed as an apply writes it: segments of changes, committed with the latest table.

A segment holds up to a thousand changes of one sync, packed. The applying transaction numbers them
within their integration; their position over all integrations is given later (`feed.numbering`).
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
"""Entries in one segment: what a reader unpacks to hand out any of them."""
_SEGMENT_BYTES = 4 * 2**20

REMOVED = ""
"""The stream of the one entry that says that an integration was removed."""

_CODEC = "zstd"
_ALONE = pa.ipc.IpcWriteOptions(use_threads=False)
_SIZE = 8
"""Bytes before a packed body that have its size as Arrow writes it."""
_TENANT = "organization_id = ? AND connected_integration_id = ?"
_LAST = f"coalesce((SELECT last_sequence FROM feed_sequences WHERE {_TENANT}), 0)"


@dataclass(frozen=True, slots=True)
class Published:
    """What the entries of one sync have in common."""

    stream: str
    ref: IntegrationRef
    sync_id: str
    version: int


def feed_tables() -> list[str]:
    """Statements that make the feed's tables. Bodies stand apart: numbering rewrites segments.

    A segment's `bytes` are those of its body.
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
    """Erase the integration's entries and publish that it was removed, and nothing else of it."""
    exclude_numbering(transaction)
    for table in ("feed_segments", "feed_bodies"):
        transaction.execute(f"DELETE FROM {table} WHERE {_TENANT}", ref.values)
    _add(transaction, Published(REMOVED, ref, "", 0), 0, 1, None)
    _count(transaction, ref, 1)


def exclude_numbering(transaction: Transaction) -> None:
    """Be the only one, until the transaction ends, that changes or deletes segments.

    Applies only add segments and wait for nobody. Two that changed the same ones in another order
    would wait for each other.
    """
    for statement in transaction.dialect.exclusive("feed_state"):
        transaction.execute(statement)


def renew(database: OperationalDatabase) -> None:
    """Give a copy of the feed another name, so that it refuses positions of the original.

    The two go on separately, and the same number means another entry in each.
    """
    with database.transaction() as transaction:
        transaction.execute("UPDATE feed_state SET feed_id = ?", (new_feed_id(),))


def new_feed_id() -> str:
    """A name that no other installation has."""
    return secrets.token_hex(4)


def unpacked(body: str) -> pa.RecordBatch:
    """The changes of a segment; columns as `change_log.to_publish` gives them."""
    data = base64.b64decode(body)
    size = int.from_bytes(data[:_SIZE])
    written = pa.decompress(memoryview(data)[_SIZE:], decompressed_size=size, codec=_CODEC)
    with pa.ipc.open_stream(written) as reader:
        return reader.read_next_batch()


def _add(
    transaction: Transaction, about: Published, before: int, entries: int, body: str | None
) -> None:
    """Add a segment before which this transaction has added so many entries."""
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
    """Note that the integration has so many entries more."""
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
    """Parts that a reader can hold in memory, or single entries."""
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
    # As a whole: Arrow itself packs each column apart, which takes longer and more room.
    packed = pa.compress(written, _CODEC, asbytes=True)
    return base64.b64encode(written.size.to_bytes(_SIZE) + packed).decode("ascii")
