"""Resources: what settings and fields become, and that everything is closed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.resources import (
    OperationalResource,
    WarehouseResource,
    platform_resource,
)
from elt_assets.sync.service import SyncService

REF = IntegrationRef("acme", "okta")


@contextmanager
def opened_platform(**replaced: Any) -> Iterator[SyncService]:
    with dg.build_resources({"platform": platform_resource(**replaced)}) as opened:
        yield opened.platform


def test_a_connection_is_closed_when_its_block_raises(tmp_path: Path) -> None:
    resource = WarehouseResource(database=str(tmp_path / "analysis.duckdb"))
    with pytest.raises(RuntimeError, match="in the middle"), resource.get_connection() as opened:
        raise RuntimeError("in the middle")
    with pytest.raises(duckdb.ConnectionException):
        opened.execute("SELECT 1")


def test_a_connection_reads_across_integrations() -> None:
    with opened_platform() as platform:
        for name in ("okta", "scim"):
            with platform.warehouses.open(IntegrationRef("acme", name)) as connection:
                connection.execute("CREATE TABLE names AS SELECT ? AS name", [name])
        folder = platform.settings.warehouse_path
        with WarehouseResource().get_connection() as connection:
            rows = connection.execute(
                f"FROM read_duckdb('{folder}/**/*.duckdb', table_name = 'names') ORDER BY name"
            ).fetchall()
    assert [row[0] for row in rows] == ["okta", "scim"]


def test_the_platform_follows_settings_at_the_time_of_the_run(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = {"warehouse": WarehouseResource(), "operational": OperationalResource()}
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("ELT_ASSETS_HOME", str(elsewhere))
    with opened_platform(**resources) as platform:
        assert platform.database.path == elsewhere / "oltp.db"
        assert platform.warehouses.path(REF).is_relative_to(elsewhere / "olap")
    assert not own_home.exists()


def test_fields_of_a_resource_override_settings(tmp_path: Path) -> None:
    with opened_platform(
        warehouse=WarehouseResource(folder=str(tmp_path / "files"), threads=2),
        operational=OperationalResource(path=str(tmp_path / "registry.db")),
    ) as platform:
        assert platform.database.path == tmp_path / "registry.db"
        assert platform.warehouses.path(REF) == tmp_path / "files" / "acme" / "okta.duckdb"
        with platform.warehouses.open(REF) as connection:
            row = connection.execute("SELECT current_setting('threads')").fetchone()
    assert row == (2,)


def test_a_launchpad_may_set_the_log_level_of_a_run_and_nothing_else() -> None:
    resource = platform_resource()
    assert [*resource.to_config_schema().as_field().config_type.fields] == ["log_level"]
    set_at_launch = resource.get_resource_definition().configured({"log_level": "debug"})
    with dg.build_resources({"platform": set_at_launch}):
        assert logging.getLogger("elt_assets").level == logging.DEBUG
    with opened_platform():
        assert logging.getLogger("elt_assets").level == logging.INFO


def test_the_platform_is_closed_when_the_run_raises() -> None:
    def use_and_fail() -> None:
        with opened_platform() as platform, platform.warehouses.open(REF):
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        use_and_fail()
    assert not list(load_settings().home.glob("oltp.db-wal")), "a connection is still open"
