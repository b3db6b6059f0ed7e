"""No name that a tenant may have is the path of something of the platform's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput, NotFound, WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.storage.warehouse.warehouse import SharedFile
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
from elt_assets.sync.admin.installation_backup import backup
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.signin_events.days import ACME, DAY, Tenant, event, line
from elt_assets_tests.sync.worlds import Company, World, people

pytestmark = pytest.mark.files


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    with Tenant(tmp_path / "home") as tenant:
        tenant.listed = [event(1)]
        yield tenant


def own_names(home: Path) -> set[str]:
    """Names of the platform's own that lie where the folders of organizations do."""
    return {path.name for path in (home / "olap").iterdir()} - {"acme", "hostile"}


def test_nothing_of_the_platform_lies_among_the_folders_of_tenants(
    tenant: Tenant, tmp_path: Path
) -> None:
    company = Company(tmp_path / "home")
    company.connect(IntegrationRef("hostile", "users"), World(people(3)))
    company.sync(IntegrationRef("hostile", "users"))
    tenant.file("a.csv", line("f-1"))
    tenant.run()
    for name in own_names(tmp_path / "home"):
        with pytest.raises(InvalidInput, match="is not a valid name"):
            IntegrationRef(name, "users")
    company.platform.close()


@pytest.mark.parametrize("name", ["analytics.duckdb", "analytics", "olap", "oltp.db", "spill"])
def test_an_organization_takes_no_path_of_the_platforms(
    tenant: Tenant, tmp_path: Path, name: str
) -> None:
    hostile = IntegrationRef(name, "analytics")
    company = Company(tmp_path / "home")
    company.connect(hostile, World(people(3)))
    company.sync(hostile)
    tenant.run()
    assert set(tenant.table()) == {"e-1"}
    copied = backup(tenant.platform, tmp_path / "copy")
    assert copied.left == ()
    tenant.platform.remove(ACME)
    tenant.events.forget(ACME)
    with pytest.raises(NotFound):
        tenant.platform.records(USERS, ACME)
    assert len(company.users(hostile)) == 3
    company.platform.close()
    with (
        SyncService.open(load_settings(home=tmp_path / "copy")) as restored,
        EventPipeline(restored) as events,
    ):
        assert [row["event_id"] for row in events.reports.events()] == ["e-1"]
        assert len(restored.records(USERS, hostile)) == 3


def former_place(home: Path) -> Path:
    """Put the file of events where an earlier release had it."""
    former = home / "olap" / "analytics.duckdb"
    former.parent.mkdir(exist_ok=True)
    os.replace(home / "analytics" / "analytics.duckdb", former)
    return former


def test_the_events_of_an_earlier_release_are_moved(tenant: Tenant, tmp_path: Path) -> None:
    tenant.run()
    former = former_place(tmp_path / "home")
    SyncService.open(load_settings(home=tmp_path / "home")).close()
    assert not former.exists()
    assert set(tenant.table()) == {"e-1"}


def test_events_that_another_process_writes_are_not_moved_meanwhile(
    tenant: Tenant, tmp_path: Path
) -> None:
    tenant.run()
    former = former_place(tmp_path / "home")
    holder = FileWarehouses(former.parent)
    settings = load_settings(home=tmp_path / "home", events_lock_wait=0)
    with (
        holder.open_shared(SharedFile("analytics")),
        pytest.raises(WarehouseBusy, match=re.escape(str(former))),
    ):
        SyncService.open(settings)
    holder.close()
    assert former.exists()
    SyncService.open(settings).close()
    assert tenant.events.reports.days()[0].day == DAY
