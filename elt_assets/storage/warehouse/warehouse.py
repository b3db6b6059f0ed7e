"""The warehouse: the interface that the engine uses for both kinds of store.

A table is of one of two kinds. *Records* are fetched records and changes: many rows, added in bulk,
never changed, and dropped together. *Bookkeeping* tables have a few rows about the records, which
are read and changed all the time. Rows of both kinds that are written in one transaction are
committed together or not at all.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import msgspec
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from elt_assets.errors import PermanentError, WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.prepared_queries import PreparedQueries

Parameters = Mapping[str, object]

TENANT = ("organization_id", "connected_integration_id")
"""The first columns of records, and of bookkeeping tables that integrations share; a warehouse
fills them in."""


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file that belongs to no integration; it is in the folder of the warehouses itself."""

    name: str

    def __str__(self) -> str:
        return self.name


Place = IntegrationRef | SharedFile
"""The owner of a warehouse file: an integration, or a shared file."""


class Table(msgspec.Struct, frozen=True):
    """A table of the warehouse: the SQL of its columns, those of `TENANT` left out.

    `key` are the columns that are unique among an integration's rows, if any. `records` says that
    the table holds records and is not a bookkeeping table. `added` are nullable columns (name and
    type) of a bookkeeping table that tables of earlier releases lack.
    """

    name: str
    columns: str
    key: tuple[str, ...] = ()
    records: bool = False
    added: tuple[str, ...] = ()

    @property
    def all_columns(self) -> str:
        """SQL of all columns, without those of `TENANT`."""
        # On separate lines, because the columns before may end with a comment.
        return "\n, ".join((self.columns, *self.added))


class View(msgspec.Struct, frozen=True):
    """A view over tables of the warehouse."""

    name: str
    query: str


class WarehouseLayout(msgspec.Struct, frozen=True):
    """Tables, and the views over them in the order in which they can be made."""

    tables: tuple[Table, ...]
    views: tuple[View, ...] = ()


class Upkeep(msgspec.Struct, frozen=True):
    """One kind of maintenance of shared tables, and the number of things it concerned."""

    what: str
    count: int


class Queries(Protocol):
    """An object that runs queries."""

    def execute(self, query: str, parameters: Any = None, /) -> duckdb.DuckDBPyConnection:
        """Run a query; rows are fetched from the returned object."""


class Warehouse(ABC):
    """One integration's open tables: no other process writes them until the warehouse is closed.

    Queries name tables and views without a prefix. Temporary tables may be created and used as in
    any DuckDB; the integration's tables are written only by the methods of this class.
    """

    connection: duckdb.DuckDBPyConnection
    prepared: PreparedQueries
    attached: bool = True
    """Whether the tables can be used; `connection` and `prepared` exist only then."""

    def __init__(self, fencing_token: int = 0) -> None:
        """`fencing_token` rises with every holder; 0 if a lock ends only with its process."""
        self.fencing_token = fencing_token
        self.memos: dict[str, bytes] = {}
        """JSON that the store keeps while nothing else writes to these tables, by name."""

    def execute(self, query: str, parameters: Any = None, /) -> duckdb.DuckDBPyConnection:
        """Run a query, or a statement on temporary tables."""
        return self.connection.execute(query, parameters)

    @abstractmethod
    def reading(self) -> Queries:
        """A second connection to the same tables, for queries while the first one is busy."""

    @abstractmethod
    def create(self, layout: WarehouseLayout) -> None:
        """Create the tables and views, if the store has them separately for each integration."""

    @abstractmethod
    def extend(self, layout: WarehouseLayout) -> None:
        """Add the columns that tables of an earlier release lack."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Commit everything that the block writes, or nothing.

        A query in the block may not see the block's changes of bookkeeping tables, nor its deletes.
        """

    @abstractmethod
    def add(self, table: str, select: str, parameters: Parameters | None = None) -> int:
        """Add the records that `select` yields, columns by name; return how many there are."""

    @abstractmethod
    def insert(self, table: str, select: str, parameters: Parameters | None = None) -> None:
        """Insert the rows that `select` yields, columns by name, into a bookkeeping table."""

    @abstractmethod
    def update(
        self,
        table: str,
        changes: str,
        where: str,
        parameters: Parameters | None = None,
    ) -> None:
        """Update a bookkeeping table; `changes` is SQL of the assignments, `where` a condition."""

    @abstractmethod
    def delete(self, table: str, where: str, parameters: Parameters | None = None) -> None:
        """Delete rows of a bookkeeping table, or drop records.

        The records that one `add` wrote must be dropped all together or not at all.
        """

    @abstractmethod
    def grow(self) -> None:
        """Adapt the storage of the tables to their current size.

        Call it often, outside of a transaction; nothing else may use the tables meanwhile.
        """

    @abstractmethod
    def unload(self) -> None:
        """Free the memory that earlier writes take, so that queries can use it.

        Call it outside of a transaction; nothing else may use the tables meanwhile.
        """

    @abstractmethod
    def detach(self) -> bool:
        """Release the DuckDB instance and its memory until `attach`; other syncs stay excluded.

        Call it outside of a transaction. Temporary tables and connections of `reading` are lost.
        False if nothing can be released; the warehouse then remains usable.
        """

    @abstractmethod
    def attach(self) -> None:
        """Make the tables usable again after `detach`; raises the errors of `Warehouses.open`."""

    @abstractmethod
    def make_room(self, added: int) -> None:
        """Allow at least `added` bytes of memory beyond the usual limit, until it is closed."""


class Warehouses(ABC):
    """All integrations' warehouses."""

    @abstractmethod
    def open(
        self, ref: IntegrationRef, *, read_only: bool = False, later: bool = False
    ) -> AbstractContextManager[Warehouse]:
        """Open the integration's warehouse for the block; for writing, exclusively.

        With `later`, the caller attaches it when it is needed, and finds the memos of its last
        sync. A store without memos attaches it at once.

        Raises `WarehouseBusy` when another process keeps the warehouse too long, and
        `WarehouseDamaged`, `StorageFull` or `RetryableError` for errors while opening or inside the
        block. The warehouse is closed and unlocked however the block ends.
        """

    @abstractmethod
    def exists(self, ref: IntegrationRef) -> bool:
        """Whether anything was ever written to the integration's warehouse."""

    @abstractmethod
    def refs(self) -> list[IntegrationRef]:
        """Every integration that has a warehouse, whether or not it is still registered."""

    @abstractmethod
    def is_held(self, ref: IntegrationRef) -> bool:
        """Whether a sync holds the integration's warehouse now, on any machine that shares it."""

    @abstractmethod
    def last_written(self, ref: IntegrationRef) -> str:
        """A text that changes with every write to the integration's file; '' if it has none."""

    @abstractmethod
    def removing(self, ref: IntegrationRef) -> AbstractContextManager[None]:
        """Delete the integration's warehouse, and keep other processes out until the block ends.

        This waits for a running sync to end. Raises `WarehouseBusy` when the sync does not end.
        """

    def remove(self, ref: IntegrationRef) -> None:
        """Delete the integration's warehouse; raises the errors of `removing`."""
        with self.removing(ref):
            pass

    @abstractmethod
    def reclaim(self, ref: IntegrationRef, gone: float, *, dry_run: bool) -> int | None:
        """Reclaim disk space, after a share `gone` of the integration's rows was deleted.

        Returns the number of bytes freed, or with `dry_run` an estimate; None where reclaiming is
        not worthwhile.
        """

    @abstractmethod
    def look_after(self, *, dry_run: bool) -> list[Upkeep]:
        """Carry out the maintenance of shared tables, or with `dry_run` only count it."""

    @abstractmethod
    def inspect(self) -> str:
        """Describe the store in a line; nothing that is written stays.

        Raises the error that would keep an installation from using the store.
        """

    @abstractmethod
    def copy(self, ref: IntegrationRef, target: Path) -> bool:
        """Copy the integration's warehouse to the new file `target`, after any running sync.

        False if the warehouse is not a file: its tables must then be copied.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connections and instances that are kept for reuse."""


def one_row(queries: Queries, sql: str, parameters: Mapping[str, object]) -> tuple[Any, ...]:
    """The only row of a query that always has one, such as an aggregate."""
    row = queries.execute(sql, dict(parameters)).fetchone()
    if row is None:
        raise LookupError(f"no row where one must be: {sql}")
    return tuple(row)


def row_of(values: Mapping[str, object]) -> str:
    """A query of one row, in which each column is the parameter of the same name."""
    return f"SELECT {', '.join(f'${name} AS {name}' for name in values)}"


@contextmanager
def transaction(connection: Queries) -> Iterator[None]:
    """Commit everything that the block does, or nothing."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A failed COMMIT has already ended the transaction; the original error is raised.
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise


def tenant_columns(ref: IntegrationRef) -> str:
    """SQL for the columns `TENANT` of the integration's rows, to be selected."""
    return ", ".join(
        f"{literal(value)} AS {column}" for column, value in zip(TENANT, ref.values, strict=True)
    )


def is_tenant(ref: IntegrationRef) -> str:
    """SQL that is true of the integration's rows."""
    return " AND ".join(
        f"{column} = {literal(value)}" for column, value in zip(TENANT, ref.values, strict=True)
    )


def probe_writable(folder: Path) -> None:
    """Raise `PermanentError` where nothing can be written to the folder."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as probe:
            probe.write(b"x")
            probe.flush()
    except OSError as error:
        raise PermanentError(f"{folder} cannot be written: {error.strerror}") from error


def waiting_for_lock(seconds: float) -> Retrying:
    """Retries, for `seconds`, of an operation that raises `WarehouseBusy`."""
    return Retrying(
        retry=retry_if_exception_type(WarehouseBusy),
        stop=stop_after_delay(seconds),
        wait=wait_random(0.02, 0.25),
        reraise=True,
    )


def literal(value: str | bool) -> str:
    """An SQL literal. Configured names and literals are passed here, never values of records."""
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + value.replace("'", "''") + "'"
