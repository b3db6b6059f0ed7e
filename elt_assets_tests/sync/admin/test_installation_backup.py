"""A backup is a home in which everything agrees, however busy the original was meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
from elt_assets.sync.admin import installation_backup as copying
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.admin.installation_backup import Backup, backup
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person

OTHER = IntegrationRef("other", "main")


@pytest.fixture
def filled(company: Company) -> Company:
    for ref in (ACME, OTHER):
        company.connect(ref, World(people(20)))
        company.sync(ref)
    return company


def broken(platform: SyncService) -> list[str]:
    """Audits that fail in a restored home."""
    return [ask.__name__ for ask in standing_checks.ERRORS if not ask(platform, USERS).passed]  # type: ignore[attr-defined]


def restored(folder: Path) -> SyncService:
    on_files = {"operational_url": None, "warehouse_url": None, "warehouse_data": None}
    return SyncService.open(load_settings(home=folder, **on_files))


def test_a_restored_backup_holds_the_same_and_passes_every_audit(
    filled: Company, tmp_path: Path
) -> None:
    done = backup(filled.platform, tmp_path / "copy")
    assert (done.integrations, done.files, done.left) == (2, 2, ())
    with restored(tmp_path / "copy") as platform:
        assert platform.records(USERS, ACME) == filled.platform.records(USERS, ACME)
        assert platform.changes(USERS, ACME) == filled.platform.changes(USERS, ACME)
        assert broken(platform) == []
        found = platform.audit_log.verify()
        assert found.compared
        assert found == filled.platform.audit_log.verify()


def test_what_is_synced_while_files_are_copied_is_not_in_the_backup(
    filled: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operational database was copied before; the log must not know more than it."""
    before = filled.users(ACME)
    plain = copying.copy_to_file

    def copy_and_sync(database: OperationalDatabase, target: Path) -> None:
        plain(database, target)
        world = filled.worlds["acme:main"]
        for number in range(3):
            world.records = [person(0, name=f"Renamed {number}"), *people(19)[1:]]
            assert filled.sync(ACME, sync_id=f"late-{number}").status is Status.APPLIED

    monkeypatch.setattr(copying, "copy_to_file", copy_and_sync)
    backup(filled.platform, tmp_path / "copy")
    with restored(tmp_path / "copy") as platform:
        assert {row["external_id"] for row in platform.records(USERS, ACME)} == before.keys()
        assert broken(platform) == []
        assert {change["sync_id"] for change in platform.changes(USERS, ACME)} == {"s1"}


def test_a_restored_home_goes_on_syncing(filled: Company, tmp_path: Path) -> None:
    filled.worlds["acme:main"].records = people(18)
    filled.sync(ACME, sync_id="s2")
    backup(filled.platform, tmp_path / "copy")
    other = Company(tmp_path / "copy")
    other.worlds = filled.worlds
    other.worlds["acme:main"].records = people(25)
    assert other.sync(ACME, sync_id="s3").counts.inserts == 7
    assert broken(other.platform) == []
    assert other.platform.undo(USERS, ACME, "s3").counts.deletes == 7
    other.platform.close()


@pytest.mark.files
def test_one_that_is_being_synced_is_waited_for(
    filled: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouses = FileWarehouses(filled.platform.settings.warehouse_path, lock_wait=600)
    copy, asked = warehouses.copy, threading.Event()

    def copy_when_asked(ref: IntegrationRef, target: Path) -> bool:
        asked.set()
        return copy(ref, target)

    monkeypatch.setattr(warehouses, "copy", copy_when_asked)
    monkeypatch.setattr(filled.platform, "warehouses", warehouses)
    done: list[Backup] = []
    copying = threading.Thread(
        target=lambda: done.append(backup(filled.platform, tmp_path / "copy"))
    )
    with warehouses.open(ACME) as connection:
        copying.start()
        asked.wait()
        connection.execute("CREATE TABLE written_before_it_was_let_go (number INTEGER)")
    copying.join()
    warehouses.close()
    assert done[0].left == ()
    copied = FileWarehouses(tmp_path / "copy" / "olap")
    with copied.open(ACME) as connection:
        connection.execute("SELECT * FROM written_before_it_was_let_go")
    copied.close()


@pytest.mark.files
def test_one_that_cannot_be_copied_is_named_and_the_others_are(
    filled: Company, tmp_path: Path
) -> None:
    filled.platform.warehouses.path(OTHER).write_bytes(b"garbage" * 5_000)
    done = backup(filled.platform, tmp_path / "copy")
    assert (done.files, len(done.left)) == (1, 1)
    assert done.left[0].startswith("other:main: warehouse file")
    with restored(tmp_path / "copy") as platform:
        assert len(platform.records(USERS, OTHER)) == 20


def test_nothing_is_overwritten(filled: Company, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(InvalidInput, match="exists already"):
        backup(filled.platform, tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_an_interrupted_backup_leaves_no_folder_that_looks_like_one(
    filled: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(filled.platform.warehouses, "copy", interrupt)
        with pytest.raises(Interrupted):
            backup(filled.platform, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    backup(filled.platform, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []
