"""One integration's tables in the lake, open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from elt_assets.errors import (
    BooksUnbalanced,
    PermanentError,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.ducklake.lake_catalog import LakeCatalog, Lease
from elt_assets.storage.ducklake.lake_upkeep import (
    BOOKS,
    LAKE,
    new_write_id,
)
from elt_assets.storage.warehouse.duckdb_instances import Instance
from elt_assets.storage.warehouse.warehouse import (
    Parameters,
    Table,
    Warehouse,
    WarehouseLayout,
    is_tenant,
    literal,
    one_row,
    tenant_columns,
    transaction,
)

_SEEN = (
    "organization_id = getvariable('organization_id')"
    " AND connected_integration_id = getvariable('integration_id')"
)


class LakeWarehouse(Warehouse):
    """An integration's rows in the lake."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        instance: Instance,
        lease: Lease,
        catalog: LakeCatalog,
        layout: WarehouseLayout,
    ) -> None:
        super().__init__(fencing_token=lease.epoch)
        self.connection = connection
        self.prepared = instance.prepared
        self._lease = lease
        self._catalog = catalog
        self._records = {table.name for table in layout.tables if table.records}
        self._make_room = instance.make_room
        self._settling: list[Callable[[], None]] | None = None
        self._tenant = tenant_columns(lease.ref)
        self._own = is_tenant(lease.ref)
        see(connection, lease.ref)

    def reading(self) -> duckdb.DuckDBPyConnection:
        reading = self.connection.cursor()
        see(reading, self._lease.ref)
        return reading

    def create(self, layout: WarehouseLayout) -> None:
        """Do nothing: all integrations share tables that are created with the lake."""

    def extend(self, layout: WarehouseLayout) -> None:
        """Do nothing: `LakeCatalog.prepare` adds the columns."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Warehouse`: records are committed first, then the bookkeeping rows that name them.

        Changes of bookkeeping tables are carried out when the block ends, in the order of the
        calls.
        """
        if self._lease.epoch == 0:
            raise PermanentError(f"{self._lease.ref}: its warehouse was opened for reading only")
        settling: list[Callable[[], None]] = []
        self._settling = settling
        try:
            with self._catalog.adding(self._lease.session), transaction(self):
                yield
        finally:
            self._settling = None
        if settling:
            with transaction(self):
                self.execute(
                    "CALL postgres_execute($1, $2)", (BOOKS, self._catalog.fence(self._lease))
                )
                for act in settling:
                    act()

    def add(self, table: str, select: str, parameters: Parameters | None = None) -> int:
        if self._settling is None:
            with self.transaction():
                return self.add(table, select, parameters)
        write_id = new_write_id()
        (added,) = one_row(
            self,
            f"INSERT INTO {LAKE}.{table} BY NAME"
            f" SELECT {self._tenant}, {literal(write_id)} AS write_id, * FROM ({select})",
            parameters or {},
        )
        if added:
            self.insert(
                "stored_writes",
                "SELECT $table AS table_name, $write_id AS write_id",
                {"table": table, "write_id": write_id},
            )
        return int(added)

    def insert(self, table: str, select: str, parameters: Parameters | None = None) -> None:
        self._at_the_end(
            f"INSERT INTO {self._books(table)} BY NAME SELECT {self._tenant}, * FROM ({select})",
            parameters,
        )

    def update(
        self, table: str, changes: str, where: str, parameters: Parameters | None = None
    ) -> None:
        self._at_the_end(
            f"UPDATE {self._books(table)} SET {changes} WHERE {self._own} AND ({where})", parameters
        )

    def delete(self, table: str, where: str, parameters: Parameters | None = None) -> None:
        """See `Warehouse`; of records, only the rows that name them are deleted."""
        if table in self._records:
            self._do_at_the_end(lambda: self._drop(table, where, parameters))
        else:
            self._at_the_end(
                f"DELETE FROM {self._books(table)} WHERE {self._own} AND ({where})", parameters
            )

    def grow(self) -> None:
        """Do nothing: files of a lake are never extended."""

    def unload(self) -> None:
        """Do nothing: committed data is in files and takes no memory."""

    def detach(self) -> bool:
        """False: the lease needs its PostgreSQL session; there must be few of those anyway."""
        return False

    def attach(self) -> None:
        """Do nothing: the warehouse is never detached."""

    def make_room(self, added: int) -> None:
        """Raise the memory limit to at least `added` bytes above the usual one, until closed."""
        self._make_room(added)

    def _at_the_end(self, sql: str, parameters: Parameters | None) -> None:
        self._do_at_the_end(lambda: self._execute(sql, parameters))

    def _execute(self, sql: str, parameters: Parameters | None) -> None:
        self.execute(sql, parameters)

    def _do_at_the_end(self, act: Callable[[], None]) -> None:
        if self._settling is not None:
            self._settling.append(act)
            return
        with self.transaction():
            self._do_at_the_end(act)

    def _drop(self, table: str, where: str, parameters: Parameters | None) -> None:
        writes = self.execute(
            f"""
            SELECT write_id, bool_and(hit), bool_or(hit)
            FROM (
                SELECT write_id, coalesce(({where}), false) AS hit
                FROM ({_standing(table, self._catalog.schema)}) AS {table}
            )
            GROUP BY write_id
            """,
            parameters,
        ).fetchall()
        if any(some and not every for _, every, some in writes):
            raise BooksUnbalanced(
                f"{self._lease.ref}: a delete would drop some records of {table} and keep others "
                "that were written together with them. This is a defect of the platform"
            )
        gone = [write_id for write_id, _, some in writes if some]
        if gone:
            self.execute(
                f"DELETE FROM {self._books('stored_writes')} WHERE {self._own}"
                " AND table_name = $table AND list_contains($gone::VARCHAR[], write_id)",
                {"table": table, "gone": gone},
            )

    def _books(self, table: str) -> str:
        return f'{BOOKS}."{self._catalog.schema}".{table}'


def see(connection: duckdb.DuckDBPyConnection, ref: IntegrationRef) -> None:
    """Point the connection at the rows of integration `ref`."""
    connection.execute(
        f"SET VARIABLE organization_id = {literal(ref.organization_id)};"
        f"SET VARIABLE integration_id = {literal(ref.integration_id)}"
    )


def seen_rows(table: Table, schema: str) -> str:
    """A query of the table's rows that belong to the connection's integration."""
    if table.records:
        return f"SELECT * EXCLUDE (write_id) FROM ({_standing(table.name, schema)})"
    return f'FROM {BOOKS}."{schema}".{table.name} WHERE {_SEEN}'


def _standing(table: str, schema: str) -> str:
    """SQL for the valid records: those that `stored_writes` names."""
    return f"""
        FROM {LAKE}.{table}
        WHERE {_SEEN} AND write_id IN (
            SELECT write_id
            FROM {BOOKS}."{schema}".stored_writes
            WHERE {_SEEN} AND table_name = '{table}'
        )
    """
