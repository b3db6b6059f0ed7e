"""Rebuild the latest table: replay the change log and replace the rows with the result."""

from __future__ import annotations

import msgspec
import pyarrow as pa

from elt_assets.errors import InvalidInput
from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row
from elt_assets.sync.state import change_log, feed_log, latest_table, sync_history, versions
from elt_assets.sync.state.fencing import raise_fence
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.streams import Stream, StreamKey


class Rebuilt(msgspec.Struct, frozen=True):
    """The result of a rebuild: rows before and after, and the version replayed to."""

    partition: str
    stream: str
    before: int
    after: int
    version: int


def rebuild(
    database: OperationalDatabase,
    warehouse: Warehouse,
    key: StreamKey,
) -> Rebuilt:
    """Replay the log and make the result the integration's rows, in one transaction.

    The log is replayed up to the last version known to have been applied: that of the operational
    database or, where an older copy of it was restored, that of the log's own record. Raises
    `InvalidInput` when the log is empty or lacks changes that were applied to the latest table.
    """
    stream, ref = key.stream, key.ref
    applied = versions.current(database, key).version
    first, reached, newest = one_row(
        warehouse,
        f"""
        SELECT
            (SELECT min(version) FROM {stream.cdc}),
            (SELECT coalesce(max(version), 0) FROM applied_syncs WHERE stream = $stream),
            (SELECT count(*) FROM {stream.cdc} WHERE version = $applied)
        """,
        {"stream": stream.name, "applied": applied},
    )
    version = max(applied, reached)
    if first is None:
        raise InvalidInput(f"{ref}: the change log is empty; sync the integration instead")
    # A crash can lose the log's newest mark and nothing else: the number of its newest changes
    # proves that they are there.
    unmarked = applied - reached
    if unmarked > 1 or (
        unmarked == 1 and newest != sync_history.changes_of(database, key, applied)
    ):
        raise InvalidInput(
            f"{ref}: the change log reaches version {reached} and the latest table {applied}: "
            "rebuilding would lose what the log lacks; sync the integration instead"
        )
    LatestImages(warehouse, database, key).load()
    rows = warehouse.execute(
        f"""
        SELECT
            id::VARCHAR AS id, * EXCLUDE (id, attributes, first_seen, last_updated),
            attributes::VARCHAR AS attributes,
            strftime(first_seen, '%Y-%m-%dT%H:%M:%S.%fZ') AS first_seen,
            strftime(last_updated, '%Y-%m-%dT%H:%M:%S.%fZ') AS last_updated
        FROM ({change_log.replayed(stream)})
        ORDER BY id
        """,
        {"applied": version, "moment": change_log.EVER},
    ).to_arrow_reader(ROWS_AT_ONCE)
    with database.transaction(ref.partition_key) as transaction:
        raise_fence(transaction, ref, warehouse.fencing_token)
        before = latest_table.count(transaction, key)
        latest_table.replace_all(transaction, key, rows)
        versions.set_version(transaction, key, version, "rebuild")
        after = latest_table.count(transaction, key)
        feed_log.publish(
            transaction,
            feed_log.Published(stream.name, ref, "rebuild", version),
            _differences(warehouse, stream, version),
        )
    return Rebuilt(ref.partition_key, stream.name, before, after, version)


def _differences(warehouse: Warehouse, stream: Stream, version: int) -> pa.RecordBatchReader:
    """The changes from `latest_rows` to the replayed log, in the columns of the change feed."""
    keys = ", ".join(
        f"coalesce(logged.{column.name}, latest.image ->> '/{column.name}') AS {column.name}"
        for column in stream.key
    )
    content = ", ".join(f"logged.{column.name}" for column in stream.content)
    return warehouse.execute(
        f"""
        SELECT
            CASE
                WHEN latest.id IS NULL THEN 'INSERT'
                WHEN logged.id IS NULL THEN 'DELETE'
                ELSE 'UPDATE'
            END AS change_type,
            coalesce(logged.id, latest.id)::VARCHAR AS id,
            {keys},
            {content},
            logged.attributes::VARCHAR AS attributes,
            latest.image::VARCHAR AS "before"
        FROM ({change_log.replayed(stream)}) AS logged
        FULL JOIN latest_rows AS latest ON latest.id = logged.id
        WHERE logged.content_hash IS DISTINCT FROM latest.content_hash
        """,
        {"applied": version, "moment": change_log.EVER},
    ).to_arrow_reader(ROWS_AT_ONCE)
