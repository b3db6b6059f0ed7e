"""Everything an installation holds about one integration, read back from its files.

Belongs here: reading both stores while nobody syncs, and the comparable part of what was
read. Does not: judging it (oracles).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from elt_assets.identifiers import IntegrationRef
from elt_assets.settings import Settings, load_settings
from elt_assets.stores.opening import operational_database
from elt_assets.stores.warehouse_files import FileWarehouses

Row = dict[str, Any]

_WAREHOUSE = {
    "staging": "SELECT * FROM users_staging ORDER BY sync_id, batch, seq",
    "log": "SELECT * FROM users_cdc ORDER BY version, sequence",
    "withheld": "SELECT * FROM users_withheld ORDER BY version, sequence",
    "rejected": "SELECT * FROM rejected_records ORDER BY sync_id, batch, seq",
    "extractions": "SELECT * FROM extractions ORDER BY sync_id",
    "batches": "SELECT * FROM extraction_batches ORDER BY sync_id, batch",
    "marks": "SELECT * FROM applied_syncs ORDER BY version",
    "missing": "SELECT * FROM missing_records ORDER BY version, id",
}
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
        # The newest mark may be owed until the next sync, which knows the version and no more.
        everything["marks"] = [
            {"version": row["version"]} for row in self.marks if row["version"] < self.version
        ]
        return everything


def installation(home: Path, **options: object) -> Settings:
    """The settings of the installation in `home`; on PostgreSQL it has a schema of its own."""
    schema = f"home_{zlib.crc32(str(home).encode()):08x}"
    return load_settings(home=home, operational_schema=schema, **options)


def has_begun(home: Path) -> bool:
    """Whether anything was ever written for `home`."""
    database = operational_database(installation(home))
    try:
        return database.exists
    finally:
        database.close()


def read_state(home: Path, ref: IntegrationRef) -> State:
    """Read one integration's tables. Nobody may be syncing it."""
    settings = installation(home)
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
    warehouses = FileWarehouses(settings.warehouse_path, lock_wait=5)
    if warehouses.exists(ref):
        with warehouses.open(ref, read_only=True) as connection:
            made = {row[0] for row in connection.execute("SHOW TABLES").fetchall()}
            if "users_cdc" in made:
                for name, sql in _WAREHOUSE.items():
                    cursor = connection.execute(sql)
                    names = [column[0] for column in cursor.description or ()]
                    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
                    setattr(state, name, rows)
    warehouses.close()
    return state


def landed(state: State) -> dict[str, int]:
    """How many pages of each sync's extraction are committed."""
    pages: dict[str, int] = {}
    for batch in state.batches:
        pages[batch["sync_id"]] = pages.get(batch["sync_id"], 0) + batch["pages"]
    return pages


def _lasting(row: Mapping[str, Any]) -> Row:
    lasting = {name: value for name, value in row.items() if name not in _OF_THE_ATTEMPT}
    if "deleted_at" in lasting:
        lasting["deleted_at"] = lasting["deleted_at"] is not None
    if lasting.get("certificate"):
        certificate = msgspec.json.decode(lasting["certificate"])
        # Whether it was stitched is told by this number, and is meant to differ.
        del certificate["extraction_runs"]
        lasting["certificate"] = certificate
    return lasting
