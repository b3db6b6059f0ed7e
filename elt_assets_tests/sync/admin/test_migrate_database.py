"""Moving to PostgreSQL: everything is there, compared, and the old file is closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.config.settings import Settings, load_settings
from elt_assets.errors import DatabaseBusy, DatabaseMoved, InvalidInput, PermanentError
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.admin.installation_backup import backup
from elt_assets.sync.admin.migrate_database import copy_to_file, migrate
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.store_tables import OPERATIONAL_TABLES
from elt_assets.sync.streams import USERS
from elt_assets_tests.conftest import on_postgresql
from elt_assets_tests.sync.worlds import ACME, PROVIDER_DATA, Company, World, people, person
from elt_assets_tests.testbed.servers import Server

pytestmark = pytest.mark.files("a SQLite file to move from")

OTHER = IntegrationRef("other", "main")
# Everything that a text can be: no value may change on its way.
ODD = person(70, name="ö\u2028\\\"'\t😀", email=None, team={"n": 1.10, "long": "x" * 5000})


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Company]:
    """An installation with a past: syncs, an error, deletes that wait, on a SQLite file."""
    company = Company(tmp_path / "home", operational_url=None)
    for ref in (ACME, OTHER):
        company.connect(ref, World([*people(30), ODD]))
        company.sync(ref)
    company.worlds["acme:main"].records = people(5)
    assert company.sync(sync_id="s2").status is Status.QUARANTINED
    company.worlds["other:main"].fail_at[0] = PermanentError("no")
    assert company.sync(OTHER, sync_id="s2").status is Status.FAILED
    company.worlds["other:main"].fail_at.clear()
    yield company
    company.platform.close()


@pytest.fixture
def there(postgresql: Server, monkeypatch: pytest.MonkeyPatch, filled: Company) -> Settings:
    """The settings of the same home on an empty PostgreSQL."""
    on_postgresql(postgresql, monkeypatch)
    return load_settings(home=filled.platform.settings.home, lock_wait=0.3)


@pytest.fixture
def target(there: Settings) -> Iterator[OperationalDatabase]:
    database = operational_database(there)
    yield database
    database.close()


def source_of(company: Company) -> SqliteDatabase:
    assert isinstance(company.platform.database, SqliteDatabase)
    return company.platform.database


def contents(database: OperationalDatabase) -> dict[str, list[dict[str, object]]]:
    return {
        table: sorted(database.rows(f"SELECT * FROM {table}"), key=str)
        for table in OPERATIONAL_TABLES
    }


def rows_of(database: OperationalDatabase) -> int:
    return sum(len(rows) for rows in contents(database).values())


def test_everything_is_there_and_the_next_sync_finds_it_unchanged(
    filled: Company, there: Settings, target: OperationalDatabase
) -> None:
    users = filled.platform.records(USERS, OTHER)
    rows = rows_of(filled.platform.database)
    moved = migrate(source_of(filled), target)
    assert sum(table.copied for table in moved) == sum(table.compared for table in moved) == rows
    with SyncService.open(there, filled._open_source) as platform:
        assert platform.records(USERS, OTHER) == users
        assert [row.sync_id for row in platform.quarantined()] == ["s2"]
        (outcome,) = platform.sync(USERS, [OTHER], sync_id="s3")
        assert outcome.status is Status.UNCHANGED
        (approved,) = platform.approve(ACME, "ann")
        assert approved.counts.deletes == 26
        failing = [
            ask.__name__ for ask in standing_checks.ERRORS if not ask(platform, USERS).passed
        ]  # type: ignore[attr-defined]
        assert failing == []


def test_the_old_file_is_closed_for_whoever_has_it_open_and_for_who_opens_it(
    filled: Company, target: OperationalDatabase
) -> None:
    users = len(filled.users(OTHER))
    migrate(source_of(filled), target)
    filled.worlds["other:main"].records = people(3)
    outcome = filled.sync(OTHER, sync_id="late")
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert f"was moved to {target} and is closed; set ELT_ASSETS_OPERATIONAL_URL" in outcome.error
    assert len(target.rows("SELECT 1 AS x FROM users_latest")) == users + 31
    with pytest.raises(DatabaseMoved, match="is closed"):
        Company(filled.platform.settings.home, operational_url=None)


def test_a_sync_waits_while_its_database_moves(
    filled: Company, target: OperationalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it would have written in between would be nowhere."""
    other = SqliteDatabase(source_of(filled).path, attempts=1, busy_timeout=0.01)
    refused = []
    begin = target.transaction

    def begin_and_write(on: str = ""):  # type: ignore[no-untyped-def]
        if not refused and on == "" and target.columns("users_latest"):
            with pytest.raises(DatabaseBusy), other.transaction():
                pass
            refused.append(True)
        return begin(on)

    monkeypatch.setattr(target, "transaction", begin_and_write)
    migrate(source_of(filled), target)
    assert refused
    other.close()


def test_a_target_that_holds_something_else_is_refused_and_nothing_changed(
    filled: Company, there: Settings, target: OperationalDatabase
) -> None:
    with SyncService.open(there) as platform:
        platform.registry.add(ACME, "rest", PROVIDER_DATA)
    before = contents(target)
    with pytest.raises(InvalidInput, match="is not empty, and not left over from an interrupted"):
        migrate(source_of(filled), target)
    assert contents(target) == before
    assert filled.sync(OTHER, sync_id="s3").status is Status.UNCHANGED, "the file is still open"


def test_a_move_that_was_interrupted_before_the_file_was_closed_is_completed(
    filled: Company, target: OperationalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SqliteDatabase, "retire", interrupted)
        with pytest.raises(KeyboardInterrupt):
            migrate(source_of(filled), target)
    moved = migrate(source_of(filled), target)
    assert [table.copied for table in moved] == [0] * len(OPERATIONAL_TABLES)
    with pytest.raises(DatabaseMoved):
        source_of(filled).migrate()


def test_a_row_that_is_lost_on_the_way_stops_the_move(
    filled: Company, target: OperationalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elt_assets.sync.admin import migrate_database

    def losing(leaving, arriving, table, columns):  # type: ignore[no-untyped-def]
        copied = copy(leaving, arriving, table, columns)
        if table == "users_latest":
            arriving.execute("UPDATE users_latest SET name = name || ' ' WHERE id = ?", (lost,))
        return copied

    copy = migrate_database.copy_rows
    (row,) = filled.platform.database.rows("SELECT max(id) AS id FROM users_latest")
    lost = row["id"]
    monkeypatch.setattr(migrate_database, "copy_rows", losing)
    with pytest.raises(PermanentError, match=rf"users_latest differs at the row .*{lost}"):
        migrate(source_of(filled), target)
    assert rows_of(target) == 0
    assert filled.sync(OTHER, sync_id="s3").status is Status.UNCHANGED


def test_a_backup_from_postgresql_is_a_home_on_a_file(
    filled: Company, there: Settings, target: OperationalDatabase, tmp_path: Path
) -> None:
    before = contents(filled.platform.database)
    migrate(source_of(filled), target)
    with SyncService.open(there) as platform:
        assert backup(platform, tmp_path / "copy").left == ()
    with SyncService.open(load_settings(home=tmp_path / "copy", operational_url=None)) as restored:
        assert contents(restored.database) == before


def test_a_file_is_copied_by_its_own_means(filled: Company, tmp_path: Path) -> None:
    copy_to_file(filled.platform.database, tmp_path / "copy.db")
    copied = SqliteDatabase(tmp_path / "copy.db")
    assert contents(copied) == contents(filled.platform.database)
    copied.close()
