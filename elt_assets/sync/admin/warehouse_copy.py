"""Copy an integration's warehouse, table by table, from one kind of store to another."""

from __future__ import annotations

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE
from elt_assets.storage.warehouse.warehouse import TENANT, Table, Warehouse, one_row
from elt_assets.sync.state.store_tables import has_tables, prepare_warehouse, tables_of
from elt_assets.sync.streams import STREAMS, StreamKey


def copy_tables(source: Warehouse, target: Warehouse, ref: IntegrationRef) -> None:
    """Copy every row of `source` into the empty `target`, in one transaction."""
    streams = [stream for stream in STREAMS.values() if has_tables(source, stream)]
    for stream in streams:
        prepare_warehouse(target, StreamKey(stream, ref))
    with target.transaction():
        for table in tables_of(streams):
            rows = source.execute(
                f"SELECT COLUMNS(name -> name NOT IN {TENANT}) FROM {table.name}"
            ).to_arrow_reader(ROWS_AT_ONCE)
            target.connection.register("copied_rows", rows)
            if table.records:
                target.add(table.name, "FROM copied_rows")
            else:
                # A few rows, copied aside first: the insert may run only when the block ends.
                target.execute(
                    f"CREATE OR REPLACE TEMP TABLE copied_{table.name} AS FROM copied_rows"
                )
                target.insert(table.name, f"FROM copied_{table.name}")
            target.connection.unregister("copied_rows")


def contents(warehouse: Warehouse) -> dict[str, tuple[int, int]]:
    """The number of rows of each table, with a digest of them that does not depend on order.

    Empty if nothing was ever written. Both kinds of warehouse return equal values for equal rows.
    """
    streams = [stream for stream in STREAMS.values() if has_tables(warehouse, stream)]
    if not streams:
        return {}
    return {table.name: _content(warehouse, table) for table in tables_of(streams)}


def _content(warehouse: Warehouse, table: Table) -> tuple[int, int]:
    described = warehouse.execute(f"DESCRIBE {table.name}").fetchall()
    columns = sorted(row[0] for row in described if row[0] not in TENANT)
    texts = ", ".join(f'"{column}"::VARCHAR' for column in columns)
    rows, digest = one_row(
        warehouse,
        # A sum and not XOR, because equal rows would cancel each other out.
        f"SELECT count(*), coalesce(sum(hash([{texts}])), 0) FROM {table.name}",
        {},
    )
    return int(rows), int(digest)
