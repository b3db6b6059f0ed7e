"""The operational database on a PostgreSQL server, reached through ADBC.

SQLite has one writer at a time. Here, a transaction takes advisory locks that end with it: a shared
lock on the schema, and an exclusive one on what it concerns (`on`). Two transactions that concern
one integration never overlap, those on different integrations may, and one without `on` (a
migration) excludes all others. Each statement sees what was committed before the statement began
(READ COMMITTED). So the first statement after the lock sees everything that the previous holder
wrote, which a snapshot from before the lock would not.

The compare-and-set of an apply is one UPDATE of one row, which the server locks. The advisory locks
serve transactions that read first and then write: the order of extractions, the names of
integrations, the count after an apply.

Text is compared byte by byte (COLLATE "C"), as SQLite does, whatever the database's locale.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

from adbc_driver_manager.dbapi import Connection

from elt_assets.config.addresses import DatabaseAddress
from elt_assets.config.secret_refs import Secrets
from elt_assets.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseRefused,
    DatabaseUnavailable,
    StorageFull,
    SyncError,
)
from elt_assets.storage.operational import postgres_access
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
from elt_assets.storage.operational.postgres_access import ReaderAccess, quoted
from elt_assets.storage.operational.postgres_transaction import (
    LockSession,
    PostgresTransaction,
    rows_of,
    run_statement,
)
from elt_assets.storage.operational.sql_dialect import PostgresDialect

_TYPES = {"TEXT": 'TEXT COLLATE "C"', "INTEGER": "BIGINT", "REAL": "DOUBLE PRECISION"}
_KINDS = {
    "text": "text",
    "bigint": "integer",
    "double precision": "real",
    "boolean": "boolean",
}
_INSTALLED = "installed_schema"
_OLDEST = 130_000
# SQLSTATE classes 08, 57P and 58: the connection, the server or its machine failed.
_LOST = ("08", "57P", "58")
# SQLSTATE classes of values that cannot be converted, and of those that a constraint refuses.
_OF_VALUES = ("22", "23")
_CONNECTING = "Failed to connect"
_LOST_TEXTS = ("connection", "terminat", "SSL SYSCALL", "server closed")
_BUSY = {
    "55P03": "another process kept the lock; let it finish, or stop it",
    "40001": "another transaction came first",
    "40P01": "two transactions waited for each other",
    "53300": "it has no connection left; raise its max_connections, or sync less at once",
    "57014": "the statement took longer than the server's statement_timeout",
}
_TOO_MANY = ("too many connections", "remaining connection slots", "too many clients")
_NOT_YET = ("starting up", "shutting down", "not yet accepting", "in recovery")


class PostgresDatabase(OperationalDatabase):
    """One schema of one database of a server.

    Each try waits up to `lock_timeout` seconds for a lock that another process holds. `setting` is
    the prefix of the settings that configure this database, for error messages.
    """

    dialect = PostgresDialect()

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        setting: str = "ELT_ASSETS_OPERATIONAL",
        schema: str = "public",
        attempts: int = 10,
        first_wait: float = 0.1,
        lock_timeout: float = 10.0,
    ) -> None:
        super().__init__(str(address), attempts=attempts, first_wait=first_wait)
        self._address = address
        self._setting = setting
        self._schema = schema
        self._lock_timeout = lock_timeout
        self._secrets = Secrets()

    @property
    def schema(self) -> str:
        return self._schema

    @property
    def exists(self) -> bool:
        return self._installed() is not None

    @contextmanager
    def session(self) -> Iterator[LockSession]:
        """Lend a connection to the block, for locks that outlive a statement."""
        # A pooled connection may have been closed meanwhile; the block must not fail for that.
        connection = self._persistently(lambda: self._ready(_answers), DatabaseUnavailable)
        with self._given_back(connection):
            yield LockSession(connection, self._translated)

    def migrate(self, also: Iterable[str] = (), tenants: TenantTables = NO_TABLES) -> None:
        """See `OperationalDatabase`; tables get the reader access that was last secured."""
        scripts, also = migrations(), [*also]
        digest = hashlib.sha256(repr([*scripts, also, tenants]).encode()).hexdigest()
        installed = self._installed()
        if installed == (len(scripts), digest):
            # Every process that opens the database gets here, and must not wait for running syncs.
            return
        with self.transaction() as transaction:
            self._create_schema(transaction)
            version = (self._installed_in(transaction) or (0, ""))[0]
            if version > len(scripts):
                raise DatabaseDamaged(
                    f"{self} has schema {version}, this release knows {len(scripts)}; "
                    "run the release that wrote it, or a newer one"
                )
            for script in scripts[version:]:
                for statement in script:
                    transaction.execute(_typed(statement))
            for statement in also:
                transaction.execute(_typed(statement))
            postgres_access.prepare(transaction)
            if (access := postgres_access.wanted(transaction.rows)) is not None:
                postgres_access.apply(transaction, tenants, access)
            transaction.execute(f"DELETE FROM {_INSTALLED}")
            transaction.execute(
                f"INSERT INTO {_INSTALLED} (version, digest) VALUES (?, ?)",
                (len(scripts), digest),
            )

    def access(self) -> ReaderAccess | None:
        """The access to the latest tables that was last secured; None if it never was."""
        return postgres_access.wanted(self.rows)

    def access_differences(self, tables: TenantTables, access: ReaderAccess) -> list[str]:
        """How the rights in the database differ from `access`; a sentence for each difference."""
        return postgres_access.differences(self.rows, tables, access)

    def columns(self, table: str) -> list[TableColumn]:
        rows = self.rows(
            """
            SELECT
                c.column_name::text AS name, c.data_type::text AS kind,
                c.is_nullable = 'YES' AS nullable,
                coalesce(
                    array_position(i.indkey::int2[], CAST(c.ordinal_position AS int2)) + 1, 0
                )::bigint AS key
            FROM information_schema.columns AS c
            JOIN pg_class AS t ON t.relname = c.table_name
            JOIN pg_namespace AS n ON n.oid = t.relnamespace AND n.nspname = c.table_schema
            LEFT JOIN pg_index AS i ON i.indrelid = t.oid AND i.indisprimary
            WHERE c.table_schema = ? AND c.table_name = ?
            ORDER BY c.ordinal_position
            """,
            (self._schema, table),
        )
        return [
            TableColumn(row["name"], _KINDS[row["kind"]], row["nullable"], row["key"])
            for row in rows
        ]

    def reclaim(self, worth: float, *, dry_run: bool) -> int | None:
        """None: the server's autovacuum reclaims space."""
        return None

    def empty_log(self) -> bool:
        """True: how long the server's own log keeps deleted rows is the server's configuration."""
        return True

    def copy(self, target: Path) -> bool:
        """False: the database is not a file."""
        return False

    def inspect(self) -> str:
        (row,) = self.rows(
            """
            SELECT
                current_setting('server_version') AS version,
                CAST(current_setting('server_version_num') AS bigint) AS number,
                CAST(current_user AS text) AS account,
                coalesce(
                    (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false
                ) AS encrypted,
                pg_is_in_recovery() AS standby,
                CASE WHEN to_regnamespace(quote_ident(?)) IS NULL
                    THEN has_database_privilege(current_database(), 'CREATE')
                    ELSE has_schema_privilege(?, 'CREATE')
                END AS may_create
            """,
            (self._schema, self._schema),
        )
        if row["number"] < _OLDEST:
            raise DatabaseRefused(f"{self} is PostgreSQL {row['version']}; 13 or newer is needed")
        if row["standby"]:
            raise DatabaseRefused(f"{self} is a standby, which cannot be written: name the primary")
        installed = self._installed()
        if installed is None and not row["may_create"]:
            raise DatabaseRefused(
                f"{self}: {row['account']} may not create tables in schema {self._schema}: "
                f"CREATE SCHEMA {self._schema} AUTHORIZATION {row['account']}"
            )
        return (
            f"PostgreSQL {row['version']} as {row['account']}, "
            f"{'encrypted' if row['encrypted'] else 'not encrypted'}, schema {self._schema} "
            + ("holds an installation" if installed else "is empty")
        )

    def _installed(self) -> tuple[int, str] | None:
        found = self.rows(
            "SELECT to_regclass(?) IS NOT NULL AS found", (f"{quoted(self._schema)}.{_INSTALLED}",)
        )
        if not found[0]["found"]:
            return None
        rows = self.rows(f"SELECT version, digest FROM {_INSTALLED}")
        return (rows[0]["version"], rows[0]["digest"]) if rows else None

    def _installed_in(self, transaction: Transaction) -> tuple[int, str] | None:
        rows = transaction.rows(f"SELECT version, digest FROM {_INSTALLED}")
        return (rows[0]["version"], rows[0]["digest"]) if rows else None

    def _create_schema(self, transaction: Transaction) -> None:
        # Checked first: creating a schema needs a right that the account may lack where an
        # administrator prepared the schema.
        if not transaction.rows(
            "SELECT 1 AS found FROM pg_namespace WHERE nspname = ?", (self._schema,)
        ):
            transaction.execute(f"CREATE SCHEMA {quoted(self._schema)}")
        transaction.execute(
            f"CREATE TABLE IF NOT EXISTS {_INSTALLED} (version BIGINT NOT NULL, digest TEXT)"
        )

    def _turn(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _connect(self) -> Connection:
        # Imported with the first connection: the driver is a large library.
        from adbc_driver_postgresql import dbapi

        connection: Connection = dbapi.connect(
            self._address.complete(self._secrets), autocommit=True
        )
        try:
            rows_of(
                connection,
                # Isolation: the account's default may differ; the module docstring has the reason.
                # Commit: a sync reported as applied must survive a power failure; a stricter
                # setting of the account stays.
                """
                SELECT
                    set_config('search_path', quote_ident(?), false),
                    set_config('lock_timeout', ?, false),
                    set_config('default_transaction_isolation', 'read committed', false),
                    set_config('client_min_messages', 'warning', false),
                    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
                        THEN set_config('synchronous_commit', 'on', false)
                    END
                """,
                (self._schema, str(int(self._lock_timeout * 1000))),
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, connection: Connection, on: str) -> None:
        with closing(connection.cursor()) as cursor:
            run_statement(cursor, "BEGIN")
            # A table that has just been filled has no statistics yet. The planner would assume few
            # rows and compare each of a million rows with each of another million.
            run_statement(cursor, "SET LOCAL enable_nestloop = off")
            if on:
                run_statement(
                    cursor,
                    "SELECT pg_advisory_xact_lock_shared(hashtextextended(?, 0)),"
                    " pg_advisory_xact_lock(hashtextextended(?, 1))",
                    (self._schema, f"{self._schema}\n{on}"),
                )
            else:
                run_statement(
                    cursor,
                    "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))",
                    (self._schema,),
                )

    def _look(self, connection: Connection) -> None:
        with closing(connection.cursor()) as cursor:
            run_statement(cursor, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def _transaction(self, connection: Connection) -> Transaction:
        return PostgresTransaction(connection)

    def _rows(self, connection: Connection, sql: str, parameters: Parameters = ()) -> list[Row]:
        return rows_of(connection, sql, parameters)

    def _translate(self, error: Exception) -> SyncError | None:
        text = self._secrets.redact(str(error))
        state = str(getattr(error, "sqlstate", None) or "")
        said = _said(text)
        if any(mark in text for mark in _TOO_MANY):
            state = "53300"
        if state in _BUSY:
            return DatabaseBusy(f"{self} is busy: {_BUSY[state]}, and sync again")
        if state == "53100" or "No space left" in text:
            return StorageFull(f"no space left at {self}; free some space and sync again")
        if state.startswith("XX00"):
            return DatabaseDamaged(f"{self} cannot be read: {said}; restore it from a backup")
        if state.startswith(_LOST) or any(mark in text for mark in _NOT_YET):
            return DatabaseUnavailable(f"{self} went away: {said}; it is tried again")
        if state.startswith(_OF_VALUES):
            # Without the server's message: it quotes the value, and values are personal data.
            return DatabaseRefused(
                f"{self} refuses a value that was to be written (SQLSTATE {state}); nothing was "
                "changed"
            )
        if state in ("42501", "25006", "3F000") or state.startswith("28"):
            return DatabaseRefused(f"{self} refuses: {said}; give the account what it lacks")
        if state:
            return None
        if "FATAL:" in text and _CONNECTING in text:
            return DatabaseRefused(
                f"{self} refuses the connection: {said}; correct {self._setting}_URL "
                f"or {self._setting}_PASSWORD"
            )
        if any(mark in text for mark in _LOST_TEXTS):
            return DatabaseUnavailable(
                f"{self} cannot be reached: {said}; start it, or correct "
                f"{self._setting}_URL, and sync again"
            )
        return None


def _answers(connection: Connection) -> None:
    """Raise the driver's error if the connection's server is gone."""
    with closing(connection.cursor()) as cursor:
        run_statement(cursor, "SELECT 1")


def _typed(statement: str) -> str:
    return re.sub(r"\b(TEXT|INTEGER|REAL)\b", lambda found: _TYPES[found[0]], statement)


def _said(text: str) -> str:
    """The first line of the server's message; later lines may quote data."""
    for mark in ("ERROR:", "FATAL:", "PANIC:", "failed: ", "connect: "):
        _, found, rest = text.partition(mark)
        if found and rest.strip():
            return rest.strip().splitlines()[0]
    return text.strip().splitlines()[0] if text.strip() else "the connection failed"
