"""From files to a lake: histories move whole, and syncs go on where they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import RetryableError
from elt_assets.storage.from_settings import file_warehouses, warehouses
from elt_assets.sync.admin import migrate_warehouse
from elt_assets.sync.admin.installation_backup import backup
from elt_assets.sync.admin.migrate_warehouse import MigratedWarehouse, migrate_warehouses
from elt_assets.sync.admin.warehouse_copy import contents
from elt_assets.sync.outcome import Status
from elt_assets.sync.state.store_tables import warehouse_layout
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person
from elt_assets_tests.testbed.lakes import Lake


@pytest.fixture
def synced(tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> World:
    """A home with warehouse files of two syncs, one record rejected; settings name a lake now."""
    with monkeypatch.context() as before:
        for name in lake.settings():
            before.delenv(name, raising=False)
        company = Company(tmp_path / "home")
        world = company.connect(world=World([*people(40), person(40, email=["a", "b"])]))
        assert company.sync(sync_id="s1").status is Status.APPLIED
        world.records = [*people(38), person(40, email="now@example.com"), person(50)]
        assert company.sync(sync_id="s2").status is Status.APPLIED
        company.platform.close()
    return world


def move(home: Path) -> list[MigratedWarehouse]:
    settings = load_settings(home=home, lock_wait=0)
    source = file_warehouses(settings, settings.warehouse_path)
    target = warehouses(settings, warehouse_layout())
    try:
        return [*migrate_warehouses(source, target)]
    finally:
        source.close()
        target.close()


def test_a_history_moves_whole_and_the_next_sync_finds_everything_unchanged(
    synced: World, tmp_path: Path
) -> None:
    (moved,) = move(tmp_path / "home")
    assert moved.error is None
    assert moved.rows > 80
    assert not (tmp_path / "home/olap/acme/main.duckdb").exists()
    assert move(tmp_path / "home") == []
    company = Company(tmp_path / "home")
    company.worlds[ACME.partition_key] = synced
    assert company.sync(sync_id="s3").status is Status.UNCHANGED
    assert company.sync(sync_id="s4").counts.unchanged == 40
    assert len(company.platform.changes(USERS, ACME, "s1")) == 40
    assert company.platform.undo(USERS, ACME, "s2").status is Status.APPLIED
    assert "u-0038" in company.users()
    company.platform.close()


def test_a_move_that_was_interrupted_goes_on(
    synced: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the copy, before the file was put aside."""

    def interrupt(*_: object) -> None:
        raise RetryableError("interrupted")

    with monkeypatch.context() as during:
        during.setattr(migrate_warehouse, "_compare", interrupt)
        (failed,) = move(tmp_path / "home")
        assert "interrupted" in (failed.error or "")
    (moved,) = move(tmp_path / "home")
    assert moved.error is None
    assert moved.rows > 80


def test_what_was_synced_in_the_lake_already_is_not_overwritten(
    synced: World, tmp_path: Path
) -> None:
    company = Company(tmp_path / "home")
    company.worlds[ACME.partition_key] = synced
    synced.records.append(person(60))
    assert company.sync(sync_id="s3").status is Status.APPLIED
    company.platform.close()
    (refused,) = move(tmp_path / "home")
    assert "in the lake differ from those in its file" in (refused.error or "")
    assert (tmp_path / "home/olap/acme/main.duckdb").exists()


def test_a_file_that_is_being_synced_is_left_for_the_next_time(
    synced: World, tmp_path: Path
) -> None:
    settings = load_settings(home=tmp_path / "home", lock_wait=0)
    holder = file_warehouses(settings, settings.warehouse_path)
    with holder.open(ACME):
        (refused,) = move(tmp_path / "home")
    assert "in use by another sync" in (refused.error or "")
    holder.close()
    assert move(tmp_path / "home")[0].error is None


def test_a_backup_of_a_lake_is_an_installation_of_files(synced: World, tmp_path: Path) -> None:
    move(tmp_path / "home")
    company = Company(tmp_path / "home")
    done = backup(company.platform, tmp_path / "copy")
    assert done.left == ()
    with company.platform.warehouses.open(ACME, read_only=True) as warehouse:
        wanted = contents(warehouse)
    company.platform.close()
    copied = file_warehouses(load_settings(), tmp_path / "copy/olap")
    with copied.open(ACME, read_only=True) as warehouse:
        assert contents(warehouse) == wanted
    copied.close()


def test_what_is_held_cannot_be_moved_into(synced: World, tmp_path: Path) -> None:
    target = warehouses(load_settings(lock_wait=0), warehouse_layout())
    with target.open(ACME):
        (refused,) = move(tmp_path / "home")
    assert "its warehouse is in use by process" in (refused.error or "")
    target.close()
