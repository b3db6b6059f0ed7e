"""The operational database: the parts that SQLite and PostgreSQL share.

These are transactions, pooled connections, retries while the database is busy, and migrations of
its schema. The statements about integrations, syncs and users are in `sync`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import adbc_driver_manager
import msgspec
import pyarrow as pa
from adbc_driver_manager.dbapi import Connection
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from elt_assets.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    SyncError,
    WriteInterrupted,
)
from elt_assets.storage.operational.sql_dialect import SqlDialect

T = TypeVar("T")
Row = dict[str, Any]
Parameters = Sequence[object]

_MIGRATIONS = "elt_assets.storage.operational.migrations"


class TenantTables(NamedTuple):
    """Tables with rows of organizations: those that applications read, and internal ones."""

    readable: Sequence[str] = ()
    internal: Sequence[str] = ()


NO_TABLES = TenantTables()


class TableColumn(msgspec.Struct, frozen=True):
    """A column of a table.

    `kind` is text, integer, real or boolean. `key` is the place in the primary key from 1, or 0.
    """

    name: str
    kind: str
    nullable: bool
    key: int = 0


class Transaction(ABC):
    """An open transaction: all of its changes are committed, or none."""

    dialect: SqlDialect

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @abstractmethod
    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement and return how many rows it changed."""

    @abstractmethod
    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a query, as dictionaries."""

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """The single value of a query with one row and one column."""
        return next(iter(self.rows(sql, parameters)[0].values()))

    @abstractmethod
    def reader(
        self, sql: str, parameters: Parameters = ()
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """A query's rows as a stream of Arrow batches; see `OperationalDatabase.reader`."""

    @abstractmethod
    def ingested(
        self, table: str, data: pa.RecordBatchReader | pa.Table
    ) -> AbstractContextManager[str]:
        """Bulk-load `data` into a temporary table for the block; yield its name for SQL."""


class OperationalDatabase(ABC):
    """A database and a pool of ADBC connections to it.

    A write that finds the database busy is tried `attempts` times, and so is any operation that
    cannot reach the database before it begins. The wait starts at `first_wait` seconds and doubles,
    with jitter.
    """

    dialect: SqlDialect

    def __init__(self, name: str, *, attempts: int, first_wait: float) -> None:
        self._name = name
        self._attempts = attempts
        self._first_wait = first_wait
        self._idle: list[Connection] = []
        self._idle_guard = threading.Lock()

    def __str__(self) -> str:
        """The name of the database for messages, without secrets."""
        return self._name

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether the database already has an installation."""

    @abstractmethod
    def migrate(self, also: Iterable[str] = (), tenants: TenantTables = NO_TABLES) -> None:
        """Bring the schema up to date: numbered migrations, each once, then `also`.

        `also` are idempotent statements (`CREATE TABLE IF NOT EXISTS …`) for tables that
        are made from declarations; `tenants` names the tables with rows of organizations.
        Raises `DatabaseDamaged` when the database was written by a newer version.
        """

    @contextmanager
    def transaction(self, on: str = "") -> Iterator[Transaction]:
        """A write transaction, committed when the block ends and rolled back when it raises.

        `on` names what the transaction concerns, such as an integration. Two transactions with
        the same name never overlap, those with different names may. A transaction without a name
        overlaps with no other.

        Raises `DatabaseBusy` when others keep their locks too long, `DatabaseUnavailable` when the
        database cannot be reached, `WriteInterrupted` when it is unknown whether the transaction
        was committed, and `StorageFull` and `DatabaseDamaged` for errors inside the block.
        """
        with self._turn():
            connection = self._persistently(
                lambda: self._begun(on), DatabaseBusy, DatabaseUnavailable
            )
            with self._given_back(connection):
                try:
                    with self._translated():
                        yield self._transaction(connection)
                    self._commit(connection)
                except BaseException:
                    roll_back(connection)
                    raise

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a query, in its own snapshot; it never waits for a writer."""

        def query() -> list[Row]:
            with self._connection() as connection, self._translated():
                return self._rows(connection, sql, parameters)

        return self._persistently(query, DatabaseUnavailable)

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Read one consistent state with several queries; writers are not blocked."""
        connection = self._persistently(self._looking, DatabaseUnavailable, DatabaseBusy)
        with self._given_back(connection):
            with self._translated():
                yield self._transaction(connection)
            roll_back(connection)

    @contextmanager
    def reader(self, sql: str, parameters: Parameters = ()) -> Iterator[pa.RecordBatchReader]:
        """A query's rows as a stream of Arrow batches, however many there are.

        Not every driver can type a column whose first values are NULL, so select
        expressions that are never NULL and always of one type.
        """
        with self.snapshot() as snapshot, snapshot.reader(sql, parameters) as batches:
            yield batches

    @abstractmethod
    def columns(self, table: str) -> list[TableColumn]:
        """The columns of a table in their order; none if there is no such table."""

    @abstractmethod
    def inspect(self) -> str:
        """Describe the database in a line: version, rights, whether it has an installation.

        Writes nothing. Raises the error that would keep an installation from using it.
        """

    @abstractmethod
    def reclaim(self, worth: float, *, dry_run: bool) -> int | None:
        """Reclaim the space of deleted rows, if it is at least the share `worth` of the whole.

        Returns the number of bytes reclaimed, or with `dry_run` the number that would be; None
        where the database does it by itself.
        """

    @abstractmethod
    def empty_log(self) -> bool:
        """Empty the write-ahead log, which may hold deleted rows; False while a reader uses it.

        True also where the log belongs to a server.
        """

    @abstractmethod
    def copy(self, target: Path) -> bool:
        """Write a snapshot of the database to the new SQLite file `target`; writers go on.

        False if the database is not a file: its tables must then be copied (`table_transfer`).
        """

    def close(self) -> None:
        with self._idle_guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @abstractmethod
    def _turn(self) -> AbstractContextManager[object]:
        """The lock for which threads of this process queue before they write."""

    @abstractmethod
    def _connect(self) -> Connection:
        """A new connection in autocommit mode."""

    @abstractmethod
    def _begin(self, connection: Connection, on: str) -> None:
        """Begin a write transaction on `on`, taking the locks that keep conflicting ones out."""

    @abstractmethod
    def _look(self, connection: Connection) -> None:
        """Begin a read transaction in which all queries see the same state."""

    @abstractmethod
    def _transaction(self, connection: Connection) -> Transaction:
        """The transaction object that the block receives."""

    @abstractmethod
    def _rows(self, connection: Connection, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a query."""

    @abstractmethod
    def _translate(self, error: Exception) -> SyncError | None:
        """Translate an error of the driver; None if it is a defect of the statement."""

    def _begun(self, on: str) -> Connection:
        return self._ready(lambda connection: self._begin(connection, on))

    def _looking(self) -> Connection:
        return self._ready(self._look)

    def _ready(self, begin: Callable[[Connection], None]) -> Connection:
        connection = self._taken()
        try:
            with self._translated():
                begin(connection)
        except DatabaseBusy:
            roll_back(connection)
            self._returned(connection)
            raise
        except BaseException as error:
            self._dropped(connection, error)
            raise
        return connection

    def _commit(self, connection: Connection) -> None:
        try:
            with self._translated(), closing(connection.cursor()) as cursor:
                cursor.execute("COMMIT")
        except DatabaseUnavailable as error:
            raise WriteInterrupted(
                f"{self} was lost while it committed; what it holds decides when this is tried "
                "again"
            ) from error

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection = self._taken()
        with self._given_back(connection):
            yield connection

    @contextmanager
    def _given_back(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._dropped(connection, error)
            raise
        self._returned(connection)

    def _taken(self) -> Connection:
        with self._idle_guard:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            with self._translated():
                connection = self._connect()
        return connection

    def _returned(self, connection: Connection) -> None:
        with self._idle_guard:
            self._idle.append(connection)

    def _dropped(self, connection: Connection, error: BaseException) -> None:
        connection.close()
        if isinstance(error, DatabaseUnavailable):
            # The idle connections were opened to the same server, which is gone.
            self.close()

    def _persistently(self, act: Callable[[], T], *passing: type[SyncError]) -> T:
        attempts = Retrying(
            retry=retry_if_exception_type(passing),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential_jitter(
                multiplier=self._first_wait, max=5, jitter=self._first_wait
            ),
            reraise=True,
        )
        return attempts(act)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        # Reading a result raises OSError; executing a statement raises the driver's own class.
        except (adbc_driver_manager.Error, OSError) as error:
            translated = self._translate(error)
            if translated is None:
                raise
            raise translated from error


def roll_back(connection: Connection) -> None:
    """Roll the transaction back, ignoring an error of the driver."""
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("ROLLBACK")
    except adbc_driver_manager.Error:
        # The database has already rolled back, as after a full disk or a lost connection.
        return


def migrations() -> list[list[str]]:
    """The statements of every numbered migration, in order."""
    folder = resources.files(_MIGRATIONS)
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [_statements(folder.joinpath(name).read_text(encoding="utf-8")) for name in scripts]


def _statements(script: str) -> list[str]:
    """The statements of a migration script, which holds no semicolon inside a literal."""
    without_comments = "\n".join(line.partition("--")[0] for line in script.splitlines())
    return [statement for part in without_comments.split(";") if (statement := part.strip())]
