"""Copying an integration's warehouse, table by table, from one kind of store to another.

Belongs here: which tables, and their rows as a stream. Does not: copying a file as a file
(stores), or what the copy is for (backup, moving).
"""

from __future__ import annotations

from elt_assets.identifiers import IntegrationRef
from elt_assets.stores.warehouse import ROWS_AT_ONCE, TENANT, Warehouse
from elt_assets.sync.stream import STREAMS
from elt_assets.sync.tables import has_tables, prepare_warehouse, tables_of


def copy_tables(source: Warehouse, target: Warehouse, ref: IntegrationRef) -> None:
    """Put every row of `source` into `target`, which is empty, in one transaction."""
    streams = [stream for stream in STREAMS.values() if has_tables(source, stream)]
    for stream in streams:
        prepare_warehouse(target, ref, stream)
    with target.transaction():
        for table in tables_of(streams):
            rows = source.execute(
                f"SELECT COLUMNS(name -> name NOT IN {TENANT}) FROM {table.name}"
            ).to_arrow_reader(ROWS_AT_ONCE)
            target.connection.register("copied_rows", rows)
            if table.records:
                target.add(table.name, "FROM copied_rows")
            else:
                target.insert(table.name, "FROM copied_rows")
            target.connection.unregister("copied_rows")
