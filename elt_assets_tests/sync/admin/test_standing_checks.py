"""Each audit finds what was planted for it, and nothing in a sound installation."""

from __future__ import annotations

from datetime import timedelta

import pytest

from elt_assets.connectors.source import Incremental
from elt_assets.errors import ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.clock import ago
from elt_assets.sync.outcome import Mode
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person

OTHER = IntegrationRef("other", "main")


def history(company: Company) -> None:
    """Two integrations with some history, an undo among it."""
    for ref in (ACME, OTHER):
        world = company.connect(ref, World(people(30)))
        company.sync(ref, sync_id="s1")
        world.records = [person(0, name="Renamed"), *people(29)[1:], person(77)]
        company.sync(ref, sync_id="s2")
    company.platform.undo(USERS, ACME, "s2")
    company.worlds["acme:main"].records = people(30)
    company.sync(ACME, sync_id="s3")


@pytest.fixture
def filled(company: Company) -> Company:
    return company.live_through(history)


def damage(company: Company, statement: str) -> None:
    with company.platform.database.transaction() as transaction:
        assert transaction.execute(statement) > 0, "the planted damage must hit something"


def test_a_sound_installation_passes_every_audit(filled: Company) -> None:
    findings = [
        ask(filled.platform, USERS) for ask in (*standing_checks.ERRORS, *standing_checks.WARNINGS)
    ]
    assert [finding.audit for finding in findings if not finding.passed] == []
    assert all(finding.looked_at for finding in findings)


def test_a_miscounted_sync_unbalances_the_books(filled: Company) -> None:
    damage(filled, "UPDATE syncs SET unchanged = unchanged - 1 WHERE sync_id = 's3'")
    finding = standing_checks.books_balance(filled.platform, USERS)
    assert finding.sample == ("acme:main s3",)


def test_two_rows_of_one_key_are_found(filled: Company) -> None:
    damage(
        filled,
        "UPDATE users_latest SET external_id = 'u-0001'"
        " WHERE external_id = 'u-0002' AND organization_id = 'acme'",
    )
    assert standing_checks.keys_are_unique(filled.platform, USERS).sample == ("acme:main",)


def test_rows_of_nobody_are_found(filled: Company) -> None:
    damage(filled, "DELETE FROM connected_integrations WHERE organization_id = 'other'")
    assert standing_checks.rows_have_owners(filled.platform, USERS).sample == (
        "other:main (latest rows)",
    )


@pytest.mark.files
def test_syncs_and_files_of_nobody_are_found(filled: Company) -> None:
    filled.platform.warehouses.path(OTHER).rename(
        filled.platform.warehouses.path(IntegrationRef("acme", "lost"))
    )
    damage(filled, "UPDATE syncs SET organization_id = 'gone' WHERE organization_id = 'other'")
    found = standing_checks.rows_have_owners(filled.platform, USERS)
    assert found.sample == ("acme:lost (a warehouse file)", "gone:main (past syncs)")


@pytest.mark.files("rows that can be of another tenant: it shows those of one")
@pytest.mark.parametrize("table", ["users_landed", "users_cdc"])
def test_a_row_of_another_tenant_in_a_file_is_found(filled: Company, table: str) -> None:
    with filled.platform.warehouses.open(ACME) as connection:
        connection.execute(
            f"UPDATE {table} SET organization_id = 'other'"
            " WHERE external_id = 'u-0009' AND sync_id = 's1'"
        )
    found = standing_checks.rows_stay_with_their_tenant(filled.platform, USERS)
    assert (found.looked_at, found.sample) == (2, ("acme:main (1 rows of others)",))


def test_an_extraction_that_did_not_see_everything_is_found(filled: Company) -> None:
    filled.worlds["other:main"].cut_short = "the page cap"
    filled.sync(OTHER, sync_id="s3")
    (line,) = standing_checks.extractions_are_complete(filled.platform, USERS).sample
    assert line.startswith("other:main (")
    assert "the page cap" in line


def test_an_incomplete_listing_stays_found_when_the_next_sync_fails(filled: Company) -> None:
    world = filled.worlds["other:main"]
    world.cut_short = "the page cap"
    filled.sync(OTHER, sync_id="s3")
    world.fail_at[0] = ProviderUnavailable("away")
    filled.sync(OTHER, sync_id="s4")
    (line,) = standing_checks.extractions_are_complete(filled.platform, USERS).sample
    assert "the page cap" in line


def test_no_complete_listing_in_time_is_an_error(filled: Company) -> None:
    long_ago = ago(timedelta(hours=30))
    damage(filled, f"UPDATE connected_integrations SET updated_at = '{long_ago}'")
    filled.worlds["other:main"].cut_short = "the page cap"
    filled.sync(OTHER, sync_id="s3")
    assert standing_checks.listings_are_complete_in_time(filled.platform, USERS).passed, (
        "one was just now"
    )
    damage(filled, f"UPDATE syncs SET finished_at = '{long_ago}' WHERE sync_id <> 's3'")
    filled.sync(ACME, sync_id="s4")
    (line,) = standing_checks.listings_are_complete_in_time(filled.platform, USERS).sample
    assert line.startswith(f"other:main (no complete listing since {long_ago}: ")
    assert "the page cap" in line


def test_an_undo_is_no_listing(filled: Company) -> None:
    world = filled.worlds["acme:main"]
    world.cut_short = "the page cap"
    world.records = people(31)
    filled.sync(ACME, sync_id="s4")
    filled.platform.undo(USERS, ACME, "s4")
    (line,) = standing_checks.extractions_are_complete(filled.platform, USERS).sample
    assert line.startswith("acme:main (")


@pytest.mark.parametrize(("hours", "passes"), [(30, True), (7 * 24 + 30, False)])
def test_where_changes_are_listed_everything_is_too_within_its_own_time(
    company: Company, hours: int, passes: bool
) -> None:
    records = [person(n, updated="2026-01-01T00:00:00Z") for n in range(3)]
    incremental = Incremental(timedelta(days=7), timedelta(0))
    company.connect(ACME, World(records, incremental=incremental))
    company.sync(sync_id="full")
    long_ago = ago(timedelta(hours=hours))
    damage(company, f"UPDATE connected_integrations SET updated_at = '{long_ago}'")
    damage(company, f"UPDATE syncs SET finished_at = '{long_ago}'")
    assert company.sync(sync_id="changes", mode=Mode.INCREMENTAL).mode is Mode.INCREMENTAL
    found = standing_checks.listings_are_complete_in_time(company.platform, USERS)
    company.worlds["acme:main"].incremental = None
    assert standing_checks.listings_are_complete_in_time(company.platform, USERS).passed, (
        "now all is listed"
    )
    assert found.passed is passes
    assert found.sample == (
        ()
        if passes
        else (
            "acme:main (only changes were listed, and everything was not read completely since "
            f"{long_ago})",
        )
    )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users_latest WHERE external_id = 'u-0003' AND organization_id = 'acme'",
        "UPDATE users_latest SET content_hash = 'x'"
        " WHERE external_id = 'u-0003' AND organization_id = 'acme'",
    ],
)
def test_a_row_that_the_log_does_not_tell_is_found(filled: Company, statement: str) -> None:
    damage(filled, statement)
    assert standing_checks.log_replays(filled.platform, USERS).sample == (
        "acme:main (1 rows differ)",
    )


def test_a_row_with_another_tenants_id_is_found(filled: Company) -> None:
    """The rows swap owners: counts and keys stay right, only the ids give it away."""
    with filled.platform.warehouses.open(ACME) as connection:
        connection.execute(
            f"UPDATE {filled.stored('users_cdc')} SET external_id = 'stolen'"
            " WHERE external_id = 'u-0009' AND organization_id = 'acme'"
        )
    damage(
        filled,
        "UPDATE users_latest SET external_id = 'stolen'"
        " WHERE external_id = 'u-0009' AND organization_id = 'acme'",
    )
    assert standing_checks.log_replays(filled.platform, USERS).offending == 1


@pytest.mark.files
def test_a_damaged_warehouse_is_found_and_the_others_are_looked_at(filled: Company) -> None:
    filled.platform.warehouses.path(ACME).write_bytes(b"garbage" * 1000)
    finding = standing_checks.log_replays(filled.platform, USERS)
    assert (finding.looked_at, finding.offending) == (2, 1)
    assert "damaged" in finding.sample[0]


def test_a_failed_sync_counts_until_a_later_one_succeeds(filled: Company) -> None:
    world = filled.worlds["acme:main"]
    world.fail_at[0] = ProviderUnavailable("away")
    filled.sync(ACME, sync_id="s4")
    assert standing_checks.newest_syncs_succeeded(filled.platform, USERS).sample == ("acme:main",)
    world.fail_at.clear()
    filled.sync(ACME, sync_id="s5")
    assert standing_checks.newest_syncs_succeeded(filled.platform, USERS).passed


def test_a_quarantine_is_found_with_some_of_those_it_would_delete(filled: Company) -> None:
    filled.worlds["other:main"].records = people(10)
    filled.sync(OTHER, sync_id="s3")
    (line,) = standing_checks.nothing_is_quarantined(filled.platform, USERS).sample
    assert line.startswith(
        "other:main: 20 deletes wait for a decision, 30 rows in latest; such as u-00"
    )


def test_a_quarantine_of_updates_is_found_with_what_it_withholds(filled: Company) -> None:
    filled.worlds["other:main"].records = [person(n, status="LEFT") for n in range(30)]
    filled.sync(OTHER, sync_id="s3")
    (line,) = standing_checks.nothing_is_quarantined(filled.platform, USERS).sample
    assert "29 updates wait for a decision" in line


def test_an_integration_that_nobody_synced_for_a_day_is_stale(filled: Company) -> None:
    long_ago = ago(timedelta(days=3))
    damage(
        filled,
        f"UPDATE integration_versions SET settled_at = '{long_ago}'"
        " WHERE organization_id = 'other'",
    )
    assert standing_checks.integrations_are_fresh(filled.platform, USERS).passed, (
        "registered just now"
    )
    damage(filled, f"UPDATE connected_integrations SET updated_at = '{long_ago}'")
    assert standing_checks.integrations_are_fresh(filled.platform, USERS).sample == ("other:main",)


def test_many_rejects_are_found(filled: Company) -> None:
    filled.worlds["other:main"].records = [*people(29), person(29, name=["no text"])]
    filled.sync(OTHER, sync_id="s3")
    assert standing_checks.rejects_are_rare(filled.platform, USERS).sample == (
        "other:main (1 of 30)",
    )
