"""A change log that fell behind its table: what it lacks is found, said and made good."""

from __future__ import annotations

import pytest

from elt_assets.errors import InvalidInput
from elt_assets.sync.outcome import Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person

pytestmark = pytest.mark.usefixtures("backend")


def forget(company: Company, version: int, *tables: str) -> None:
    """Lose what the warehouse knows of one version, as if its file's end had been cut off."""
    with company.platform.warehouses.open(ACME) as warehouse:
        for table in tables:
            warehouse.delete(table, f"version = {version}")


def marks(company: Company) -> list[int]:
    with company.platform.warehouses.open(ACME, read_only=True) as connection:
        rows = connection.execute("SELECT version FROM applied_syncs ORDER BY version").fetchall()
    return [row[0] for row in rows]


def test_a_mark_that_a_crash_cost_is_set_by_the_next_sync(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    forget(company, 1, "applied_syncs")
    world.records.append(person(9))
    company.sync(sync_id="s2")
    assert marks(company) == [1, 2]
    assert len(company.platform.changes(USERS, ACME)) == 6


def test_a_log_that_lost_its_end_replays_again_after_the_next_sync(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records = [person(0, name="Renamed"), *people(30)[2:], person(50)]
    company.sync(sync_id="s2")
    forget(company, 2, "applied_syncs", "users_cdc")
    world.records.append(person(51))
    assert company.sync(sync_id="s3").counts.inserts == 1
    company.platform.rebuild(USERS, ACME)
    assert company.users() == expected(world.records)
    assert company.sync(sync_id="s4").status is Status.UNCHANGED


def test_rebuilding_from_a_log_that_lost_its_end_is_refused(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    world.records.append(person(9))
    company.sync(sync_id="s2")
    forget(company, 2, "applied_syncs", "users_cdc")
    with pytest.raises(InvalidInput, match="lacks"):
        company.platform.rebuild(USERS, ACME)
    assert len(company.users()) == 6


def test_rebuilding_from_a_log_that_only_lost_its_mark_is_possible(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    world.records.append(person(9))
    company.sync(sync_id="s2")
    forget(company, 2, "applied_syncs")
    assert company.platform.rebuild(USERS, ACME).after == 6


def test_an_undo_touches_only_what_the_sync_itself_changed(company: Company) -> None:
    """A baseline written after the file was lost stands at the version of an earlier sync."""
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    company.platform.warehouses.remove(ACME)
    world.records.append(person(9))
    company.sync(sync_id="s2")
    with pytest.raises(InvalidInput, match="changed nothing that could be undone"):
        company.platform.undo(USERS, ACME, "s1", force=True)
    assert len(company.users()) == 6


def test_an_undo_after_a_lost_end_leaves_a_log_that_replays(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    world.records.append(person(8))
    company.sync(sync_id="s2")
    world.records.append(person(9))
    company.sync(sync_id="s3")
    forget(company, 3, "applied_syncs", "users_cdc")
    company.platform.undo(USERS, ACME, "s2")
    assert company.platform.rebuild(USERS, ACME).after == 6
    assert "u-0008" not in company.users()


def test_a_database_set_back_by_one_sync_is_brought_up_again(company: Company) -> None:
    """The warehouse then holds the mark of a version that is made a second time."""
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    world.records.append(person(9))
    company.sync(sync_id="s2")
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE integration_versions SET version = 1, ordinal = 1")
        transaction.execute("DELETE FROM syncs WHERE sync_id = 's2'")
        transaction.execute("DELETE FROM users_latest WHERE external_id = 'u-0009'")
    assert company.sync(sync_id="s3").status is Status.APPLIED
    assert company.users() == expected(world.records)
    assert marks(company) == [1, 2]


def test_a_clock_set_back_hides_nothing_from_a_rebuild(company: Company) -> None:
    company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    with company.platform.warehouses.open(ACME) as connection:
        connection.execute(
            f"UPDATE {company.stored('users_cdc')} SET detected_at = detected_at + INTERVAL 1 DAY"
        )
    assert company.platform.rebuild(USERS, ACME).after == 5


def test_an_approval_and_who_gave_it_are_one_commit(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records = people(10)
    assert company.sync(sync_id="s2").status is Status.QUARANTINED
    transactions = []
    plain = company.platform.database.transaction

    def counting(on: str = ""):  # type: ignore[no-untyped-def]
        transactions.append(on)
        return plain(on)

    company.platform.database.transaction = counting  # type: ignore[method-assign]
    company.platform.approve(ACME, "ann")
    of_integration = [on for on in transactions if on == ACME.partition_key]
    assert len(of_integration) == 2, "one opens the ledger row, one applies and decides"
    (row,) = [row for row in company.platform.syncs(ACME) if row.sync_id == "s2"]
    assert (row.decision, row.decided_by) == ("approved", "ann")
