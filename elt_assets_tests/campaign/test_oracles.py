"""Each oracle is shown an installation that is as it should be, then one planted violation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.storage.operational.database import Transaction
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign import oracles
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.campaign.state import State, own_stores, read_state
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person

pytestmark = pytest.mark.campaign

TRUTH = [person(0, name="Renamed"), *people(20)[2:], person(50)]
SECRET = 'a secret with "quotes"'


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """Two syncs: twenty people, then one renamed, one gone and one new."""
    made = Company(tmp_path / "home", **own_stores(tmp_path / "home"))
    world = made.connect(world=World(people(20)))
    made.sync(sync_id="s1")
    world.records = list(TRUTH)
    made.sync(sync_id="s2")
    yield made
    made.platform.close()


def state_of(company: Company) -> State:
    company.platform.close()
    return read_state(company.platform.settings.home, ACME)


def in_database(company: Company, *statements: str) -> State:
    def run(transaction: Transaction) -> None:
        for statement in statements:
            transaction.execute(statement)

    with company.platform.database.transaction() as transaction:
        run(transaction)
    return state_of(company)


def in_warehouse(company: Company, *statements: str) -> State:
    """What is left by statements about `{users_landed}` and `{users_cdc}`."""
    places = {table: company.stored(table) for table in ("users_landed", "users_cdc")}
    with company.platform.warehouses.open(ACME) as warehouse:
        for statement in statements:
            warehouse.execute(statement.format(**places))
    return state_of(company)


def names(violations: list[Violation]) -> set[str]:
    return {violation.oracle for violation in violations}


def belongs(attributes: object) -> bool:
    return attributes == {"team": "blue"}


def test_an_installation_that_is_as_it_should_be_passes_all_oracles(company: Company) -> None:
    state = state_of(company)
    assert oracles.always(state) == []
    assert oracles.against(state, expected(TRUTH)) == []
    assert oracles.false_deletes(state, {"s2": expected(TRUTH)}) == []
    assert oracles.leaked_across_tenants(state, belongs) == []
    assert oracles.leaked_secrets(company.platform.settings.home, [SECRET]) == []
    assert oracles.differs(state, state) == []
    assert oracles.refetched(state, 2, [2, 3]) == []


def test_the_lost_record_oracle_catches_a_planted_loss(company: Company) -> None:
    state = in_database(company, "DELETE FROM users_latest WHERE external_id = 'u-0005'")
    (violation,) = oracles.lost(state, expected(TRUTH))
    assert violation == Violation("lost", "acme:main", "u-0005")


def test_the_oracle_of_people_who_left_catches_one_who_stayed(company: Company) -> None:
    state = state_of(company)
    assert names(oracles.not_in_truth(state, expected(TRUTH[1:]))) == {"should be gone"}


def test_the_stale_oracle_catches_an_older_value(company: Company) -> None:
    state = in_database(
        company, "UPDATE users_latest SET name = 'Person 0' WHERE external_id = 'u-0000'"
    )
    assert names(oracles.stale(state, expected(TRUTH))) == {"stale overwrite"}


def test_the_order_oracle_catches_an_older_extraction_applied_later(company: Company) -> None:
    state = in_database(company, "UPDATE syncs SET ordinal = 0 WHERE sync_id = 's2'")
    assert names(oracles.out_of_order(state)) == {"stale overwrite"}


def test_the_duplicate_oracle_catches_a_person_with_two_rows(company: Company) -> None:
    state = in_database(
        company, "UPDATE users_latest SET external_id = 'u-0005' WHERE external_id = 'u-0006'"
    )
    assert names(oracles.duplicated(state)) == {"duplicated"}


def test_the_duplicate_oracle_catches_a_batch_landed_twice(company: Company) -> None:
    state = in_warehouse(
        company, "INSERT INTO {users_landed} SELECT * FROM {users_landed} WHERE batch = 0"
    )
    assert names(oracles.duplicated(state)) == {"duplicated"}


def test_the_false_delete_oracle_catches_the_delete_of_somebody_who_was_there(
    company: Company,
) -> None:
    state = state_of(company)
    (violation,) = oracles.false_deletes(state, {"s2": ["u-0001"]})
    assert violation == Violation("false delete", "acme:main", "u-0001 by s2")


@pytest.mark.parametrize(
    "lie",
    [
        "fetched = fetched + 1",
        "duplicates = 1",
        "inserts = inserts + 1",
        "unchanged = 0",
        "latest = latest - 1",
        "latest_before = latest_before - 1, latest = latest - 1",
        "version = 3",
        "inserts = 0, updates = updates + inserts, latest_before = latest_before + inserts",
    ],
)
def test_the_books_oracle_catches_every_number_that_does_not_fit(
    company: Company, lie: str
) -> None:
    state = in_database(company, f"UPDATE syncs SET {lie} WHERE sync_id = 's2'")
    assert names(oracles.unbalanced(state)) == {"unbalanced books"}


def test_the_tenant_oracle_catches_a_row_of_somebody_else(company: Company) -> None:
    by_content = in_database(
        company,
        """UPDATE users_latest SET attributes = '{"team":"red"}' WHERE external_id = 'u-0005'""",
    )
    assert names(oracles.leaked_across_tenants(by_content, belongs)) == {"cross-tenant leak"}


@pytest.mark.files("rows that can be of another tenant: it shows those of one")
def test_the_tenant_oracle_catches_a_row_under_another_name(company: Company) -> None:
    by_column = in_warehouse(
        company, "UPDATE {users_landed} SET organization_id = 'other' WHERE external_id = 'u-0005'"
    )
    assert names(oracles.leaked_across_tenants(by_column, belongs)) == {"cross-tenant leak"}


def test_the_refetch_oracle_catches_a_page_that_was_safe_already(company: Company) -> None:
    (violation,) = oracles.refetched(state_of(company), 2, [1, 2, 3])
    assert violation.detail == "1"


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM {users_cdc} WHERE external_id = 'u-0005'",
        "DELETE FROM {users_cdc} WHERE change_type = 'DELETE'",
        "UPDATE {users_cdc} SET name = 'Else' WHERE external_id = 'u-0050'",
    ],
)
def test_the_replay_oracle_catches_a_log_that_leads_elsewhere(
    company: Company, damage: str
) -> None:
    state = in_warehouse(company, damage)
    assert names(oracles.does_not_replay(state)) == {"log replay is not latest"}


def test_the_change_oracle_catches_two_changes_of_one_person_in_one_sync(
    company: Company,
) -> None:
    state = in_warehouse(
        company, "INSERT INTO {users_cdc} SELECT * FROM {users_cdc} WHERE external_id = 'u-0050'"
    )
    assert names(oracles.changed_twice(state)) == {"more than one change per key and sync"}


@pytest.mark.parametrize("written", [SECRET, SECRET.replace('"', '\\"')])
def test_the_secret_oracle_catches_a_secret_in_any_file(company: Company, written: str) -> None:
    file = company.platform.settings.home / "dagster" / "storage" / "event.json"
    file.parent.mkdir(parents=True)
    file.write_text(f'{{"message": "{written}"}}')
    (violation,) = oracles.leaked_secrets(company.platform.settings.home, [SECRET])
    assert violation.partition == "dagster/storage/event.json"
    assert SECRET not in violation.detail


def test_the_twin_oracle_catches_any_row_that_differs(company: Company) -> None:
    twin = state_of(company)
    state = in_warehouse(
        company,
        "UPDATE {users_landed} SET raw = '{{}}' WHERE sync_id = 's1' AND external_id = 'u-0005'",
    )
    (violation,) = oracles.differs(state, twin)
    assert violation.detail.startswith("staging: ")


def test_a_terminated_sync_may_have_grouped_its_pages_otherwise(company: Company) -> None:
    twin = state_of(company)
    state = in_database(company, "UPDATE syncs SET batches = batches + 1")
    assert oracles.differs(state, twin) != []
    assert oracles.differs(state, twin, batches=False) == []


def test_what_depends_on_the_attempt_alone_does_not_tell_twins_apart(company: Company) -> None:
    twin = state_of(company)
    state = in_database(company, "UPDATE syncs SET attempts = 9, started_at = '2026-01-01'")
    assert oracles.differs(state, twin) == []


def test_twins_may_differ_in_whether_an_unchanged_sync_made_a_version(tmp_path: Path) -> None:
    states = []
    for name in ("repeated", "compared"):
        company = Company(tmp_path / name, **own_stores(tmp_path / name))
        world = company.connect(world=World(people(5)))
        company.sync(sync_id="s1")
        if name == "compared":
            company.platform.rebuild(USERS, ACME)
        company.sync(sync_id="s2")
        world.records = people(6)
        company.sync(sync_id="s3")
        states.append(state_of(company))
    assert [state.version for state in states] == [2, 3]
    assert oracles.differs(*states) == []
