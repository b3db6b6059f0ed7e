"""Resources: what settings and fields become, and that everything is closed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.resources import platform_resource
from elt_assets.sync.service import SyncService

REF = IntegrationRef("acme", "okta")


@contextmanager
def opened_platform() -> Iterator[SyncService]:
    with dg.build_resources({"platform": platform_resource()}) as opened:
        yield opened.platform


def test_the_platform_follows_settings_at_the_time_of_the_run(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = platform_resource()
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("ELT_ASSETS_HOME", str(elsewhere))
    with dg.build_resources({"platform": resource}) as opened:
        platform = opened.platform
        assert platform.database.path == elsewhere / "oltp.db"
        assert platform.warehouses.path(REF).is_relative_to(elsewhere / "olap")
    assert not own_home.exists()


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
