"""The tables of both stores, made from a stream's declaration, and the warehouse's schema number.

The registry's and the ledger's tables are made by the migrations of `storage.operational`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import duckdb

from elt_assets.errors import WarehouseDamaged
from elt_assets.storage.operational.database import TenantTables
from elt_assets.storage.operational.sql_dialect import SqlDialect
from elt_assets.storage.warehouse.warehouse import Table, View, Warehouse, WarehouseLayout, row_of
from elt_assets.sync.state import audit_log, feed_log
from elt_assets.sync.streams import STREAMS, ColumnType, Stream, StreamKey

WAREHOUSE_SCHEMA = 8
"""Increase it by one with every change of the warehouse's tables."""
_EXTENDABLE = frozenset({5, 6, 7})
"""Earlier schemas whose tables lack only columns that `Table.added` names."""

_COMMON = (
    Table(
        "extractions",
        """
        stream      VARCHAR NOT NULL,
        sync_id     VARCHAR NOT NULL,
        fingerprint VARCHAR NOT NULL, -- of the configuration the pages were fetched with
        runs        INTEGER NOT NULL, -- attempts
        mode        VARCHAR NOT NULL,
        since       VARCHAR,          -- what an incremental extraction asked for
        started_at  TIMESTAMP NOT NULL,
        sealed_at   TIMESTAMP,
        certificate VARCHAR           -- JSON
        """,
        key=("stream", "sync_id"),
        added=("confirming BOOLEAN",),  # uses another page size or order to expose paging faults
    ),
    Table(
        "extraction_batches",
        """
        stream          VARCHAR NOT NULL,
        sync_id         VARCHAR NOT NULL,
        batch           INTEGER NOT NULL,
        cursor          VARCHAR,  -- JSON: continues after this batch; NULL after the last page
        pages           INTEGER NOT NULL,
        fetched         BIGINT NOT NULL,
        staged          BIGINT NOT NULL,
        rejected        BIGINT NOT NULL,
        unreadable_keys BIGINT NOT NULL,
        declared_totals BIGINT[] NOT NULL, -- every different one that its pages gave
        cut_short       VARCHAR,
        run             INTEGER NOT NULL,
        digest          VARCHAR NOT NULL, -- of its pages and of how they are mapped
        records_of      VARCHAR NOT NULL, -- the sync that stored these records: this, or an earlier
        known_pages     VARCHAR,  -- JSON: those of which the provider can say if they are the same
        created_at      TIMESTAMP NOT NULL
        """,
        key=("stream", "sync_id", "batch"),
        added=(
            "doubts VARCHAR[]",  # why its pages are not known to be complete
            "page_starts BIGINT[]",  # the seq with which each of its pages begins
            "unreadable_times BIGINT",  # records whose change time cannot be read
            "mark VARCHAR",  # the source's place at which the next listing of changes begins
        ),
    ),
    Table(
        "rejected_records",
        """
        stream     VARCHAR NOT NULL,
        sync_id    VARCHAR NOT NULL,
        batch      INTEGER NOT NULL,
        seq        INTEGER NOT NULL,
        parent     VARCHAR,      -- whom the record was listed under
        id         UUID,         -- shields the record's row from deletion
        key        VARCHAR,
        reason     VARCHAR NOT NULL,
        raw        JSON NOT NULL,
        created_at TIMESTAMP NOT NULL
        """,
        records=True,
    ),
    # Versions under which the change log or the withheld table has rows, applied or not.
    Table("logged_versions", "stream VARCHAR NOT NULL, version BIGINT NOT NULL"),
    Table(
        "applied_syncs",
        """
        stream     VARCHAR NOT NULL,
        version    BIGINT NOT NULL,  -- of the latest table after it
        sync_id    VARCHAR NOT NULL,
        applied_at TIMESTAMP NOT NULL
        """,
    ),
    # Keys that the last complete extraction did not list, waiting for a second one.
    Table(
        "missing_records",
        """
        stream  VARCHAR NOT NULL,
        id      UUID NOT NULL,
        version BIGINT NOT NULL,     -- made by the sync of this version
        until   BIGINT               -- and no longer valid from this version on
        """,
        added=("since TIMESTAMP",),  # when they were first missed
    ),
    Table("warehouse_schema", "version INTEGER NOT NULL, stream VARCHAR NOT NULL"),
    # Where the log begins: one baseline of the rows at that time replaces the earlier changes.
    Table(
        "log_beginnings",
        """
        stream  VARCHAR NOT NULL,
        version BIGINT NOT NULL,     -- that of the baseline
        moment  TIMESTAMP NOT NULL   -- no earlier state can be told
        """,
    ),
)


def warehouse_layout() -> WarehouseLayout:
    """All tables and views of a warehouse."""
    layouts = [_of_stream(stream) for stream in STREAMS.values()]
    return WarehouseLayout(
        tables=(*_COMMON, *(table for layout in layouts for table in layout.tables)),
        views=tuple(view for layout in layouts for view in layout.views),
    )


def tables_of(streams: Iterable[Stream]) -> list[Table]:
    """The tables with data of these streams, without `warehouse_schema`, which lists them."""
    common = [table for table in _COMMON if table.name != "warehouse_schema"]
    return [*common, *(table for stream in streams for table in _of_stream(stream).tables)]


def prepare_warehouse(warehouse: Warehouse, key: StreamKey) -> None:
    """Create the integration's tables for the stream where they are missing, in one transaction.

    Raises `WarehouseDamaged` when a release with another schema wrote the warehouse.
    """
    stream = key.stream
    made = _made_for(warehouse, str(key.ref))
    if made and min(made.values()) in _EXTENDABLE:
        _extend(warehouse)
    if stream.name in made:
        return
    with warehouse.transaction():
        if not made:
            warehouse.create(WarehouseLayout(_COMMON))
        warehouse.create(_of_stream(stream))
        row = {"version": WAREHOUSE_SCHEMA, "stream": stream.name}
        warehouse.insert("warehouse_schema", row_of(row), row)


def has_tables(warehouse: Warehouse, stream: Stream) -> bool:
    """Whether the integration's warehouse already has tables of `stream`.

    Raises `WarehouseDamaged` when a release with another schema wrote the warehouse.
    """
    return stream.name in _made_for(warehouse, "it cannot be read")


OPERATIONAL_TABLES = (
    "connected_integrations",
    "syncs",
    "sync_errors",
    "integration_versions",
    "integration_fences",
    "rejected_changes",
    "checked_warehouses",
    audit_log.TABLE,
    *feed_log.TABLES,
    *(stream.latest for stream in STREAMS.values()),
)
"""All tables of the operational database: registry, ledger, latest tables, audit log and feed."""


class OperationalTables(TypedDict):
    """The arguments of `OperationalDatabase.migrate` about the streams."""

    also: list[str]
    tenants: TenantTables


def operational_tables(dialect: SqlDialect) -> OperationalTables:
    """The latest tables of all streams, and the tables of the audit log and the change feed."""
    return {
        "also": [
            *(latest_table(stream, dialect) for stream in STREAMS.values()),
            *audit_log.audit_tables(dialect),
            *feed_log.feed_tables(),
        ],
        "tenants": TenantTables(
            readable=tuple(stream.latest for stream in STREAMS.values()),
            internal=feed_log.TENANT_TABLES,
        ),
    }


def latest_table(stream: Stream, dialect: SqlDialect) -> str:
    """The statement that creates the latest table of a stream if it does not exist.

    The table is clustered by tenant and id where the database supports it: one integration's rows
    lie together, and a bulk write sorted by id is sequential.
    """
    columns = "".join(
        f"    {column.name} {dialect.boolean if column.kind is ColumnType.BOOLEAN else 'TEXT'},\n"
        for column in stream.content
    )
    keys = "".join(f"    {column.name} TEXT NOT NULL,\n" for column in stream.key)
    return (
        f"CREATE TABLE IF NOT EXISTS {stream.latest} (\n"
        "    organization_id TEXT NOT NULL,\n"
        "    connected_integration_id TEXT NOT NULL,\n"
        "    id TEXT NOT NULL,\n"
        f"{keys}{columns}"
        "    attributes TEXT NOT NULL,\n"
        "    content_hash TEXT NOT NULL,\n"
        "    first_seen TEXT NOT NULL,\n"
        "    last_updated TEXT NOT NULL,\n"
        "    deleted_at TEXT,\n"
        "    PRIMARY KEY (organization_id, connected_integration_id, id)\n"
        f"){dialect.clustered}"
    )


def _extend(warehouse: Warehouse) -> None:
    with warehouse.transaction():
        warehouse.extend(WarehouseLayout(_COMMON))
        warehouse.update(
            "warehouse_schema", "version = $version", "true", {"version": WAREHOUSE_SCHEMA}
        )


def _made_for(warehouse: Warehouse, complaint: str) -> dict[str, int]:
    """The streams whose tables the warehouse has, each with its schema number."""
    try:
        made = warehouse.execute("SELECT version, stream FROM warehouse_schema").fetchall()
    except duckdb.CatalogException:
        return {}
    for version, _ in made:
        if version != WAREHOUSE_SCHEMA and version not in _EXTENDABLE:
            raise WarehouseDamaged(
                f"{complaint}: its warehouse has schema {version}, this release writes "
                f"{WAREHOUSE_SCHEMA}; run the other release, or move it away and sync again"
            )
    return {stream: version for version, stream in made}


def _of_stream(stream: Stream) -> WarehouseLayout:
    keys = "".join(f"{column.name} VARCHAR NOT NULL, " for column in stream.key)
    content = "".join(f"{column.name} {column.sql_type}, " for column in stream.content)
    landed = f"""
        sync_id VARCHAR NOT NULL,
        batch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        parent VARCHAR,
        id UUID NOT NULL,
        {keys} {content}
        attributes JSON NOT NULL,
        source_updated_at TIMESTAMP,
        tombstone BOOLEAN NOT NULL,
        content_hash VARCHAR NOT NULL,
        raw JSON NOT NULL,
        created_at TIMESTAMP NOT NULL
    """
    change = f"""
        version BIGINT NOT NULL, -- of the latest table once this sync is applied
        sync_id VARCHAR NOT NULL,
        sequence BIGINT NOT NULL,
        id UUID NOT NULL,
        {keys}
        change_type VARCHAR NOT NULL,
        {content}
        attributes JSON,
        content_hash VARCHAR,
        "before" JSON,
        detected_at TIMESTAMP NOT NULL,
        first_seen TIMESTAMP -- of a baseline's row, whose insertion is no longer here
    """
    columns = ", ".join(column.name for column in stream.columns)
    # The records of every sync, wherever they are stored.
    staging = f"""
        SELECT extracted.sync_id, landed.* EXCLUDE (sync_id)
        FROM extraction_batches AS extracted
        JOIN {stream.landed} AS landed
            ON landed.sync_id = extracted.records_of AND landed.batch = extracted.batch
        WHERE extracted.stream = '{stream.name}'
    """
    # The versions of each record with their time spans; valid_to is NULL for the current version.
    history = f"""
        SELECT
            organization_id, connected_integration_id, id, {columns}, attributes, content_hash,
            valid_from, valid_to, sync_id, version
        FROM (
            SELECT
                *,
                detected_at AS valid_from,
                lead(detected_at) OVER (PARTITION BY id ORDER BY version) AS valid_to
            FROM {stream.cdc}
            WHERE version IN (SELECT version FROM applied_syncs WHERE stream = '{stream.name}')
        )
        WHERE change_type <> 'DELETE'
    """
    return WarehouseLayout(
        tables=(
            Table(stream.landed, landed, records=True),
            Table(stream.cdc, change, records=True),
            Table(stream.withheld, change, records=True),
        ),
        views=(View(stream.staging, staging), View(stream.history, history)),
    )
