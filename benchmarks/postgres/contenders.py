"""The contenders: the engine's apply, and the least work that writes the same rows.

The module also generates the rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from elt_assets.config.settings import Settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.apply.apply_transaction import Application
from elt_assets.sync.clock import now
from elt_assets.sync.outcome import Counts, Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import change_log, ledger, versions
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.state.store_tables import prepare_warehouse
from elt_assets.sync.state.versions import Reading, Version
from elt_assets.sync.streams import USERS, StreamKey

REF = IntegrationRef("bench", "main")
_KEY = StreamKey(USERS, REF)
_COLUMNS = "id, external_id, name, email, active, attributes, content_hash"
_CHANGED = ("external_id", "name", "email", "active", "attributes", "content_hash")


@dataclass(frozen=True, slots=True)
class Changes:
    """That many users, all of whom change with every version after the first."""

    users: int

    def log(self, warehouse: Warehouse, version: int) -> None:
        """Write the version into the change log, as detection does."""
        changes = change_log.NewChanges(
            f"s{version}",
            version,
            select="""
                SELECT
                    md5('user ' || n)::UUID AS id,
                    'user-' || n AS external_id,
                    'Person ' || n || ' of version ' || $number AS name,
                    'person.' || n || '@example.com' AS email,
                    true AS active,
                    '{"department":"Sales","title":"Account Manager"}' AS attributes,
                    md5(n || ' ' || $number) AS content_hash,
                    CASE $number WHEN 1 THEN 'INSERT' ELSE 'UPDATE' END AS change_type,
                    NULL AS "before"
                FROM range($users) AS listed(n)
            """,
            parameters={"users": self.users, "number": version},
        )
        change_log.append(warehouse, USERS, changes, now())


class Ours:
    """The engine's apply: versions, ledger, change log and the counting included."""

    def __init__(self, settings: Settings, changes: Changes) -> None:
        self._changes = changes
        self._platform = SyncService.open(settings)
        self._platform.registry.add(
            REF,
            "files",
            {"streams": {"users": {"path": "users.csv", "fields": {"external_id": "id"}}}},
            if_absent=True,
        )

    def apply(self, version: int) -> float:
        """Apply that version to the latest table; return the seconds."""
        with self._platform.warehouses.open(REF) as warehouse:
            prepare_warehouse(warehouse, _KEY)
            self._changes.log(warehouse, version)
            row = self._begun(version)
            started = time.perf_counter()
            self._application(warehouse, row, version).run(
                lambda latest: Outcome(
                    partition=REF.partition_key,
                    stream=USERS.name,
                    sync_id=row.sync_id,
                    status=Status.APPLIED,
                    counts=Counts(latest=latest),
                    version=version,
                )
            )
            return time.perf_counter() - started

    def rows(self, version: int) -> int:
        """Return the number of rows that have that version."""
        (row,) = self._platform.database.rows(
            f"SELECT count(*) AS n FROM {USERS.latest} WHERE name LIKE ?",
            (f"%of version {version}",),
        )
        return int(row["n"])

    @contextmanager
    def changes(self, version: int) -> Iterator[pa.RecordBatchReader]:
        """Yield the changes that the apply of that version reads."""
        with self._platform.warehouses.open(REF, read_only=True) as warehouse:
            yield change_log.to_apply(warehouse, USERS, version, self._changes.users)

    def close(self) -> None:
        """Close the stores."""
        self._platform.close()

    def _begun(self, version: int) -> SyncRow:
        with self._platform.database.transaction(REF.partition_key) as transaction:
            return ledger.begin(transaction, _KEY, f"s{version}", None)

    def _application(self, warehouse: Warehouse, row: SyncRow, version: int) -> Application:
        first = version == 1
        return Application(
            database=self._platform.database,
            warehouse=warehouse,
            key=_KEY,
            row=row,
            base=Version() if first else versions.current(self._platform.database, _KEY),
            counts=Counts(
                inserts=self._changes.users if first else 0,
                updates=0 if first else self._changes.users,
                latest_before=0 if first else self._changes.users,
            ),
            delete_mode="hard",
            reading=Reading(full_at=None),
        )


class Bare:
    """COPY into a temporary table, one upsert from it, commit; the same rows, a table like ours."""

    def __init__(self, address: str, settings: Settings) -> None:
        self._connection = dbapi.connect(address, autocommit=True)
        self._execute(f'SET search_path = "{settings.operational_schema}"')
        self._execute(f"CREATE TABLE bare_latest (LIKE {USERS.latest} INCLUDING ALL)")

    def apply(self, changes: pa.RecordBatchReader) -> float:
        """Write the changes in one transaction; return the seconds."""
        started = time.perf_counter()
        self._execute("BEGIN")
        with closing(self._connection.cursor()) as cursor:
            cursor.adbc_ingest("incoming", changes, mode="create", temporary=True)
        assigned = ", ".join(f"{name} = excluded.{name}" for name in (*_CHANGED, "last_updated"))
        self._execute(
            f"INSERT INTO bare_latest"
            f" (organization_id, connected_integration_id, {_COLUMNS}, first_seen, last_updated)"
            f" SELECT 'bench', 'main', {_COLUMNS}, '2026-11-22', '2026-11-22'"
            f" FROM pg_temp.incoming ORDER BY id"
            f" ON CONFLICT (organization_id, connected_integration_id, id) DO UPDATE SET {assigned}"
        )
        self._execute("DROP TABLE pg_temp.incoming")
        self._execute("COMMIT")
        return time.perf_counter() - started

    def rest(self) -> None:
        """Let the server do its deferred work, so that no run pays for another's."""
        for statement in (
            f"VACUUM ANALYZE {USERS.latest}",
            "VACUUM ANALYZE bare_latest",
            "CHECKPOINT",
        ):
            self._execute(statement)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _execute(self, statement: str) -> None:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement)
