"""The operational database: SQLite, reached through ADBC and through nothing else.

Belongs here: connections, transactions, bulk ingest, migrations, and SQLite's errors in
our words. Does not: any statement about integrations, syncs or users (`sync` has them).

Only ADBC's SQLite library may open this file in a process that syncs. POSIX locks belong
to the process: a second SQLite library on the same file drops the first one's locks when
it closes, and a committed row was lost that way. Neither `sqlite3` nor DuckDB's sqlite
extension, then, and no copying of the live file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from elt_assets.errors import DatabaseBusy, DatabaseDamaged, StorageFull, SyncError

Row = dict[str, Any]
Parameters = Sequence[object]

_MIGRATIONS = "elt_assets.stores.migrations"
_BATCH_ROWS = "adbc.sqlite.query.batch_rows"
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # An answer of "applied" must survive a power cut, so commits reach the disk.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # What is deleted is overwritten: erasing a customer must not leave people in free pages.
    "PRAGMA secure_delete = ON",
)


class Transaction:
    """An open transaction; everything in it happens, or nothing."""

    def __init__(self, connection: adbc.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement and return how many rows it changed."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, parameters or None)
        return int(self.value("SELECT changes()"))

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a query, as dictionaries."""
        return _rows(self._connection, sql, parameters)

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """The single value of a query with one row and one column."""
        return next(iter(self.rows(sql, parameters)[0].values()))

    @contextmanager
    def ingested(self, table: str, data: pa.RecordBatchReader | pa.Table) -> Iterator[str]:
        """Bulk-load `data` into a temporary table for the block; yield its name for SQL."""
        with closing(self._connection.cursor()) as cursor:
            cursor.adbc_ingest(table, data, mode="create", temporary=True)
        yield f'temp."{table}"'
        self.execute(f'DROP TABLE temp."{table}"')


class OperationalDatabase:
    """One SQLite file and a pool of ADBC connections to it.

    A write that finds the database locked is tried `attempts` times, from `first_wait`
    seconds, doubling with jitter; each try lets SQLite itself wait `busy_timeout` seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        attempts: int = 10,
        first_wait: float = 0.1,
        busy_timeout: float = 1.0,
    ) -> None:
        self._path = path
        self._attempts = attempts
        self._first_wait = first_wait
        self._busy_timeout = busy_timeout
        self._idle: list[adbc.Connection] = []
        self._idle_guard = threading.Lock()
        # SQLite has one writer; queueing for it inside the process is fair, polling is not.
        self._writer = threading.Lock()

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._path

    def migrate(self, also: Iterable[str] = ()) -> None:
        """Bring the schema up to date: numbered migrations, each once, then `also`.

        `also` are idempotent statements (`CREATE TABLE IF NOT EXISTS …`) for tables that
        are made from declarations. Raises `DatabaseDamaged` when the file was written by
        a newer version.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scripts = _migrations()
        with self.transaction() as transaction:
            version = int(transaction.value("PRAGMA user_version"))
            if version > len(scripts):
                raise DatabaseDamaged(
                    f"{self._path} has schema {version}, this release knows {len(scripts)}; "
                    "run the release that wrote it, or a newer one"
                )
            for script in scripts[version:]:
                for statement in _statements(script):
                    transaction.execute(statement)
            for statement in also:
                transaction.execute(statement)
            if version < len(scripts):
                transaction.execute(f"PRAGMA user_version = {len(scripts)}")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A write transaction, committed when the block ends and rolled back when it raises.

        Raises `DatabaseBusy` when another process keeps the write lock, `StorageFull`
        and `DatabaseDamaged` for what SQLite reports inside.
        """
        with self._writer, self._connection() as connection, self._translated():
            self._begin(connection)
            try:
                yield Transaction(connection)
                with closing(connection.cursor()) as cursor:
                    cursor.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of a query in a snapshot of its own; never waits for a writer."""
        with self._connection() as connection, self._translated():
            return _rows(connection, sql, parameters)

    @contextmanager
    def reader(self, sql: str, parameters: Parameters = ()) -> Iterator[pa.RecordBatchReader]:
        """A query's rows as a stream of Arrow batches, however many there are.

        SQLite's driver types a column by its first batch, so select expressions that are
        never NULL and always of one type.
        """
        with (
            self._connection() as connection,
            self._translated(),
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute(sql, parameters or None)
            with closing(cursor.fetch_record_batch()) as batches:
                yield batches

    def free_bytes(self) -> int:
        """How much of the file is pages that hold nothing."""
        return self._pragma("freelist_count") * self._pragma("page_size")

    def vacuum(self) -> None:
        """Rewrite the file without free pages and let the planner look at it again.

        Writers wait meanwhile. Raises `DatabaseBusy` when one does not end.
        """
        with self._writer, self._connection() as connection, self._translated():
            for statement in ("VACUUM", "PRAGMA optimize"):
                with closing(connection.cursor()) as cursor:
                    cursor.execute(statement)
        self.empty_log()

    def empty_log(self) -> bool:
        """Move the write-ahead log into the file and cut it to nothing; False while it is read."""
        with self._writer, self._connection() as connection, self._translated():
            (row,) = _rows(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
        return bool(row["busy"] == 0)

    def copy(self, target: Path) -> None:
        """Write the database as it stands to the new file `target`, while others go on."""
        with (
            self._connection() as connection,
            self._translated(),
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute("VACUUM INTO ?", (str(target),))

    def _pragma(self, name: str) -> int:
        return int(next(iter(self.rows(f"PRAGMA {name}")[0].values())))

    def close(self) -> None:
        """Close all idle connections."""
        with self._idle_guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[adbc.Connection]:
        with self._idle_guard:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._idle_guard:
            self._idle.append(connection)

    def _connect(self) -> adbc.Connection:
        with self._translated():
            connection = adbc.connect(str(self._path), autocommit=True)
            try:
                _rows(connection, f"PRAGMA busy_timeout = {int(self._busy_timeout * 1000)}")
                for pragma in _PRAGMAS:
                    _rows(connection, pragma)
            except BaseException:
                connection.close()
                raise
        return connection

    def _begin(self, connection: adbc.Connection) -> None:
        attempts = Retrying(
            retry=retry_if_exception_type(DatabaseBusy),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential_jitter(
                multiplier=self._first_wait, max=5, jitter=self._first_wait
            ),
            reraise=True,
        )
        for attempt in attempts:
            with attempt, self._translated(), closing(connection.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        # Reading a result raises OSError where executing raises the driver's own class.
        except (adbc_driver_manager.Error, OSError) as error:
            translated = self._translate(str(error))
            if translated is None:
                raise
            raise translated from error

    def _translate(self, text: str) -> SyncError | None:
        if "database is locked" in text or "database table is locked" in text:
            return DatabaseBusy(
                f"{self._path} stayed locked by another process; "
                "let it finish, or stop it, and sync again"
            )
        if "disk is full" in text or "No space left" in text:
            return StorageFull(f"no space left for {self._path}; free some space and sync again")
        if "malformed" in text or "not a database" in text or "disk I/O error" in text:
            return DatabaseDamaged(
                f"{self._path} cannot be read (SQLite says it is damaged); "
                "restore it from a backup, or rebuild it from the change logs"
            )
        if "unable to open database file" in text or "failed to open" in text:
            return DatabaseDamaged(
                f"{self._path} cannot be opened; check the folder and its rights"
            )
        return None


def _rows(connection: adbc.Connection, sql: str, parameters: Parameters = ()) -> list[Row]:
    with closing(connection.cursor()) as cursor:
        # The whole result is one batch, so that a column of NULLs that later holds text
        # is typed by all of its values.
        cursor.adbc_statement.set_options(**{_BATCH_ROWS: "1000000"})
        cursor.execute(sql, parameters or None)
        rows: list[Row] = cursor.fetch_arrow_table().to_pylist()
        return rows


def _roll_back(connection: adbc.Connection) -> None:
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("ROLLBACK")
    except adbc_driver_manager.Error:
        # SQLite has already rolled back (a full disk does that); the connection is closed
        # by the caller in any case.
        return


def _migrations() -> list[str]:
    folder = resources.files(_MIGRATIONS)
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [folder.joinpath(name).read_text(encoding="utf-8") for name in scripts]


def _statements(script: str) -> list[str]:
    """The statements of a migration script, which holds no semicolon inside a literal."""
    without_comments = "\n".join(line.partition("--")[0] for line in script.splitlines())
    return [statement for part in without_comments.split(";") if (statement := part.strip())]
