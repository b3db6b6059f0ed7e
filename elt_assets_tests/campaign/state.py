"""Everything that an installation holds about one integration, read back from its stores.

The module finds the stores of a home, reads both while no sync runs, reduces the result to its
comparable part, and deletes stores. The result is judged in `oracles`.
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg2

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import Settings, load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.ducklake.lake import LakeWarehouses
from elt_assets.storage.from_settings import operational_database, warehouses
from elt_assets.storage.warehouse.warehouse import Warehouse, transaction
from elt_assets.sync.outcome import Status
from elt_assets.sync.state.store_tables import warehouse_layout

Row = dict[str, Any]

_WAREHOUSE = {
    "staging": "SELECT * FROM users_staging ORDER BY sync_id, batch, seq",
    "log": "SELECT * FROM users_cdc ORDER BY version, sequence",
    "withheld": "SELECT * FROM users_withheld ORDER BY version, sequence",
    "rejected": "SELECT * FROM rejected_records ORDER BY sync_id, batch, seq",
    "extractions": "SELECT * FROM extractions ORDER BY sync_id",
    "batches": "SELECT * FROM extraction_batches ORDER BY sync_id, batch",
    "marks": "SELECT * FROM applied_syncs ORDER BY version",
    # Without the time at which a row was first missed.
    "missing": "SELECT * EXCLUDE (since) FROM missing_records ORDER BY version, id",
}
_EXTRACTED = ("staging", "rejected", "extractions", "batches")
_OPERATIONAL = {
    "latest": ("users_latest", "id"),
    "ledger": ("syncs", "ordinal"),
    "versions": ("integration_versions", "stream"),
}
_OF_THE_ATTEMPT = {
    # Times, and what tells how often somebody had to try; the rest must not depend on it.
    "created_at",
    "detected_at",
    "applied_at",
    "started_at",
    "sealed_at",
    "settled_at",
    "finished_at",
    "full_at",
    "decided_at",
    "first_seen",
    "last_updated",
    "attempts",
    "run",
    "runs",
    "run_id",
    "resumed_batches",
    "error",
    "retryable",
    "seconds_extract",
    "seconds_stage",
    "seconds_detect",
    "seconds_apply",
}


@dataclass
class State:
    """One integration's rows in every table, as dictionaries."""

    ref: IntegrationRef
    staging: list[Row] = field(default_factory=list)
    log: list[Row] = field(default_factory=list)
    withheld: list[Row] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)
    extractions: list[Row] = field(default_factory=list)
    batches: list[Row] = field(default_factory=list)
    marks: list[Row] = field(default_factory=list)
    missing: list[Row] = field(default_factory=list)
    latest: list[Row] = field(default_factory=list)
    ledger: list[Row] = field(default_factory=list)
    versions: list[Row] = field(default_factory=list)
    stored: list[Row] = field(default_factory=list)
    """On a lake, what was written there: table_name, write_id and how many records it holds."""
    named: list[Row] = field(default_factory=list)
    """On a lake, the writes that count: table_name and write_id."""
    seen: dict[str, int] = field(default_factory=dict)
    """How many records each table shows."""

    @property
    def version(self) -> int:
        """The version that the latest table stands at."""
        return self.versions[0]["version"] if self.versions else 0

    @property
    def applied(self) -> list[Row]:
        """The changes of the log that the latest table has seen."""
        return [row for row in self.log if row["version"] <= self.version]

    @property
    def live(self) -> list[Row]:
        """The latest rows that are not kept as deleted."""
        return [row for row in self.latest if row["deleted_at"] is None]

    def users(self) -> dict[str, Row]:
        """What applications read: content by external id."""
        return {
            row["external_id"]: {
                "name": row["name"],
                "email": row["email"],
                "active": None if row["active"] is None else bool(row["active"]),
                "attributes": msgspec.json.decode(row["attributes"]),
            }
            for row in self.live
        }

    def comparable(self) -> dict[str, list[Row]]:
        """Everything that must be the same however often the work was interrupted."""
        everything = {
            table: [_lasting(row) for row in getattr(self, table)]
            for table in (*_WAREHOUSE, *_OPERATIONAL)
        }
        everything["marks"] = [{"version": row["version"]} for row in self.marks]
        # The next sync that attaches the warehouse deletes what has ended.
        everything["missing"] = [
            row for row in everything["missing"] if (row["until"] or sys.maxsize) > self.version
        ]
        plain = self._without_uneventful(everything)
        # The newest mark may be owed until the next sync, which knows the version and no more.
        newest = max((row["version"] for row in plain["versions"]), default=0)
        plain["marks"] = [row for row in plain["marks"] if row["version"] < newest]
        return plain

    def _without_uneventful(self, tables: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        """The tables without the extractions and versions of syncs that found nothing new.

        Whether such a sync makes them depends on whether the one before could leave a memo.
        """
        uneventful = {
            row["sync_id"]: row["version"]
            for row in self.ledger
            if row["status"] == Status.UNCHANGED
            and not (row["pending_deletes"] or row["shielded_deletes"] or row["kept_rows"])
        }
        passed = sorted(version for version in uneventful.values() if version is not None)

        def plain(table: str, row: Row) -> Row:
            found = {
                name: value - bisect_right(passed, value)
                if name in ("version", "until") and value is not None
                else value
                for name, value in row.items()
            }
            if table == "versions":
                del found["records_of"]
            if table == "ledger" and row["sync_id"] in uneventful:
                found["version"] = None
            return found

        return {
            table: [
                plain(table, row)
                for row in rows
                if not (
                    (table in _EXTRACTED and row["sync_id"] in uneventful)
                    or (table == "marks" and row["version"] in passed)
                )
            ]
            for table, rows in tables.items()
        }


def own_stores(home: Path) -> dict[str, object]:
    """Settings of the stores of `home`; on servers it has schemas of its own."""
    schema = f"home_{zlib.crc32(str(home).encode()):08x}"
    stores: dict[str, object] = {"operational_schema": schema}
    if "ELT_ASSETS_WAREHOUSE_URL" in os.environ:
        stores |= {"warehouse_schema": f"lake_{schema}", "warehouse_data": str(home / "lake")}
    return stores


def installation(home: Path, **options: object) -> Settings:
    """The settings of the installation in `home`."""
    return load_settings(home=home, **own_stores(home) | options)


def forget(home: Path) -> None:
    """Remove the installation with all that it has."""
    settings = installation(home)
    shutil.rmtree(home, ignore_errors=True)
    if settings.operational_url is not None:
        with _catalog(settings) as cursor:
            for schema in (settings.operational_schema, settings.warehouse_schema):
                cursor.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def has_begun(home: Path) -> bool:
    """Whether anything was ever written for `home`."""
    database = operational_database(installation(home))
    try:
        return database.exists
    finally:
        database.close()


def read_state(home: Path, ref: IntegrationRef) -> State:
    """Read one integration's tables. No sync of it may be running."""
    # A worker that was killed a moment ago may not have been missed by a server yet.
    settings = installation(home, lock_wait=20)
    state = State(ref)
    database = operational_database(settings)
    for name, (table, order) in _OPERATIONAL.items():
        if not database.columns(table):
            continue
        rows = database.rows(
            f"SELECT * FROM {table}"
            f" WHERE organization_id = ? AND connected_integration_id = ? ORDER BY {order}",
            (ref.organization_id, ref.integration_id),
        )
        setattr(state, name, rows)
    database.close()
    records = warehouses(settings, warehouse_layout())
    on_a_lake = isinstance(records, LakeWarehouses)
    if on_a_lake or records.exists(ref):
        # All as it stands at one moment; a lake need then be asked only once what that is.
        with records.open(ref, read_only=True) as warehouse, transaction(warehouse.connection):
            made = {row[0] for row in warehouse.execute("SHOW TABLES").fetchall()}
            if "users_cdc" in made:
                for name, sql in _WAREHOUSE.items():
                    setattr(state, name, _rows(warehouse, sql))
                if on_a_lake:
                    _read_writes(state, warehouse, settings.warehouse_schema)
    records.close()
    return state


def _read_writes(state: State, warehouse: Warehouse, schema: str) -> None:
    """What is in the lake, past the views, and what counts."""
    own = (
        f"organization_id = '{state.ref.organization_id}'"
        f" AND connected_integration_id = '{state.ref.integration_id}'"
    )
    state.stored = _rows(
        warehouse,
        " UNION ALL ".join(
            f"SELECT '{table}' AS table_name, write_id, count(*) AS records"
            f" FROM lake.{table} WHERE {own} GROUP BY write_id"
            for table in ("users_landed", "users_cdc", "users_withheld", "rejected_records")
        ),
    )
    state.named = _rows(
        warehouse,
        f'SELECT table_name, write_id FROM books."{schema}".stored_writes WHERE {own}',
    )
    (landed,) = _rows(warehouse, "SELECT count(*) AS records FROM users_landed")
    state.seen = {
        "users_landed": landed["records"],
        "users_cdc": len(state.log),
        "users_withheld": len(state.withheld),
        "rejected_records": len(state.rejected),
    }


def _rows(warehouse: Warehouse, sql: str) -> list[Row]:
    cursor = warehouse.execute(sql)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def landed(home: Path, ref: IntegrationRef) -> dict[str, int]:
    """How many pages of each sync's extraction are committed."""
    settings = installation(home, lock_wait=20)
    tenant = (ref.organization_id, ref.integration_id)
    if settings.warehouse_url is not None:
        # Asked of the catalog itself, which takes a tenth of the time.
        table = f'"{settings.warehouse_schema}".extraction_batches'
        with _catalog(settings) as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
            if cursor.fetchone() != (True,):
                return {}
            cursor.execute(
                f"SELECT sync_id, sum(pages) FROM {table} WHERE organization_id = %s"
                " AND connected_integration_id = %s GROUP BY sync_id",
                tenant,
            )
            return {sync_id: int(pages) for sync_id, pages in cursor.fetchall()}
    pages: dict[str, int] = {}
    for batch in read_state(home, ref).batches:
        pages[batch["sync_id"]] = pages.get(batch["sync_id"], 0) + batch["pages"]
    return pages


@contextmanager
def _catalog(settings: Settings) -> Iterator[Any]:
    """A cursor at the server of both stores, in one transaction."""
    address = settings.operational_address
    assert address is not None
    server = psycopg2.connect(address.complete(Secrets()))
    with closing(server), server, server.cursor() as cursor:
        yield cursor


def _lasting(row: Mapping[str, Any]) -> Row:
    lasting = {name: value for name, value in row.items() if name not in _OF_THE_ATTEMPT}
    if "deleted_at" in lasting:
        lasting["deleted_at"] = lasting["deleted_at"] is not None
    if lasting.get("certificate"):
        certificate = msgspec.json.decode(lasting["certificate"])
        # An interrupted listing has several runs and is no snapshot, which is meant to differ.
        del certificate["extraction_runs"]
        del certificate["snapshot"]
        lasting["certificate"] = certificate
    return lasting
