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
    """An integration's part of the lake."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        instance: Instance,
        lease: Lease,
        catalog: LakeCatalog,
        layout: WarehouseLayout,
    ) -> None:
        super().__init__(connection, instance.prepared, fencing_token=lease.epoch)
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
        """Nothing: all integrations share what was made with the lake."""

    def extend(self, layout: WarehouseLayout) -> None:
        """Nothing: the catalog is extended when it is prepared."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Warehouse`: records first, then the books that name them.

        What the block changes in books happens at its end, in the order in which it was said.
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
        """See `Warehouse`; of records, what names them goes."""
        if table in self._records:
            self._do_at_the_end(lambda: self._drop(table, where, parameters))
        else:
            self._at_the_end(
                f"DELETE FROM {self._books(table)} WHERE {self._own} AND ({where})", parameters
            )

    def grow(self) -> None:
        """Nothing: files of a lake are never added to."""

    def unload(self) -> None:
        """Nothing: what is committed is in files."""

    def detach(self) -> bool:
        """False: the lease is a session of PostgreSQL's, which must not be many in any case."""
        return False

    def attach(self) -> None:
        """Nothing: it was never detached."""

    def make_room(self, added: int) -> None:
        """Let the memory limit be at least so many bytes above the usual one, until the end."""
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
                f"{self._lease.ref}: records of {table} that were written together were to be "
                "dropped one without the other. This is a defect of the platform"
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
    """Let the connection see what is of `ref`."""
    connection.execute(
        f"SET VARIABLE organization_id = {literal(ref.organization_id)};"
        f"SET VARIABLE integration_id = {literal(ref.integration_id)}"
    )


def seen_rows(table: Table, schema: str) -> str:
    """A query of the rows of the table that the connection's integration has."""
    if table.records:
        return f"SELECT * EXCLUDE (write_id) FROM ({_standing(table.name, schema)})"
    return f'FROM {BOOKS}."{schema}".{table.name} WHERE {_SEEN}'


def _standing(table: str, schema: str) -> str:
    """SQL for the records that the books name."""
    return f"""
        FROM {LAKE}.{table}
        WHERE {_SEEN} AND write_id IN (
            SELECT write_id
            FROM {BOOKS}."{schema}".stored_writes
            WHERE {_SEEN} AND table_name = '{table}'
        )
    """
