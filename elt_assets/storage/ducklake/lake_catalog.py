"""The lake's catalog database on PostgreSQL: bookkeeping tables, leases and locks.

A lease is a lock of the server that ends with its connection, so that a dead worker is noticed at
once, and a number that rises with every holder (`epoch`). A worker that lost its connection may
still believe that it holds the lock. Its writes carry its number, and are refused (a fencing
token: Kleppmann, "How to do distributed locking", 2016).

DuckLake refuses to remove any rows of a table while another process adds rows to it. Processes
that add rows therefore share a lock, and a process that removes rows takes it exclusively.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from elt_assets.config.addresses import DatabaseAddress
from elt_assets.errors import DatabaseRefused, WarehouseBusy, WarehouseDamaged
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import Transaction
from elt_assets.storage.operational.postgres_database import PostgresDatabase
from elt_assets.storage.operational.postgres_transaction import LockSession
from elt_assets.storage.warehouse.warehouse import (
    TENANT,
    Table,
    WarehouseLayout,
    is_tenant,
    waiting_for_lock,
)

_VERSION = 1
"""Version of the tables that this module creates; the integrations' tables have their own."""

_LEASES = """
CREATE TABLE IF NOT EXISTS integration_leases (
    organization_id VARCHAR NOT NULL,
    connected_integration_id VARCHAR NOT NULL,
    epoch BIGINT NOT NULL,
    holder VARCHAR NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization_id, connected_integration_id)
)
"""
# Records are in the lake as soon as they are written; they are valid once this table names them.
_WRITES = """
CREATE TABLE IF NOT EXISTS stored_writes (
    organization_id VARCHAR NOT NULL,
    connected_integration_id VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    write_id VARCHAR NOT NULL,
    PRIMARY KEY (organization_id, connected_integration_id, table_name, write_id)
)
"""
_NOTICE_SOON = """
SELECT
    set_config('tcp_keepalives_idle', '60', false),
    set_config('tcp_keepalives_interval', '15', false),
    set_config('tcp_keepalives_count', '4', false)
"""
_LOCK = "pg_advisory_lock"
_LAKE = "the lake"
_FILES = "the lake's files"
LEASE_LOST = "this lease was taken over"
"""The server's error for a worker that lost its lease and still writes."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on an integration, with an `epoch` that rises with every holder.

    A reader, which writes nothing, has epoch 0.
    """

    ref: IntegrationRef
    session: LockSession
    epoch: int


class LakeCatalog:
    """The schema `schema` of the database at `address`.

    `lock_wait` is how many seconds to wait for an integration that another worker holds.
    """

    def __init__(self, address: DatabaseAddress, *, schema: str, lock_wait: float) -> None:
        self.schema = schema
        self._lock_wait = lock_wait
        self._prepared = False
        self._preparing = threading.Lock()
        self._database = PostgresDatabase(
            address,
            setting="ELT_ASSETS_WAREHOUSE",
            schema=schema,
            lock_timeout=max(lock_wait, 1.0),
            attempts=3,
        )

    def __str__(self) -> str:
        return str(self._database)

    def prepare(self, layout: WarehouseLayout) -> None:
        """Create the schema and the bookkeeping tables if they are missing, once per process.

        Raises `WarehouseDamaged` when another release created them.
        """
        with self._preparing:
            if not self._prepared:
                self._make(layout)
                self._prepared = True

    def _make(self, layout: WarehouseLayout) -> None:
        with self._database.transaction() as transaction:
            transaction.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"')
            transaction.execute("CREATE TABLE IF NOT EXISTS lake_version (version BIGINT NOT NULL)")
            found = {row["version"] for row in transaction.rows("SELECT version FROM lake_version")}
            if not found:
                transaction.execute("INSERT INTO lake_version VALUES (?)", (_VERSION,))
            elif found != {_VERSION}:
                raise WarehouseDamaged(
                    f"the lake's catalog {self} has version {max(found)}, this release knows "
                    f"{_VERSION}; run the release that wrote it"
                )
            transaction.execute("CREATE SEQUENCE IF NOT EXISTS lease_epochs")
            transaction.execute(_LEASES)
            transaction.execute(_WRITES)
            tenant = "".join(f"{column} VARCHAR NOT NULL, " for column in TENANT)
            for table in layout.tables:
                if table.records:
                    continue
                key = f", PRIMARY KEY ({', '.join((*TENANT, *table.key))})" if table.key else ""
                transaction.execute(
                    f"CREATE TABLE IF NOT EXISTS {table.name} ({tenant}{table.all_columns}{key})"
                )
                for column in self._lacking(transaction, table):
                    transaction.execute(f"ALTER TABLE {table.name} ADD COLUMN {column}")
                if not table.key:
                    transaction.execute(
                        f"CREATE INDEX IF NOT EXISTS {table.name}_tenant"
                        f" ON {table.name} ({', '.join(TENANT)})"
                    )

    def _lacking(self, transaction: Transaction, table: Table) -> list[str]:
        """Columns that a table of an earlier release lacks; adding one locks the table."""
        if not table.added:
            return []
        rows = transaction.rows(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = ? AND table_name = ?",
            (self.schema, table.name),
        )
        known = {row["column_name"] for row in rows}
        return [column for column in table.added if column.split()[0] not in known]

    @contextmanager
    def leased(self, ref: IntegrationRef, *, read_only: bool) -> Iterator[Lease]:
        """Hold the lease of the integration during the block, exclusively or with other readers.

        Raises `WarehouseBusy` when another worker keeps the lease longer than `lock_wait`.
        """
        with self._database.session() as session:
            waiting_for_lock(self._lock_wait)(self._lock, session, ref, shared=read_only)
            # The server should notice within minutes, not hours, that a machine has vanished.
            session.rows(_NOTICE_SOON)
            try:
                yield Lease(ref, session, 0 if read_only else self._risen(session, ref))
            finally:
                session.unlock()

    def is_leased(self, ref: IntegrationRef) -> bool:
        """Whether a worker holds the integration for writing now."""
        with self._database.session() as session:
            try:
                self._lock(session, ref, shared=True)
            except WarehouseBusy:
                return True
            session.unlock()
            return False

    @contextmanager
    def adding(self, session: LockSession) -> Iterator[None]:
        """Hold the right to add records to the lake, shared with other adding processes."""
        with self._locked(session, _LAKE, "_shared"):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the right to change the lake while no process adds anything; only for short work."""
        with self._database.session() as session, self._locked(session, _LAKE):
            yield

    @contextmanager
    def looking_after(self) -> Iterator[None]:
        """Hold the right to merge, replace and delete the lake's files; adding may continue."""
        with self._database.session() as session, self._locked(session, _FILES):
            yield

    def fence(self, lease: Lease) -> str:
        """A PostgreSQL statement that fails unless the lease is the newest of its integration.

        In a transaction, it also keeps other workers from taking the lease until the end.
        """
        return f"""
            DO $fence$ BEGIN
                PERFORM 1 FROM "{self.schema}".integration_leases
                WHERE {is_tenant(lease.ref)}
                    AND epoch = {lease.epoch}
                FOR UPDATE;
                IF NOT FOUND THEN RAISE EXCEPTION '{LEASE_LOST}'; END IF;
            END $fence$
        """

    def refs(self) -> list[IntegrationRef]:
        rows = self._database.rows(
            "SELECT DISTINCT organization_id, connected_integration_id FROM warehouse_schema"
        )
        return sorted(
            IntegrationRef(row["organization_id"], row["connected_integration_id"]) for row in rows
        )

    def knows(self, ref: IntegrationRef) -> bool:
        rows = self._database.rows(
            "SELECT 1 AS one FROM warehouse_schema WHERE organization_id = ?"
            " AND connected_integration_id = ? LIMIT 1",
            ref.values,
        )
        return bool(rows)

    def forget(self, ref: IntegrationRef, layout: WarehouseLayout) -> None:
        """Delete the integration's rows in all bookkeeping tables; its records are then invalid."""
        books = [table.name for table in layout.tables if not table.records]
        with self._database.transaction(ref.partition_key) as transaction:
            for table in (*books, "stored_writes", "integration_leases"):
                transaction.execute(
                    f"DELETE FROM {table} WHERE organization_id = ?"
                    " AND connected_integration_id = ?",
                    ref.values,
                )

    def has_lake(self) -> bool:
        """Whether DuckLake's own tables exist."""
        (row,) = self._database.rows(
            "SELECT to_regclass(?) IS NOT NULL AS made", (f'"{self.schema}".ducklake_metadata',)
        )
        return bool(row["made"])

    def inspect(self) -> str:
        """Describe version and rights; write nothing. Raises the error that prevents its use."""
        (row,) = self._database.rows(
            """
            SELECT
                current_setting('server_version') AS version,
                EXISTS (SELECT FROM pg_namespace WHERE nspname = ?) AS made,
                CASE WHEN EXISTS (SELECT FROM pg_namespace WHERE nspname = ?)
                    THEN has_schema_privilege(?, 'CREATE')
                    ELSE has_database_privilege(current_database(), 'CREATE')
                END AS may
            """,
            (self.schema, self.schema, self.schema),
        )
        if not row["may"]:
            raise DatabaseRefused(
                f"{self} does not let its account make tables in schema {self.schema}; give it "
                "the right CREATE"
            )
        made = "" if row["made"] else ", made when it is first used"
        return f"PostgreSQL {row['version']} at {self}, schema {self.schema}{made}"

    def close(self) -> None:
        """Close connections kept for reuse."""
        self._database.close()

    @contextmanager
    def _locked(self, session: LockSession, what: str, kind: str = "") -> Iterator[None]:
        name = (f"{self.schema}\n{what}",)
        session.rows(f"SELECT {_LOCK}{kind}(hashtextextended(?, 3))", name)
        try:
            yield
        finally:
            session.rows(f"SELECT pg_advisory_unlock{kind}(hashtextextended(?, 3))", name)

    def _lock(self, session: LockSession, ref: IntegrationRef, *, shared: bool) -> None:
        kind = "_shared" if shared else ""
        (row,) = session.rows(
            f"SELECT pg_try_advisory_lock{kind}(hashtextextended(?, 2)) AS taken",
            (f"{self.schema}\n{ref}",),
        )
        if not row["taken"]:
            raise WarehouseBusy(
                f"{ref}: its warehouse is in use by {self._holder(session, ref)}; "
                "wait for that sync to end, or stop it"
            )

    def _holder(self, session: LockSession, ref: IntegrationRef) -> str:
        rows = session.rows(
            "SELECT holder FROM integration_leases WHERE organization_id = ?"
            " AND connected_integration_id = ?",
            ref.values,
        )
        return str(rows[0]["holder"]) if rows else "another process"

    def _risen(self, session: LockSession, ref: IntegrationRef) -> int:
        (row,) = session.rows(
            """
            INSERT INTO integration_leases VALUES (?, ?, nextval('lease_epochs'), ?, now())
            ON CONFLICT (organization_id, connected_integration_id)
            DO UPDATE SET epoch = excluded.epoch, holder = excluded.holder, since = excluded.since
            RETURNING epoch
            """,
            (*ref.values, f"process {os.getpid()} on {socket.gethostname()}"),
        )
        return int(row["epoch"])
