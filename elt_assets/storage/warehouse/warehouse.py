"""The warehouse: what the engine needs of it, wherever an integration's records are kept.

A table is one of two kinds. *Records* are what was fetched and what changed: many rows, added in
bulk, never changed, and dropped together. *Books* are a few rows about them, read and changed all
the time. Rows of both that are written in one transaction are there together or not at all.
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
"""Columns that records begin with, and books where integrations share them; a warehouse fills
them by itself."""


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file that belongs to no integration; it lies in the folder itself."""

    name: str

    def __str__(self) -> str:
        return self.name


Place = IntegrationRef | SharedFile
"""What has a file."""


class Table(msgspec.Struct, frozen=True):
    """A table of the warehouse: the SQL of its columns, those of `TENANT` left out.

    `key` are the columns by which an integration's rows differ, if any do. `records` says
    that it holds records and not books. `added` are nullable columns (name and type) of books
    that tables made by an earlier release lack.
    """

    name: str
    columns: str
    key: tuple[str, ...] = ()
    records: bool = False
    added: tuple[str, ...] = ()

    @property
    def all_columns(self) -> str:
        """SQL of all columns, those of `TENANT` left out."""
        # On lines of their own: a comment may end the columns before them.
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
    """Something that was done for all integrations together, to so many things."""

    what: str
    count: int


class Queries(Protocol):
    """What answers a query."""

    def execute(self, query: str, parameters: Any = None, /) -> duckdb.DuckDBPyConnection:
        """Run it; rows are fetched from what is returned."""


class Warehouse(ABC):
    """One integration's tables, open: no other process writes them until it is closed.

    Tables and views go by their own names in every query. Temporary tables may be made and
    used like in any DuckDB; the integration's own are written by the methods here alone.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        prepared: PreparedQueries,
        fencing_token: int = 0,
    ) -> None:
        """`fencing_token` rises with every holder; 0 where a lock ends with its process alone."""
        self.connection = connection
        self.prepared = prepared
        self.fencing_token = fencing_token
        self.attached = True

    def execute(self, query: str, parameters: Any = None, /) -> duckdb.DuckDBPyConnection:
        """Run a query, or a statement on temporary tables."""
        return self.connection.execute(query, parameters)

    @abstractmethod
    def reading(self) -> Queries:
        """Another way to the same tables, for queries while the first one is busy."""

    @abstractmethod
    def create(self, layout: WarehouseLayout) -> None:
        """Make the tables and views, if they have to be made for each integration."""

    @abstractmethod
    def extend(self, layout: WarehouseLayout) -> None:
        """Add the columns that tables made by an earlier release lack."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Commit what the block writes, or nothing of it.

        A query in the block need not see what the block has changed in books or dropped.
        """

    @abstractmethod
    def add(self, table: str, select: str, parameters: Parameters | None = None) -> int:
        """Add the records that `select` yields, columns by name; how many they are."""

    @abstractmethod
    def insert(self, table: str, select: str, parameters: Parameters | None = None) -> None:
        """Put what `select` yields, columns by name, into a table of books."""

    @abstractmethod
    def update(
        self,
        table: str,
        changes: str,
        where: str,
        parameters: Parameters | None = None,
    ) -> None:
        """Change rows of a table of books: SQL of the assignments, and of which rows."""

    @abstractmethod
    def delete(self, table: str, where: str, parameters: Parameters | None = None) -> None:
        """Remove rows of a table of books, or drop records.

        Of the records that one `add` brought, all must go or none.
        """

    @abstractmethod
    def grow(self) -> None:
        """Let the tables be kept in a way that suits their size by now.

        Call it often, outside of a transaction; nothing else may use them meanwhile.
        """

    @abstractmethod
    def unload(self) -> None:
        """Let what was written so far take no memory that queries may need.

        Call it outside of a transaction; nothing else may use the tables meanwhile.
        """

    @abstractmethod
    def detach(self) -> bool:
        """Give back the instance and its memory until `attach`; other syncs stay out.

        Call it outside of a transaction. Temporary tables and what `reading` lent are gone.
        False where nothing can be given back, and everything goes on being usable.
        """

    @abstractmethod
    def attach(self) -> None:
        """Make the tables usable again after `detach`; raises what `Warehouses.open` raises."""

    @abstractmethod
    def make_room(self, added: int) -> None:
        """See to it that so many bytes are free besides the usual memory, until the end."""


class Warehouses(ABC):
    """All integrations' warehouses."""

    @abstractmethod
    def open(
        self, ref: IntegrationRef, *, read_only: bool = False
    ) -> AbstractContextManager[Warehouse]:
        """Lend the integration's warehouse, exclusively if it is to be written.

        Raises `WarehouseBusy` when another process has it and keeps it, and
        `WarehouseDamaged`, `StorageFull` or `RetryableError` for what is reported on the
        way or inside the block. It is closed, and others let in, on every path.
        """

    @abstractmethod
    def exists(self, ref: IntegrationRef) -> bool:
        """Whether anything was ever written there."""

    @abstractmethod
    def refs(self) -> list[IntegrationRef]:
        """Every integration that has a warehouse, whether or not it is still known."""

    @abstractmethod
    def is_held(self, ref: IntegrationRef) -> bool:
        """Whether a sync has the integration's warehouse open now, wherever that is."""

    @abstractmethod
    def last_written(self, ref: IntegrationRef) -> str:
        """Differs once the integration's own file was written to; '' where it has none."""

    @abstractmethod
    def removing(self, ref: IntegrationRef) -> AbstractContextManager[None]:
        """Delete the integration's warehouse, and keep other processes out until the block ends.

        A running sync is waited for, not cut. Raises `WarehouseBusy` when it does not end.
        """

    def remove(self, ref: IntegrationRef) -> None:
        """Delete the integration's warehouse; raises what `removing` raises."""
        with self.removing(ref):
            pass

    @abstractmethod
    def reclaim(self, ref: IntegrationRef, gone: float, *, dry_run: bool) -> int | None:
        """Give back what the integration no longer needs, after a share `gone` of its rows went.

        Returns how many bytes that is, or would be; None where it is not worth the work.
        """

    @abstractmethod
    def look_after(self, *, dry_run: bool) -> list[Upkeep]:
        """Do, or only count, what integrations need that share something."""

    @abstractmethod
    def inspect(self) -> str:
        """Describe it in a line; writes nothing that stays.

        Raises what would keep an installation from using it.
        """

    @abstractmethod
    def copy(self, ref: IntegrationRef, target: Path) -> bool:
        """Write the integration's warehouse to the new file `target`; a running sync is waited for.

        False where it is no file: then its tables are to be copied.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what is kept open for the next one."""


def one_row(queries: Queries, sql: str, parameters: Mapping[str, object]) -> tuple[Any, ...]:
    """The only row of a query that always has one, such as an aggregate."""
    row = queries.execute(sql, dict(parameters)).fetchone()
    if row is None:
        raise LookupError(f"no row where one must be: {sql}")
    return tuple(row)


def row_of(values: Mapping[str, object]) -> str:
    """A query of one row, whose columns are parameters of their own names."""
    return f"SELECT {', '.join(f'${name} AS {name}' for name in values)}"


@contextmanager
def transaction(connection: Queries) -> Iterator[None]:
    """Commit what the block did, or nothing of it."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A failed COMMIT has ended the transaction already; the original error matters.
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
    """Attempts at something that another process may hold, for so many seconds."""
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
