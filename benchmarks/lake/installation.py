"""An installation on a lake, with servers of its own and a chosen number of integrations.

It has integrations to sync, and past integrations that only fill the lake.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.ducklake.lake import LakeWarehouses
from elt_assets.storage.from_settings import warehouses
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.store_tables import warehouse_layout
from elt_assets_tests.testbed.servers import Server

_FIELDS = {"external_id": "id", "name": "name", "email": "email"}
_ROWS_OF_A_PAST_ONE = 20
_AT_ONCE = 500
_PAST = {
    "users_landed": "'s' AS sync_id, 0 AS batch, row AS seq, uuid() AS id,"
    " 'u-' || row AS external_id, 'Person' AS name, 'p@example.com' AS email,"
    " true AS active, '{}' AS attributes, false AS tombstone,"
    " md5('' || row) AS content_hash, '{}' AS raw, now()::TIMESTAMP AS created_at",
    "users_cdc": "1 AS version, 's' AS sync_id, row AS sequence, uuid() AS id,"
    " 'u-' || row AS external_id, 'INSERT' AS change_type, 'Person' AS name,"
    " 'p@example.com' AS email, true AS active, '{}' AS attributes,"
    " md5('' || row) AS content_hash, now()::TIMESTAMP AS detected_at",
}


@contextmanager
def installation(server: Server, folder: Path, name: str) -> Iterator[SyncService]:
    """Yield an empty installation in schemas named after `name`; child processes find it, too."""
    os.environ.update(server.settings(f"{name}_operational"))
    os.environ.update(
        ELT_ASSETS_HOME=str(folder / name / "home"),
        ELT_ASSETS_WAREHOUSE_URL=os.environ["ELT_ASSETS_OPERATIONAL_URL"],
        ELT_ASSETS_WAREHOUSE_PASSWORD=os.environ["ELT_ASSETS_OPERATIONAL_PASSWORD"],
        ELT_ASSETS_WAREHOUSE_SCHEMA=f"{name}_lake",
        ELT_ASSETS_WAREHOUSE_DATA=str(folder / name / "data"),
    )
    with SyncService.open(load_settings()) as platform:
        yield platform


def connect(platform: SyncService, ref: IntegrationRef) -> None:
    """Register an integration that reads a CSV file of its own."""
    platform.registry.add(
        ref, "files", {"streams": {"users": {"path": "users.csv", "fields": _FIELDS}}}
    )


def drop(platform: SyncService, ref: IntegrationRef, users: int, edition: int) -> None:
    """Write a file of that many users; each edition gives one in a hundred another name."""
    folder = platform.settings.drops_path / ref.organization_id / ref.integration_id
    folder.mkdir(parents=True, exist_ok=True)
    lines = (
        f"u-{n},Person {n} {edition if n % 100 == 0 else ''},p{n}@example.com\n"
        for n in range(users)
    )
    (folder / "users.csv").write_text("id,name,email\n" + "".join(lines), encoding="utf-8")


def fill(platform: SyncService, integrations: int) -> None:
    """Give that many past integrations a file in each of the two largest tables."""
    # A file for each of many integrations at once takes more memory than a sync does.
    settings = platform.settings.model_copy(update={"warehouse_memory": "4GB"})
    lake = warehouses(settings, warehouse_layout())
    assert isinstance(lake, LakeWarehouses)
    # Written through the lake's connection: filling ten thousand by syncs would take an hour.
    with lake._connected("the lake") as connection:
        for begin in range(0, integrations, _AT_ONCE):
            end = min(begin + _AT_ONCE, integrations)
            for table, columns in _PAST.items():
                connection.execute(
                    f"""
                    INSERT INTO lake.{table} BY NAME
                    SELECT
                        'past' AS organization_id,
                        'past-' || integration AS connected_integration_id,
                        'filled' AS write_id, {columns}
                    FROM range({begin}, {end}) AS i(integration),
                        range({_ROWS_OF_A_PAST_ONE}) AS r(row)
                    ORDER BY integration
                    """
                )
                connection.execute(
                    f"""
                    INSERT INTO books."{settings.warehouse_schema}".stored_writes
                    SELECT 'past', 'past-' || integration, '{table}', 'filled'
                    FROM range({begin}, {end}) AS i(integration)
                    """
                )
    lake.close()
