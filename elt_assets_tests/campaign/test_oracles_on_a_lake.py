"""The oracles about what only a lake has are shown a sound one, then one planted violation each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.errors import RetryableError
from elt_assets.sync.outcome import Status
from elt_assets_tests.campaign import oracles
from elt_assets_tests.campaign.state import State, own_stores, read_state
from elt_assets_tests.campaign.test_oracles import names
from elt_assets_tests.sync.worlds import ACME, Company, World, people
from elt_assets_tests.testbed.lakes import Lake

pytestmark = pytest.mark.campaign


@pytest.fixture
def company(lake: Lake, tmp_path: Path) -> Iterator[Company]:
    """Two syncs, of twenty people and then of one more, in batches of ten."""
    home = tmp_path / "home"
    made = Company(home, **own_stores(home))
    world = made.connect(world=World(people(20)))
    made.sync(sync_id="s1", pages_per_batch=1)
    world.records = people(21)
    made.sync(sync_id="s2", pages_per_batch=1)
    yield made
    made.platform.close()


def state_of(company: Company) -> State:
    return read_state(company.platform.settings.home, ACME)


def in_the_books(company: Company, lake: Lake, statement: str) -> State:
    lake.server.execute(statement.format(books=company.platform.settings.warehouse_schema))
    return state_of(company)


def interrupt(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third sync is over between the commit of its records and that of its books."""

    def cut_off(*_: object) -> str:
        raise RetryableError("cut off")

    company.worlds[ACME.partition_key].records = people(25)
    with monkeypatch.context() as patched:
        patched.setattr("elt_assets.storage.ducklake.lake_catalog.LakeCatalog.fence", cut_off)
        with company.platform.warehouses.open(ACME) as warehouse, pytest.raises(RetryableError):
            warehouse.add("users_landed", ONE_MORE)


ONE_MORE = """
    SELECT * EXCLUDE (organization_id, connected_integration_id)
    FROM users_landed
    WHERE sync_id = 's1' AND batch = 0
"""


def test_a_lake_that_is_as_it_should_be_passes_all_oracles(company: Company) -> None:
    state = state_of(company)
    assert state.seen["users_landed"] > 20
    assert oracles.always(state) + oracles.left_behind(state) == []


def test_what_an_interrupted_write_left_is_seen_by_nobody_and_found(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_of(company)
    interrupt(company, monkeypatch)
    state = state_of(company)
    assert oracles.always(state) == []
    assert oracles.differs(state, before) == []
    assert names(oracles.left_behind(state)) == {"left behind"}


def test_the_oracle_of_the_seen_catches_a_view_that_forgot_the_books(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(company, monkeypatch)

    def forgetful(table: str, schema: str) -> str:
        return f"FROM lake.{table} WHERE organization_id = getvariable('organization_id')"

    monkeypatch.setattr("elt_assets.storage.ducklake.lake_warehouse._standing", forgetful)
    assert names(oracles.always(state_of(company))) == {"duplicated", "seen without a name"}


def test_the_oracle_of_names_catches_records_that_are_gone(company: Company) -> None:
    with company.platform.warehouses.open(ACME) as warehouse:
        warehouse.execute("DELETE FROM lake.users_landed WHERE sync_id = 's1' AND batch = 0")
    assert names(oracles.always(state_of(company))) == {"named and not there"}


def test_the_oracle_of_what_is_left_catches_a_name_that_is_gone(
    company: Company, lake: Lake
) -> None:
    state = in_the_books(
        company, lake, "DELETE FROM {books}.stored_writes WHERE table_name = 'users_landed'"
    )
    assert names(oracles.left_behind(state)) == {"left behind"}


def test_the_duplicate_oracle_catches_a_batch_that_two_writes_hold(company: Company) -> None:
    with company.platform.warehouses.open(ACME) as warehouse:
        warehouse.add("users_landed", ONE_MORE)
    assert names(oracles.always(state_of(company))) == {"duplicated"}


def test_upkeep_takes_what_was_left_behind_and_the_next_sync_goes_on(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(company, monkeypatch)
    before = state_of(company)
    monkeypatch.setattr("elt_assets.storage.ducklake.lake_upkeep._UNNAMED", 0)
    company.platform.warehouses.look_after(dry_run=False)
    state = state_of(company)
    assert oracles.always(state) + oracles.left_behind(state) + oracles.differs(state, before) == []
    assert company.sync(sync_id="s3").status is Status.APPLIED
    assert len(company.users()) == 25
