"""Looking after a lake: what nobody names is removed, small files are merged, old ones deleted.

Belongs here: DuckLake's own means of that, how old a write is, and erasing an integration.
Does not: who may do so when (`LakeWarehouses` holds the lake alone meanwhile).
"""

from __future__ import annotations

import time
from uuid import uuid4

import duckdb

from elt_assets.identifiers import IntegrationRef
from elt_assets.stores.warehouse import Layout, Upkeep, literal, one_row

LAKE = "lake"
BOOKS = "books"
_UNNAMED = 86_400
"""Seconds after which records that the books do not name are left over from something that died."""
_READ = "1 hour"
"""How long somebody may go on reading what is no longer there."""


def new_write_id() -> str:
    """A name for records that are written together; begins with the time, so that it has an age."""
    return f"{time.time_ns():016x}-{uuid4().hex[:16]}"


def look_after(
    connection: duckdb.DuckDBPyConnection, layout: Layout, schema: str, *, dry_run: bool
) -> list[Upkeep]:
    """Remove what nobody names, merge small files, delete what was replaced an hour ago."""
    unnamed = 0
    for table in layout.tables:
        if table.records:
            unnamed += _remove_unnamed(connection, table.name, schema, dry_run)
    done = [Upkeep("records in the lake that nothing names", unnamed)]
    if dry_run:
        return done
    for call in (
        f"ducklake_flush_inlined_data('{LAKE}')",
        f"ducklake_rewrite_data_files('{LAKE}')",
        f"ducklake_merge_adjacent_files('{LAKE}')",
    ):
        connection.execute(f"CALL {call}")
    expired = _count(
        connection,
        f"ducklake_expire_snapshots('{LAKE}', older_than => now() - INTERVAL {_READ})",
    )
    deleted = _count(
        connection,
        f"ducklake_cleanup_old_files('{LAKE}', older_than => now() - INTERVAL {_READ})",
    ) + _count(
        connection,
        f"ducklake_delete_orphaned_files('{LAKE}', older_than => now() - INTERVAL 1 DAY)",
    )
    return [
        *done,
        Upkeep("past states of the lake forgotten", expired),
        Upkeep("files of the lake deleted", deleted),
    ]


def erase(
    connection: duckdb.DuckDBPyConnection, layout: Layout, schema: str, ref: IntegrationRef
) -> None:
    """Remove the integration's records, and every past state in which they were there."""
    for table in layout.tables:
        if table.records:
            connection.execute(
                f"DELETE FROM {LAKE}.{table.name}"
                f" WHERE organization_id = {literal(ref.organization_id)}"
                f" AND connected_integration_id = {literal(ref.integration_id)}"
            )
    connection.execute(f"CALL ducklake_expire_snapshots('{LAKE}', older_than => now())")
    connection.execute(f"CALL ducklake_cleanup_old_files('{LAKE}', cleanup_all => true)")
    # The catalog remembers each column's smallest and largest value ever, of all rows together,
    # which may be those of somebody who is gone. Files have their own to be found by.
    forgotten = (
        f'UPDATE "{schema}".ducklake_table_column_stats SET min_value = NULL, max_value = NULL'
    )
    connection.execute("CALL postgres_execute($1, $2)", (BOOKS, forgotten))


def _remove_unnamed(
    connection: duckdb.DuckDBPyConnection, table: str, schema: str, dry_run: bool
) -> int:
    which = f"""
        FROM {LAKE}.{table} AS stored
        WHERE write_id < '{time.time_ns() - _UNNAMED * 10**9:016x}' AND NOT EXISTS (
            FROM {BOOKS}."{schema}".stored_writes AS named
            WHERE named.organization_id = stored.organization_id
                AND named.connected_integration_id = stored.connected_integration_id
                AND named.table_name = '{table}'
                AND named.write_id = stored.write_id
        )
    """
    (found,) = one_row(connection, f"SELECT count(*) {which}", {})
    if found and not dry_run:
        connection.execute(f"DELETE {which}")
    return int(found)


def _count(connection: duckdb.DuckDBPyConnection, call: str) -> int:
    return len(connection.execute(f"CALL {call}").fetchall())
