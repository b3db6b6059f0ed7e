"""Upkeep of a lake: remove invalid records, merge small files, delete old ones.

`LakeWarehouses` takes the locks of `lake_catalog` that upkeep needs.
"""

from __future__ import annotations

import time
from uuid import uuid4

import duckdb

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import Upkeep, WarehouseLayout, is_tenant, one_row

LAKE = "lake"
BOOKS = "books"
_UNNAMED = 86_400
"""Seconds after which unnamed records are taken to be left over from a process that died."""
_READ = "1 hour"
"""How long a reader may continue to read files that were replaced."""


def new_write_id() -> str:
    """A new id for records that are written together; it begins with the time, to show its age."""
    return f"{time.time_ns():016x}-{uuid4().hex[:16]}"


def remove_unnamed(
    connection: duckdb.DuckDBPyConnection, layout: WarehouseLayout, schema: str, dry_run: bool
) -> Upkeep:
    """Remove records that `stored_writes` has not named within a day, or only count them.

    Records that DuckLake keeps inside the catalog are moved to files. The caller must ensure that
    no process adds records meanwhile.
    """
    found = sum(
        _unnamed(connection, table.name, schema, dry_run)
        for table in layout.tables
        if table.records
    )
    if not dry_run:
        connection.execute(f"CALL ducklake_flush_inlined_data('{LAKE}')")
    return Upkeep("records in the lake that nothing names", found)


def tidy_files(connection: duckdb.DuckDBPyConnection) -> list[Upkeep]:
    """Merge small files, delete snapshots older than an hour, delete files unused since then."""
    for merging in ("ducklake_rewrite_data_files", "ducklake_merge_adjacent_files"):
        connection.execute(f"CALL {merging}('{LAKE}')")
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
        Upkeep("past states of the lake forgotten", expired),
        Upkeep("files of the lake deleted", deleted),
    ]


def erase(
    connection: duckdb.DuckDBPyConnection, layout: WarehouseLayout, schema: str, ref: IntegrationRef
) -> None:
    """Remove the integration's records, and every snapshot that contains them."""
    for table in layout.tables:
        if table.records:
            connection.execute(f"DELETE FROM {LAKE}.{table.name} WHERE {is_tenant(ref)}")
    connection.execute(f"CALL ducklake_expire_snapshots('{LAKE}', older_than => now())")
    connection.execute(f"CALL ducklake_cleanup_old_files('{LAKE}', cleanup_all => true)")
    connection.execute("CALL postgres_execute($1, $2)", (BOOKS, _forgetting(schema)))


def _forgetting(schema: str) -> str:
    """PostgreSQL statements that erase removed users' values from DuckLake's catalog.

    The catalog records each column's smallest and largest value over all rows of a table, and a
    query skips tables by these bounds. Bounds of NULL would count as those of an empty table, and
    the bounds of the next rows as those of all rows, so that rows of other integrations would be
    hidden. The bounds are therefore set to the widest possible. Each file has bounds of its own,
    which still let queries skip files.

    A process that has read the old bounds would write them again, unless the number of the next
    file has changed; so that number is increased. Deleted rows that are kept inside the catalog
    remain there after the last snapshot that contains them; so they are deleted here.
    """
    named = " AND ".join(
        (
            "named.table_id = known.table_id",
            "named.column_id = known.column_id",
            "known.min_value IS NOT NULL",
        )
    )
    return f"""
        SET LOCAL search_path TO "{schema}";
        UPDATE ducklake_table_column_stats AS known
        SET min_value = '', max_value = repeat(chr(1114111), 8)
        FROM ducklake_column AS named
        WHERE named.column_type IN ('varchar', 'json') AND {named};
        UPDATE ducklake_table_column_stats AS known
        SET
            min_value = '00000000-0000-0000-0000-000000000000',
            max_value = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
        FROM ducklake_column AS named
        WHERE named.column_type = 'uuid' AND {named};
        UPDATE ducklake_snapshot
        SET next_file_id = next_file_id + 1
        WHERE snapshot_id = (SELECT max(snapshot_id) FROM ducklake_snapshot);
        DO $forget$
        DECLARE kept RECORD;
        BEGIN
            FOR kept IN SELECT table_name FROM ducklake_inlined_data_tables LOOP
                EXECUTE format(
                    'DELETE FROM %I WHERE end_snapshot <='
                    ' (SELECT min(snapshot_id) FROM ducklake_snapshot)',
                    kept.table_name
                );
            END LOOP;
        END $forget$
    """


def _unnamed(connection: duckdb.DuckDBPyConnection, table: str, schema: str, dry_run: bool) -> int:
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
