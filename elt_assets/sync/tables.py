"""The tables of both stores, made from a stream's declaration.

Belongs here: CREATE TABLE statements and the warehouse's schema number. Does not: queries,
and the registry's and ledger's tables (numbered migrations in `stores`).
"""

from __future__ import annotations

from typing import TypedDict

import duckdb

from elt_assets.errors import WarehouseDamaged
from elt_assets.identifiers import IntegrationRef
from elt_assets.stores.dialect import Dialect
from elt_assets.sync.stream import STREAMS, Kind, Stream

WAREHOUSE_SCHEMA = 4
"""Raised by one with every change of the warehouse's tables."""

_SHARED = """
CREATE TABLE extractions (
    stream      VARCHAR NOT NULL,
    sync_id     VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL, -- of the configuration the pages were fetched with
    runs        INTEGER NOT NULL, -- attempts
    mode        VARCHAR NOT NULL,
    since       VARCHAR,          -- what an incremental extraction asked for
    started_at  TIMESTAMP NOT NULL,
    sealed_at   TIMESTAMP,
    certificate JSON,
    PRIMARY KEY (stream, sync_id)
);
CREATE TABLE extraction_batches (
    stream          VARCHAR NOT NULL,
    sync_id         VARCHAR NOT NULL,
    batch           INTEGER NOT NULL,
    cursor          JSON,    -- continues after this batch; NULL after the last page
    pages           INTEGER NOT NULL,
    fetched         BIGINT NOT NULL,
    staged          BIGINT NOT NULL,
    rejected        BIGINT NOT NULL,
    unreadable_keys BIGINT NOT NULL,
    declared_totals BIGINT[] NOT NULL, -- every different one that its pages gave
    cut_short       VARCHAR,
    run             INTEGER NOT NULL,
    digest          VARCHAR NOT NULL, -- of its pages and of how they are mapped
    records_of      VARCHAR NOT NULL, -- the sync that stored these records: this, or an earlier one
    known_pages     JSON,    -- those of which the provider can say whether they are still the same
    created_at      TIMESTAMP NOT NULL,
    PRIMARY KEY (stream, sync_id, batch)
);
CREATE TABLE rejected_records (
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
);
CREATE TABLE applied_syncs (
    stream     VARCHAR NOT NULL,
    version    BIGINT NOT NULL,  -- of the latest table after it
    sync_id    VARCHAR NOT NULL,
    applied_at TIMESTAMP NOT NULL
);
-- Keys that the last complete extraction did not list, waiting for a second one.
CREATE TABLE missing_records (
    stream  VARCHAR NOT NULL,
    id      UUID NOT NULL,
    version BIGINT NOT NULL,     -- made by the sync of this version
    until   BIGINT               -- and no longer valid from this version on
);
CREATE TABLE warehouse_schema (version INTEGER NOT NULL, stream VARCHAR NOT NULL);
-- Where the log begins: what was before is one baseline of the rows that stood then.
CREATE TABLE log_beginnings (
    stream  VARCHAR NOT NULL,
    version BIGINT NOT NULL,     -- that of the baseline
    moment  TIMESTAMP NOT NULL   -- no earlier state can be told
);
"""


def prepare_warehouse(
    connection: duckdb.DuckDBPyConnection, ref: IntegrationRef, stream: Stream
) -> None:
    """Create the integration's tables for `stream` where they are missing, in one transaction.

    Raises `WarehouseDamaged` when the file was written by another schema.
    """
    made = _made_for(connection, str(ref))
    if stream.name in made:
        return
    connection.execute("BEGIN")
    if not made:
        connection.execute(_SHARED)
    connection.execute(_stream_tables(stream))
    connection.execute(
        "INSERT INTO warehouse_schema VALUES ($version, $stream)",
        {"version": WAREHOUSE_SCHEMA, "stream": stream.name},
    )
    connection.execute("COMMIT")


def has_tables(connection: duckdb.DuckDBPyConnection, stream: Stream) -> bool:
    """Whether the integration's file holds tables of `stream` yet.

    Raises `WarehouseDamaged` when the file was written by another schema.
    """
    return stream.name in _made_for(connection, "it cannot be read")


OPERATIONAL_TABLES = (
    "connected_integrations",
    "syncs",
    "sync_errors",
    "integration_versions",
    *(stream.latest for stream in STREAMS.values()),
)
"""Everything that the operational database holds: the registry, the ledger, the latest tables."""


class OperationalTables(TypedDict):
    """What `OperationalDatabase.migrate` is told of the streams."""

    also: list[str]
    readable: list[str]


def operational_tables(dialect: Dialect) -> OperationalTables:
    """The latest tables of all streams, and that applications read them."""
    return {
        "also": [latest_table(stream, dialect) for stream in STREAMS.values()],
        "readable": [stream.latest for stream in STREAMS.values()],
    }


def latest_table(stream: Stream, dialect: Dialect) -> str:
    """The operational table of a stream, `CREATE TABLE IF NOT EXISTS`.

    Clustered by tenant and id where the database can: one integration's rows lie together
    and a bulk write sorted by id is sequential.
    """
    columns = "".join(
        f"    {column.name} {dialect.boolean if column.kind is Kind.BOOLEAN else 'TEXT'},\n"
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


def _made_for(connection: duckdb.DuckDBPyConnection, complaint: str) -> set[str]:
    try:
        made = connection.execute("SELECT version, stream FROM warehouse_schema").fetchall()
    except duckdb.CatalogException:
        return set()
    for version, _ in made:
        if version != WAREHOUSE_SCHEMA:
            raise WarehouseDamaged(
                f"{complaint}: the warehouse file has schema {version}, this release writes "
                f"{WAREHOUSE_SCHEMA}; move the file away and sync again, or run the other release"
            )
    return {stream for _, stream in made}


def _stream_tables(stream: Stream) -> str:
    keys = "".join(f"    {column.name} VARCHAR NOT NULL,\n" for column in stream.key)
    content = "".join(
        f"    {column.name} {'BOOLEAN' if column.kind is Kind.BOOLEAN else 'VARCHAR'},\n"
        for column in stream.content
    )
    tenant = (
        "    organization_id VARCHAR NOT NULL,\n    connected_integration_id VARCHAR NOT NULL,\n"
    )
    change = (
        "    version BIGINT NOT NULL, -- of the latest table once this sync is applied\n"
        "    sync_id VARCHAR NOT NULL,\n"
        "    sequence BIGINT NOT NULL,\n"
        "    id UUID NOT NULL,\n"
        f"{keys}{tenant}"
        "    change_type VARCHAR NOT NULL,\n"
        f"{content}"
        "    attributes JSON,\n"
        "    content_hash VARCHAR,\n"
        '    "before" JSON,\n'
        "    detected_at TIMESTAMP NOT NULL,\n"
        "    first_seen TIMESTAMP -- of a baseline's row, whose insertion is no longer here\n"
    )
    columns = ", ".join(column.name for column in stream.columns)
    return f"""
CREATE TABLE {stream.landed} (
    sync_id VARCHAR NOT NULL,
    batch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    parent VARCHAR,
    id UUID NOT NULL,
{keys}{tenant}{content}    attributes JSON NOT NULL,
    source_updated_at TIMESTAMP,
    tombstone BOOLEAN NOT NULL,
    content_hash VARCHAR NOT NULL,
    raw JSON NOT NULL,
    created_at TIMESTAMP NOT NULL
);
-- The records of every sync, wherever they are stored.
CREATE VIEW {stream.staging} AS
SELECT extracted.sync_id, landed.* EXCLUDE (sync_id)
FROM extraction_batches AS extracted
JOIN {stream.landed} AS landed
    ON landed.sync_id = extracted.records_of AND landed.batch = extracted.batch
WHERE extracted.stream = '{stream.name}';
CREATE TABLE {stream.cdc} (
{change});
CREATE TABLE {stream.withheld} (
{change});
-- What a record was, from when to when (valid_to is NULL while it still is).
CREATE VIEW {stream.history} AS
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
WHERE change_type <> 'DELETE';
"""
