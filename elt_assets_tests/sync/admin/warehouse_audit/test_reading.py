"""Damage is found: what was written to at once, the rest by its turn and when all are read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.admin.warehouse_audit.reading import WarehousesRead, read_warehouses
from elt_assets.sync.clock import ago
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people

OTHER = IntegrationRef("other", "main")


@pytest.fixture
def checked(company: Company) -> Company:
    """Two integrations that were found right just now."""
    for ref in (ACME, OTHER):
        company.connect(ref, World(people(30)))
        company.sync(ref, sync_id="s1")
    assert len(read(company).findings) == 2
    return company


def read(company: Company, *, everything: bool = False) -> WarehousesRead:
    return read_warehouses(company.platform, USERS, everything=everything)


def change(company: Company, statement: str) -> None:
    with company.platform.database.transaction() as transaction:
        assert transaction.execute(statement) > 0, "it must hit something"


def lose_a_row(company: Company) -> None:
    """No file shows this."""
    change(
        company,
        "DELETE FROM users_latest WHERE external_id = 'u-0003' AND organization_id = 'acme'",
    )


def wait(company: Company, span: timedelta, of: str = "%") -> None:
    change(
        company,
        f"UPDATE checked_warehouses SET held_at = '{ago(span)}' WHERE organization_id LIKE '{of}'",
    )


def wrong(found: WarehousesRead) -> list[IntegrationRef]:
    return [ref for ref, one in found.findings.items() if not one.right]


def test_what_has_not_changed_is_not_read_again(checked: Company) -> None:
    checked.sync(ACME, sync_id="s2")
    checked.sync(OTHER, sync_id="s2")
    found = read(checked)
    assert (len(found.findings), found.not_due) == (1, 1), "the share of a moment is one"


def test_what_a_sync_has_changed_is_read(checked: Company) -> None:
    checked.worlds["other:main"].records = people(31)
    checked.sync(OTHER, sync_id="s2")
    checked.sync(OTHER, sync_id="s3")
    assert OTHER in read(checked).findings
    assert OTHER not in read(checked).findings, "nothing has changed since"


def test_damage_that_no_file_shows_is_found_when_all_are_read(checked: Company) -> None:
    lose_a_row(checked)
    assert wrong(read(checked, everything=True)) == [ACME]


def test_damage_that_no_file_shows_is_found_within_a_week(checked: Company) -> None:
    lose_a_row(checked)
    found = []
    for _ in range(7):
        wait(checked, timedelta(days=1))
        found += wrong(read(checked))
    assert ACME in found


def test_what_failed_is_read_each_time_until_it_holds(checked: Company) -> None:
    lose_a_row(checked)
    assert wrong(read(checked, everything=True)) == [ACME]
    for _ in range(2):
        wait(checked, timedelta(minutes=1), of="other")  # which has its turn, and no other
        assert wrong(read(checked)) == [ACME]
    checked.platform.rebuild(USERS, ACME)
    again = read(checked)
    assert ACME in again.findings
    assert wrong(again) == []


@pytest.mark.files
def test_a_damaged_file_is_found_at_once(checked: Company) -> None:
    path = checked.platform.warehouses.path(OTHER)
    path.write_bytes(b"garbage" * 1000)
    found = read(checked)
    assert wrong(found) == [OTHER]
    assert "damaged" in str(found.findings[OTHER].error)


@pytest.mark.files("a lock that another reader does not get past")
def test_one_that_is_held_is_left_to_the_next_audit(checked: Company) -> None:
    lose_a_row(checked)
    with checked.platform.warehouses.open(ACME):
        assert read(checked, everything=True).findings.keys() == {OTHER}
    assert wrong(read(checked, everything=True)) == [ACME]


def test_both_audits_are_of_one_reading(checked: Company) -> None:
    lose_a_row(checked)
    wait(checked, timedelta(days=7))
    found = dict(
        standing_checks.evaluate(checked.platform, USERS, standing_checks.ERRORS, everything=False)
    )
    assert [one.audit for one in found.values() if not one.passed] == ["log_replays"]
    assert found[standing_checks.rows_stay_with_their_tenant].looked_at == 2
    assert found[standing_checks.log_replays].sample == ("acme:main (1 rows differ)",)


def test_an_offboarded_integration_leaves_no_trace(checked: Company) -> None:
    checked.platform.remove(ACME)
    rows = checked.platform.database.rows("SELECT organization_id FROM checked_warehouses")
    assert [row["organization_id"] for row in rows] == ["other"]
