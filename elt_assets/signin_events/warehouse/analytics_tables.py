"""The tables of the analytics warehouse, and the number of their layout.

There are no primary keys, because DuckDB would keep their whole index in memory. Loading keeps keys
unique, and a check finds duplicates.
"""

from __future__ import annotations

import duckdb

from elt_assets.errors import WarehouseDamaged
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT
from elt_assets.storage.warehouse.warehouse import one_row
from elt_assets.storage.warehouse.warehouse_files import ALIAS

LAYOUT = 3
"""Increase it by one with every change of the tables."""

_UPGRADES = {
    1: "ALTER TABLE raw_csv_events ADD COLUMN part UTINYINT DEFAULT 0;",
    2: "CREATE TABLE forgotten_days (day DATE NOT NULL);",
}
"""Statements that turn each earlier layout into the next; opening for writing applies them."""

_FIELDS = "".join(f"    {one.name} {one.kind},\n" for one in SIGNIN_EVENT.fields)
_TEXTS = "".join(f"    {one.name} VARCHAR,\n" for one in SIGNIN_EVENT.fields)
_NORMALIZED = f"""(
{_FIELDS}    event_day      DATE,             -- on which it occurred; NULL for a mere deletion
    ingested_day   DATE NOT NULL,    -- the partition that brought it
    file           VARCHAR,
    position       BIGINT NOT NULL,  -- its place in the file, or in the day's pages
    schema_version INTEGER NOT NULL
)"""

_TABLES = f"""
CREATE TABLE layout (version INTEGER NOT NULL);
-- What providers sent, untouched; only that of complete extractions counts.
CREATE TABLE raw_api_events (
    organization_id VARCHAR NOT NULL,
    integration_id  VARCHAR NOT NULL,
    ingested_day    DATE NOT NULL,
    generation      INTEGER NOT NULL,
    batch           INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    raw             JSON NOT NULL
);
-- What files say, as text. Rows of one part of a file stand in the order of its lines.
CREATE TABLE raw_csv_events (
    ingested_day DATE,
    file         VARCHAR,
{_TEXTS}    part         UTINYINT DEFAULT 0 -- of a file that was read in halves
);
CREATE TABLE normalized_api_events {_NORMALIZED};
CREATE TABLE normalized_csv_events {_NORMALIZED};
CREATE TABLE signin_events (
{_FIELDS}    event_day      DATE NOT NULL,
    deleted        BOOLEAN NOT NULL,
    source         VARCHAR NOT NULL, -- api or csv
    ingested_day   DATE NOT NULL,
    file           VARCHAR,
    schema_version INTEGER NOT NULL
);
CREATE TABLE daily_signin_summary (
    event_day          DATE NOT NULL,
    organization_id    VARCHAR NOT NULL,
    events             BIGINT NOT NULL, -- without those that are deleted
    failures           BIGINT NOT NULL,
    users              BIGINT NOT NULL,
    new_countries      BIGINT NOT NULL, -- never seen before for the organization
    new_user_countries BIGINT NOT NULL, -- never seen before for the user
    unknown_users      BIGINT NOT NULL, -- signed in and no user, as of that day
    inactive_users     BIGINT NOT NULL, -- signed in and deactivated, as of that day
    deleted_events     BIGINT NOT NULL,
    schema_version     INTEGER NOT NULL
);
CREATE TABLE event_extractions (
    organization_id VARCHAR NOT NULL,
    integration_id  VARCHAR NOT NULL,
    ingested_day    DATE NOT NULL,
    generation      INTEGER NOT NULL,
    incremental     BOOLEAN NOT NULL,
    period_begin    TIMESTAMP NOT NULL,
    period_end      TIMESTAMP NOT NULL,
    status          VARCHAR NOT NULL,
    attempts        INTEGER NOT NULL,
    fingerprint     VARCHAR NOT NULL, -- of the configuration the pages were fetched with
    cursor          JSON,             -- continues after the last committed page
    batches         INTEGER NOT NULL,
    pages           INTEGER NOT NULL,
    fetched         BIGINT NOT NULL,
    staged          BIGINT NOT NULL,
    run_id          VARCHAR,
    error           VARCHAR,
    started_at      TIMESTAMP NOT NULL,
    completed_at    TIMESTAMP
);
CREATE TABLE extraction_errors (
    organization_id VARCHAR NOT NULL,
    integration_id  VARCHAR NOT NULL,
    ingested_day    DATE NOT NULL,
    generation      INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    error           VARCHAR NOT NULL,
    failed_at       TIMESTAMP NOT NULL
);
CREATE TABLE event_files (
    ingested_day DATE NOT NULL,
    file         VARCHAR NOT NULL,
    look         VARCHAR NOT NULL,   -- size, time and inode
    digest       VARCHAR,            -- SHA-256 of its content, decompressed
    size         BIGINT NOT NULL,
    status       VARCHAR NOT NULL,
    same_as      VARCHAR,
    plain_lines  BOOLEAN,            -- whether every record is one line, and no line is empty
    fetched      BIGINT NOT NULL,
    staged       BIGINT NOT NULL,
    rejected     BIGINT NOT NULL,
    run_id       VARCHAR,
    error        VARCHAR,
    loaded_at    TIMESTAMP NOT NULL
);
CREATE TABLE rejected_events (
    source          VARCHAR NOT NULL,
    stage           VARCHAR NOT NULL, -- extract: no record; normalize: breaks the schema
    ingested_day    DATE NOT NULL,
    organization_id VARCHAR,
    integration_id  VARCHAR,
    file            VARCHAR,
    line            BIGINT,           -- where it is known
    key             VARCHAR,
    reason          VARCHAR NOT NULL,
    raw             VARCHAR,
    created_at      TIMESTAMP NOT NULL
);
CREATE TABLE event_watermarks (
    organization_id VARCHAR NOT NULL,
    integration_id  VARCHAR NOT NULL,
    occurred_at     TIMESTAMP NOT NULL
);
-- Events that a day's records held and no longer hold: loading the day includes them.
CREATE TABLE dropped_events (
    organization_id VARCHAR NOT NULL,
    event_id        VARCHAR NOT NULL,
    ingested_day    DATE NOT NULL
);
-- Days whose records are kept no more; their events are.
CREATE TABLE forgotten_days (day DATE NOT NULL);
-- What is due: committed together with what makes it due, and taken off with its result.
CREATE TABLE waiting_days (step VARCHAR NOT NULL, day DATE NOT NULL);
"""


def prepare_analytics(connection: duckdb.DuckDBPyConnection) -> None:
    """Create or upgrade the tables, and make their schema the connection's default.

    Raises `WarehouseDamaged` when another release made the tables.
    """
    found = _layout(connection)
    if found == LAYOUT:
        return
    connection.execute("BEGIN")
    if found is None:
        connection.execute(f"CREATE SCHEMA {ALIAS}.analytics")
        connection.execute(f"USE {ALIAS}.analytics")
        connection.execute(_TABLES)
        connection.execute("INSERT INTO layout VALUES ($layout)", {"layout": LAYOUT})
    else:
        for number in range(found, LAYOUT):
            connection.execute(_UPGRADES[number])
        connection.execute("UPDATE layout SET version = $layout", {"layout": LAYOUT})
    connection.execute("COMMIT")


def has_analytics(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the tables exist; if so, make their schema the connection's default.

    Raises `WarehouseDamaged` when another release made the tables.
    """
    return _layout(connection) is not None


def _layout(connection: duckdb.DuckDBPyConnection) -> int | None:
    try:
        (version,) = one_row(connection, f"SELECT version FROM {ALIAS}.analytics.layout", {})
    except duckdb.CatalogException:
        return None
    if version != LAYOUT and version not in _UPGRADES:
        raise WarehouseDamaged(
            f"the analytics warehouse has another layout than this release writes ({LAYOUT}); "
            "move the file away and load the days again, or run the other release"
        )
    connection.execute(f"USE {ALIAS}.analytics")
    return int(version)
