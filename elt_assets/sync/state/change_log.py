"""The change log: write a sync's changes, read them back, replay them.

A change is logged under the version that the latest table will have once it is applied. Changes
above the table's own version were never applied: readers leave them out and the next writer deletes
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pyarrow as pa

from elt_assets.errors import DatabaseDamaged, InvalidInput
from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row, row_of
from elt_assets.sync.streams import Column, Stream, StreamKey

BASELINE = "baseline"
"""The sync_id of rows that stand for what the log missed or no longer keeps."""

EVER = "infinity"
"""A moment after all others. `now` is not one, because clocks can go backwards."""

SAMPLE = 10

_SORTED_AT_ONCE = 250_000


class LogState(NamedTuple):
    """Whether the log is behind the latest table, and how many rows `missing_records` has."""

    behind: bool
    missing: int


def drop_unapplied(warehouse: Warehouse, key: StreamKey, applied: int) -> LogState:
    """Delete changes that earlier attempts logged and never applied.

    `applied` is the latest table's version; a log without the mark of that version may lack
    changes (`repair_log`). Raises `DatabaseDamaged` when the log is further ahead than one
    attempt can be: an older copy of the operational database was restored.
    """
    stream, ref = key.stream, key.ref
    of_stream = {"applied": applied, "stream": stream.name}
    marked, reached, left_over, missing = one_row(
        warehouse,
        """
        SELECT
            (SELECT coalesce(max(version), 0) FROM applied_syncs WHERE stream = $stream),
            (SELECT coalesce(max(version), 0) FROM logged_versions WHERE stream = $stream),
            count(*) FILTER (version > $applied OR until IS NOT NULL),
            count(*)
        FROM missing_records
        WHERE stream = $stream
        """,
        of_stream,
    )
    if reached > applied + 1:
        raise DatabaseDamaged(
            f"{ref}: the change log reaches version {reached} and the latest table stands at "
            f"{applied}: the operational database was replaced or restored from an older copy. "
            f"Run `elt-assets rebuild {ref} --stream {stream.name}` to bring it up to the log"
        )
    if reached > applied or left_over or marked > applied:
        cut_back(warehouse, stream, applied)
    return LogState(marked < applied, missing)


def withheld_digest(warehouse: Warehouse, stream: Stream, version: int) -> str:
    """A digest of the changes withheld for `version`: the ids of their rows and their types.

    It does not depend on order, so that memory does not grow with the number of changes.
    """
    (digest,) = one_row(
        warehouse,
        f"SELECT coalesce(bit_xor(hash(id, change_type)), 0) FROM {stream.withheld}"
        " WHERE version = $version",
        {"version": version},
    )
    return f"{digest:016x}"


def cut_back(warehouse: Warehouse, stream: Stream, applied: int) -> None:
    """Delete everything above version `applied`, as if it had not been detected yet."""
    of_stream = {"applied": applied, "stream": stream.name}
    for table in (stream.cdc, stream.withheld):
        warehouse.delete(table, "version > $applied", {"applied": applied})
    for books in ("logged_versions", "applied_syncs"):
        warehouse.delete(books, "stream = $stream AND version > $applied", of_stream)
    warehouse.delete(
        "missing_records",
        "stream = $stream AND (version > $applied OR until <= $applied)",
        of_stream,
    )
    warehouse.update(
        "missing_records", "until = NULL", "stream = $stream AND until > $applied", of_stream
    )


@dataclass(frozen=True, slots=True)
class NewChanges:
    """Changes of one version to be logged, as a query.

    The columns of `select`: id, the stream's columns, attributes, content_hash, change_type,
    before. `count` is roughly how many changes there are; 0 is enough where they are few.
    """

    sync_id: str
    version: int
    select: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    count: int = 0


def append(
    warehouse: Warehouse, stream: Stream, changes: NewChanges, now: str, *, table: str = ""
) -> None:
    """Log `changes`, numbered by id, in `table`: the stream's change log when empty."""
    columns = ", ".join(column.name for column in stream.columns)
    logged = 0
    for ids in _id_ranges(changes.count):
        logged += warehouse.add(
            table or stream.cdc,
            f"""
            SELECT
                $version AS version,
                $sync_id AS sync_id,
                $logged + row_number() OVER (ORDER BY id) AS sequence,
                id,
                {columns},
                change_type,
                attributes,
                content_hash,
                "before",
                $now::TIMESTAMP AS detected_at
            FROM ({changes.select})
            WHERE {ids}
            """,
            {
                **changes.parameters,
                "version": changes.version,
                "sync_id": changes.sync_id,
                "now": now,
                "logged": logged,
            },
        )
    if logged:
        logged_version = {"stream": stream.name, "version": changes.version}
        warehouse.insert("logged_versions", row_of(logged_version), logged_version)


def _id_ranges(count: int) -> list[str]:
    """SQL conditions that split `count` changes into consecutive ranges of `id`.

    Each range has some 250,000 changes: as many as a query can sort in the memory of one open
    file. Ids are hashes and therefore evenly spread. The bounds are literals, because the planner
    does not apply a parameter to the other side of a join.
    """
    parts = max(1, -(-count // _SORTED_AT_ONCE))
    bounds = [2**128 * part // parts for part in range(parts + 1)]
    return [
        f"id BETWEEN '{UUID(int=begin)}'::UUID AND '{UUID(int=end - 1)}'::UUID"
        for begin, end in pairwise(bounds)
    ]


def to_apply(
    warehouse: Warehouse, stream: Stream, version: int, count: int
) -> pa.RecordBatchReader:
    """The `count` changes of one version, ordered by id, as `latest_table` applies them."""
    columns = ", ".join(column.name for column in stream.columns)

    def part(ids: str) -> pa.RecordBatchReader:
        return warehouse.execute(
            f"""
            SELECT
                id::VARCHAR AS id, {columns}, attributes::VARCHAR AS attributes,
                content_hash, change_type
            FROM {stream.cdc}
            WHERE version = $version AND {ids}
            ORDER BY id
            """,
            {"version": version},
        ).to_arrow_reader(ROWS_AT_ONCE)

    first, *others = _id_ranges(count)
    begun = part(first)

    def batches() -> Iterator[pa.RecordBatch]:
        yield from begun
        for ids in others:
            yield from part(ids)

    return pa.RecordBatchReader.from_batches(begun.schema, batches())


def to_publish(warehouse: Warehouse, stream: Stream, version: int) -> pa.RecordBatchReader:
    """The changes of one version as the change feed holds them, in the order of the log."""
    columns = ", ".join(column.name for column in stream.columns)
    return warehouse.execute(
        f"""
        SELECT
            change_type, id::VARCHAR AS id, {columns}, attributes::VARCHAR AS attributes,
            "before"::VARCHAR AS "before"
        FROM {stream.cdc}
        WHERE version = $version
        """,
        {"version": version},
    ).to_arrow_reader(ROWS_AT_ONCE)


def mark_applied(
    warehouse: Warehouse, stream: Stream, version: int, sync_id: str, now: str
) -> None:
    """Mark the version as applied, for readers that have only the warehouse file."""
    applied = {"stream": stream.name, "version": version, "sync_id": sync_id, "applied_at": now}
    warehouse.insert("applied_syncs", row_of(applied), applied)


def sample(
    warehouse: Warehouse,
    stream: Stream,
    table: str,
    version: int,
    *,
    show_values: bool = False,
) -> tuple[dict[str, Any], ...]:
    """A few of a version's changes: type, key and names of changed fields.

    `before` and `after` hold the values, which are personal, and only with `show_values`.
    """
    names = [column.name for column in stream.content]
    key = ", ".join(column.name for column in stream.key)
    rows = warehouse.execute(
        f"""
        SELECT change_type, [{key}], "before",
            CASE WHEN change_type <> 'DELETE'
                THEN json_object({_members(names)}, 'attributes', attributes) END
        FROM (
            FROM {table} WHERE version = $version ORDER BY change_type, sequence LIMIT {SAMPLE}
        )
        ORDER BY change_type, sequence
        """,
        {"version": version},
    ).fetchall()
    return tuple(
        {
            "change_type": change_type,
            "external_id": " / ".join(key_values),
            "fields": changed_fields(before, after) if change_type == "UPDATE" else [],
        }
        | ({"before": before, "after": after} if show_values else {})
        for change_type, key_values, before, after in rows
    )


def changed_fields(before: str, after: str) -> list[str]:
    """Names of the fields in which two images differ; an attribute as `attributes.NAME`."""
    old, new = msgspec.json.decode(before), msgspec.json.decode(after)
    old_attributes, new_attributes = old.pop("attributes") or {}, new.pop("attributes") or {}
    names = [name for name in new if old.get(name) != new[name]]
    attributes = sorted(old_attributes.keys() | new_attributes.keys())
    return names + [
        f"attributes.{name}"
        for name in attributes
        if old_attributes.get(name) != new_attributes.get(name)
    ]


def changes(
    warehouse: Warehouse, stream: Stream, applied: int, sync_id: str | None
) -> list[dict[str, Any]]:
    """Applied changes in order, as `changes --json` shows them."""
    members = _members([column.name for column in stream.columns])
    key = ", ".join(column.name for column in stream.key)
    rows = warehouse.execute(
        f"""
        SELECT
            sync_id, sequence, change_type, id::VARCHAR, [{key}], "before",
            CASE WHEN change_type <> 'DELETE'
                THEN json_object({members}, 'attributes', attributes) END,
            strftime(detected_at, '%Y-%m-%dT%H:%M:%S.%fZ')
        FROM {stream.cdc}
        WHERE version <= $applied AND coalesce(sync_id = $sync_id, true)
        ORDER BY version, sequence
        """,
        {"applied": applied, "sync_id": sync_id},
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


def replayed(stream: Stream) -> str:
    """SQL for the rows that result from the log up to version `$applied` and time `$moment`.

    Columns: id, the stream's columns, attributes, content_hash, first_seen, last_updated.
    `first_seen` is when the record was last inserted.
    """
    columns = ", ".join(column.name for column in stream.columns)
    return f"""
        SELECT id, {columns}, attributes, content_hash, first_seen, last_updated
        FROM (
            SELECT
                * EXCLUDE (first_seen),
                max(CASE WHEN change_type = 'INSERT' THEN coalesce(first_seen, detected_at) END)
                    OVER (PARTITION BY id) AS first_seen,
                detected_at AS last_updated,
                row_number() OVER (PARTITION BY id ORDER BY version DESC) AS age
            FROM {stream.cdc}
            WHERE version <= $applied AND detected_at <= $moment::TIMESTAMP
        )
        WHERE age = 1 AND change_type <> 'DELETE'
    """


def beginning(warehouse: Warehouse, stream: Stream) -> tuple[int, str] | None:
    """Version and moment of the baseline that the log begins with; None if the log is complete."""
    row = warehouse.execute(
        "SELECT version, strftime(moment, '%Y-%m-%dT%H:%M:%S.%fZ') FROM log_beginnings"
        " WHERE stream = $stream",
        {"stream": stream.name},
    ).fetchone()
    return None if row is None else (row[0], row[1])


def as_of(warehouse: Warehouse, key: StreamKey, applied: int, moment: str) -> list[dict[str, Any]]:
    """The integration's rows as they were at `moment`, as `users --json` shows them.

    Raises `InvalidInput` for a moment before the log begins.
    """
    stream, ref = key.stream, key.ref
    begins = beginning(warehouse, stream)
    if begins is not None and moment < begins[1]:
        raise InvalidInput(
            f"{ref}: the change log is kept since {begins[1]} and cannot tell what was before; "
            "ELT_ASSETS_KEEP_CHANGES_DAYS says how long it is kept"
        )
    names = [column.name for column in stream.columns]
    cursor = warehouse.execute(
        f"""
        SELECT id::VARCHAR, {", ".join(names)}, attributes, content_hash,
            strftime(first_seen, '%Y-%m-%dT%H:%M:%S.%fZ'),
            strftime(last_updated, '%Y-%m-%dT%H:%M:%S.%fZ')
        FROM ({replayed(stream)})
        ORDER BY {", ".join(column.name for column in stream.key)}
        """,
        {"applied": applied, "moment": moment},
    )
    return [
        {"id": row[0]}
        | dict(zip(names, row[1:], strict=False))
        | {
            "organization_id": ref.organization_id,
            "connected_integration_id": ref.integration_id,
            "attributes": msgspec.json.decode(row[-4]),
            "content_hash": row[-3],
            "first_seen": row[-2],
            "last_updated": row[-1],
        }
        for row in cursor.fetchall()
    ]


def columns_of_image(columns: Sequence[Column], image: str) -> str:
    """SQL that turns a JSON image back into `columns` and attributes."""
    values = [
        f"({image} ->> '/{column.name}')::{column.sql_type} AS {column.name}" for column in columns
    ]
    return ", ".join([*values, f"json_extract({image}, '/attributes') AS attributes"])


def content_hash(stream: Stream) -> str:
    """SQL for the hash of a record's content: MD5 of a JSON array, so NULL is not ''."""
    texts = ", ".join(f"{column.name}::VARCHAR" for column in stream.content)
    return f"md5(to_json([{texts}, attributes::VARCHAR])::VARCHAR)"


def _members(names: list[str]) -> str:
    return ", ".join(f"'{name}', {name}" for name in names)
