"""The operational database: what SQLite and PostgreSQL have in common.

Transactions, pooled connections, retries while it is busy, and migrations of its schema. `sync` has
the statements about integrations, syncs and users.
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
    """Tables with rows of organizations: those that applications read, and others."""

    readable: Sequence[str] = ()
    internal: Sequence[str] = ()


NO_TABLES = TenantTables()


class TableColumn(msgspec.Struct, frozen=True):
    """A column of a table; `kind` is text, integer, real or boolean, `key` its place in the key."""

    name: str
    kind: str
    nullable: bool
    key: int = 0


class Transaction(ABC):
    """An open transaction; everything in it happens, or nothing."""

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

    A write that finds the database busy, and anything that finds it out of reach before it
    began, is tried `attempts` times, from `first_wait` seconds, doubling with jitter.
    """

    dialect: SqlDialect

    def __init__(self, name: str, *, attempts: int, first_wait: float) -> None:
        self._name = name
        self._attempts = attempts
        self._first_wait = first_wait
        self._idle: list[Connection] = []
        self._idle_guard = threading.Lock()

    def __str__(self) -> str:
        """The database as messages name it; no secret."""
        return self._name

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether an installation is there already."""

    @abstractmethod
    def migrate(self, also: Iterable[str] = (), tenants: TenantTables = NO_TABLES) -> None:
        """Bring the schema up to date: numbered migrations, each once, then `also`.

        `also` are idempotent statements (`CREATE TABLE IF NOT EXISTS …`) for tables that
        are made from declarations; `tenants` says whose rows some of them hold.
        Raises `DatabaseDamaged` when the database was written by a newer version.
        """

    @contextmanager
    def transaction(self, on: str = "") -> Iterator[Transaction]:
        """A write transaction, committed when the block ends and rolled back when it raises.

        `on` is what it is about: two on one thing never overlap, those on different things
        may. One that names nothing overlaps with none.

        Raises `DatabaseBusy` when others leave no way in, `DatabaseUnavailable` when the
        database cannot be reached, `WriteInterrupted` when it is unknown whether it was
        committed, and `StorageFull` and `DatabaseDamaged` for what is reported inside.
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
        """All rows of a query in a snapshot of its own; never waits for a writer."""

        def query() -> list[Row]:
            with self._connection() as connection, self._translated():
                return self._rows(connection, sql, parameters)

        return self._persistently(query, DatabaseUnavailable)

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """For several queries that agree with each other; writers go on."""
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
        """Describe it in a line: its version, its rights, whether an installation is there.

        Writes nothing. Raises what would keep an installation from using it.
        """

    @abstractmethod
    def reclaim(self, worth: float, *, dry_run: bool) -> int | None:
        """Give back what deleted rows took, where that is at least this share of the whole.

        Returns how many bytes that is; None where the database does it by itself.
        """

    @abstractmethod
    def empty_log(self) -> bool:
        """Keep nothing of what was deleted in the write-ahead log; False while it is read.

        True also where that log is a server's own.
        """

    @abstractmethod
    def copy(self, target: Path) -> bool:
        """Write the database as it stands to the new SQLite file `target`, while others go on.

        False where it is no file: then its tables are to be copied (transfer).
        """

    def close(self) -> None:
        """Close all idle connections."""
        with self._idle_guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @abstractmethod
    def _turn(self) -> AbstractContextManager[object]:
        """Whatever threads of this process queue at before they write."""

    @abstractmethod
    def _connect(self) -> Connection:
        """A new connection, with every statement committed at once."""

    @abstractmethod
    def _begin(self, connection: Connection, on: str) -> None:
        """Begin a transaction about `on`, before all others that wait for one."""

    @abstractmethod
    def _look(self, connection: Connection) -> None:
        """Begin to read: whatever is read until the end stood at one moment."""

    @abstractmethod
    def _transaction(self, connection: Connection) -> Transaction:
        """What the block is given."""

    @abstractmethod
    def _rows(self, connection: Connection, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a query."""

    @abstractmethod
    def _translate(self, error: Exception) -> SyncError | None:
        """The driver's error in our words; None if it is a defect of the statement."""

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
            # The others were made with the server that is gone.
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
        # Reading a result raises OSError where executing raises the driver's own class.
        except (adbc_driver_manager.Error, OSError) as error:
            translated = self._translate(error)
            if translated is None:
                raise
            raise translated from error


def roll_back(connection: Connection) -> None:
    """End the transaction without it; the connection is closed by the caller in any case."""
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("ROLLBACK")
    except adbc_driver_manager.Error:
        # It has rolled back by itself (a full disk does that, and so does a lost connection).
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
