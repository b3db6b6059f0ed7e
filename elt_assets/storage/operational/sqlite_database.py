"""The operational database as a SQLite file, accessed only through ADBC.

Only ADBC's SQLite library may open this file in a process that syncs. POSIX locks belong to the
process: a second SQLite library on the same file drops the first one's locks when it closes, and a
committed row was lost that way. So neither `sqlite3` nor DuckDB's sqlite extension may be used, and
the live file must not be copied.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
from adbc_driver_manager.dbapi import Connection

from elt_assets.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseMoved,
    DatabaseRefused,
    StorageFull,
    SyncError,
)
from elt_assets.storage.operational.database import (
    NO_TABLES,
    OperationalDatabase,
    Parameters,
    Row,
    TableColumn,
    TenantTables,
    Transaction,
    migrations,
)
from elt_assets.storage.operational.sql_dialect import SqliteDialect

_BATCH_ROWS = "adbc.sqlite.query.batch_rows"
_FEW, _ALL = 8_192, 1_000_000
"""Rows in one batch of a result. The driver reserves memory for that many, so that `_ALL` takes
70 to 400 µs longer, and it determines column types from the first batch."""
_MISTYPED = "Type mismatch in column"
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # A sync reported as applied must survive a power failure, so commits wait for the disk.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # Deleted data is overwritten: erasing a customer must not leave people in free pages.
    "PRAGMA secure_delete = ON",
)
_MOVED = "moved to "


class SqliteTransaction(Transaction):
    """A write transaction of SQLite; only one can be open at a time."""

    dialect = SqliteDialect()

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        with closing(self._connection.cursor()) as cursor:
            # Unlike `execute`, `executemany` counts the changed rows. An empty list would run the
            # statement zero times; None runs it once.
            cursor.executemany(sql, [parameters] if parameters else None)
            return int(cursor.rowcount)

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return _rows(self._connection, sql, parameters)

    @contextmanager
    def reader(self, sql: str, parameters: Parameters = ()) -> Iterator[pa.RecordBatchReader]:
        """A query's rows as a stream of Arrow batches; the first batch determines the types."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, parameters or None)
            with closing(cursor.fetch_record_batch()) as batches:
                yield batches

    @contextmanager
    def ingested(self, table: str, data: pa.RecordBatchReader | pa.Table) -> Iterator[str]:
        with closing(self._connection.cursor()) as cursor:
            cursor.adbc_ingest(table, data, mode="create", temporary=True)
        yield f'temp."{table}"'
        self.execute(f'DROP TABLE temp."{table}"')


class SqliteDatabase(OperationalDatabase):
    """One SQLite file.

    It has one writer at a time, whatever `on` names: `BEGIN IMMEDIATE` excludes all others.
    In each try SQLite itself waits up to `busy_timeout` seconds for the lock.
    """

    dialect = SqliteDialect()

    def __init__(
        self,
        path: Path,
        *,
        attempts: int = 10,
        first_wait: float = 0.1,
        busy_timeout: float = 1.0,
    ) -> None:
        super().__init__(str(path), attempts=attempts, first_wait=first_wait)
        self._path = path
        self._busy_timeout = busy_timeout
        # Threads of this process queue for this lock, which is fair; SQLite's polling is not.
        self._writer = threading.Lock()

    @property
    def path(self) -> Path:
        return self._path

    @property
    def exists(self) -> bool:
        return self._path.exists()

    def migrate(self, also: Iterable[str] = (), tenants: TenantTables = NO_TABLES) -> None:
        """See `OperationalDatabase`. Raises `DatabaseMoved` after `retire`."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
        # Created here because SQLite would deny the group write access, whatever the umask. No
        # descriptor is opened: closing one would drop the locks of this process.
        with suppress(OSError):
            os.mknod(self._path, 0o660 | stat.S_IFREG)
        scripts = migrations()
        with self.transaction() as transaction:
            self._refuse_moved(transaction)
            version = int(transaction.value("PRAGMA user_version"))
            if version > len(scripts):
                raise DatabaseDamaged(
                    f"{self._path} has schema {version}, this release knows {len(scripts)}; "
                    "run the release that wrote it, or a newer one"
                )
            for script in scripts[version:]:
                for statement in script:
                    transaction.execute(statement)
            for statement in also:
                transaction.execute(statement)
            if version < len(scripts):
                transaction.execute(f"PRAGMA user_version = {len(scripts)}")

    def columns(self, table: str) -> list[TableColumn]:
        rows = self.rows(
            'SELECT name, lower(type) AS kind, "notnull" AS given, pk FROM pragma_table_info(?)',
            (table,),
        )
        return [
            TableColumn(row["name"], row["kind"], not row["given"] and not row["pk"], row["pk"])
            for row in rows
        ]

    def inspect(self) -> str:
        if not self.exists:
            return f"{self._path} is created with the first registration"
        (row,) = self.rows("SELECT sqlite_version() AS version")
        with self.snapshot() as snapshot:
            self._refuse_moved(snapshot)
        return f"SQLite {row['version']}, {self._path}"

    def reclaim(self, worth: float, *, dry_run: bool) -> int | None:
        """Rewrite the file if enough of it is free; always remove deleted data from the log."""
        free = self.free_bytes()
        enough = free >= worth * self._path.stat().st_size
        if not dry_run:
            # Deleted data must not remain in the write-ahead log.
            (self.vacuum if enough else self.empty_log)()
        return free if enough else 0

    def free_bytes(self) -> int:
        """The size of the file's free pages in bytes."""
        return self._pragma("freelist_count") * self._pragma("page_size")

    def vacuum(self) -> None:
        """Rewrite the file without free pages, and update the statistics of the query planner.

        Writers wait meanwhile. Raises `DatabaseBusy` when another process keeps the lock.
        """
        with self._writer, self._connection() as connection, self._translated():
            for statement in ("VACUUM", "PRAGMA optimize"):
                with closing(connection.cursor()) as cursor:
                    cursor.execute(statement)
        self.empty_log()

    def empty_log(self) -> bool:
        """Move the write-ahead log into the file and truncate it; False while a reader uses it."""
        with self._writer, self._connection() as connection, self._translated():
            (row,) = _rows(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
        return bool(row["busy"] == 0)

    def copy(self, target: Path) -> bool:
        """Write a snapshot of the database to the new file `target`; writers are not blocked."""
        with (
            self._connection() as connection,
            self._translated(),
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute("VACUUM INTO ?", (str(target),))
        return True

    def retire(self, transaction: Transaction, tables: Iterable[str], successor: str) -> None:
        """Close the file: refuse to open it, and refuse writes to `tables`, now at `successor`.

        Triggers refuse the writes, so that processes which already have the file open are
        affected, too.
        """
        reason = f"{_MOVED}{successor}".replace("'", "''")
        for table in tables:
            for action in ("INSERT", "UPDATE", "DELETE"):
                transaction.execute(
                    f"CREATE TRIGGER moved_{table}_{action.lower()} BEFORE {action} ON {table}"
                    f" BEGIN SELECT RAISE(ABORT, '{reason}'); END"
                )

    def _refuse_moved(self, transaction: Transaction) -> None:
        rows = transaction.rows(
            "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'moved!_%'"
            " ESCAPE '!' LIMIT 1"
        )
        if rows:
            raise self._moved(rows[0]["sql"])

    def _moved(self, text: str) -> DatabaseMoved:
        successor = text.partition(_MOVED)[2].split("'")[0].split()[0]
        return DatabaseMoved(
            f"{self._path} was moved to {successor} and is closed; "
            f"set ELT_ASSETS_OPERATIONAL_URL={successor}"
        )

    def _pragma(self, name: str) -> int:
        return int(next(iter(self.rows(f"PRAGMA {name}")[0].values())))

    def _turn(self) -> AbstractContextManager[object]:
        return self._writer

    def _connect(self) -> Connection:
        connection = adbc.connect(str(self._path), autocommit=True)
        try:
            _rows(connection, f"PRAGMA busy_timeout = {int(self._busy_timeout * 1000)}")
            for pragma in _PRAGMAS:
                _rows(connection, pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, connection: Connection, on: str) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")

    def _look(self, connection: Connection) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute("BEGIN")

    def _transaction(self, connection: Connection) -> Transaction:
        return SqliteTransaction(connection)

    def _rows(self, connection: Connection, sql: str, parameters: Parameters = ()) -> list[Row]:
        return _rows(connection, sql, parameters)

    def _translate(self, error: Exception) -> SyncError | None:
        text = str(error)
        if _MOVED in text:
            return self._moved(text)
        if "database is locked" in text or "database table is locked" in text:
            return DatabaseBusy(
                f"{self._path} stayed locked by another process; "
                "let it finish, or stop it, and sync again"
            )
        writing = any(sign in text for sign in ("disk I/O error", "unable to open", "readonly"))
        room = _room_of(self._path.parent) if writing else None
        if room == "read-only" or "readonly" in text:
            return DatabaseRefused(
                f"{self._path} cannot be written: its disk or folder is read-only; make it "
                "writable, or name another one (ELT_ASSETS_HOME)"
            )
        if room == "full" or "disk is full" in text or "No space left" in text:
            return StorageFull(f"no space left for {self._path}; free some space and sync again")
        if "malformed" in text or "not a database" in text or "disk I/O error" in text:
            return DatabaseDamaged(
                f"{self._path} cannot be read (SQLite says it is damaged); "
                "restore it from a backup, or rebuild it from the change logs"
            )
        if "unable to open database file" in text or "failed to open" in text:
            return DatabaseRefused(
                f"{self._path} cannot be opened; check the folder and its rights"
            )
        return None


def _room_of(folder: Path) -> str | None:
    """Why the disk refuses a write, "read-only" or "full"; SQLite's own error does not say."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    if found.f_flag & os.ST_RDONLY:
        return "read-only"
    return "full" if found.f_bavail == 0 else None


def _rows(connection: Connection, sql: str, parameters: Parameters = ()) -> list[Row]:
    try:
        return _rows_in_batches(connection, sql, parameters, _FEW)
    except adbc.Error as error:
        if _MISTYPED not in str(error):
            raise
    # A column was NULL in all rows of the first batch, but not in later ones: read one batch.
    return _rows_in_batches(connection, sql, parameters, _ALL)


def _rows_in_batches(
    connection: Connection, sql: str, parameters: Parameters, size: int
) -> list[Row]:
    with closing(connection.cursor()) as cursor:
        cursor.adbc_statement.set_options(**{_BATCH_ROWS: str(size)})
        cursor.execute(sql, parameters or None)
        rows: list[Row] = cursor.fetch_arrow_table().to_pylist()
        return rows
