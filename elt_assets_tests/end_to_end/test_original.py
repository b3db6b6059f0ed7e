"""The two test scripts of the original experiment, and what it promised beyond them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.demo.layout import DemoLayout
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.end_to_end.real_http import Installation, installed, serving

PEOPLE = IntegrationRef("demo-001", "people-001")


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """One integration of 1,000 users, 10 a page and 10 pages a batch, as the original had."""
    with (
        serving(DemoLayout(integrations=1), monkeypatch) as provider,
        installed(provider, tmp_path / "home") as installation,
    ):
        installation.connect(PEOPLE)
        yield installation


def rows(installation: Installation, table: str) -> int:
    """How many rows a table of the integration's warehouse has."""
    return len(installation.contents([PEOPLE])[f"{PEOPLE} {table}"])


def test_a_fresh_pipeline_stages_inserts_and_serves_a_thousand_users(
    installation: Installation,
) -> None:
    outcome = installation.sync(PEOPLE)[PEOPLE]
    assert outcome.status is Status.APPLIED, outcome.error
    assert outcome.batches == 10
    assert outcome.counts.staged == rows(installation, "users_staging") == 1000
    assert outcome.counts.inserts == rows(installation, "users_cdc") == 1000
    assert (outcome.counts.updates, outcome.counts.deletes) == (0, 0)
    assert {change["change_type"] for change in installation.platform.changes(USERS, PEOPLE)} == {
        "INSERT"
    }
    assert outcome.counts.latest == len(installation.users(PEOPLE)) == 1000
    assert installation.users(PEOPLE) == installation.provider.truth(PEOPLE)


def test_the_same_sync_id_twice_gives_the_same_result_and_no_new_row_anywhere(
    installation: Installation,
) -> None:
    first = installation.sync(PEOPLE, sync_id="test-workflow-001")[PEOPLE]
    before = installation.contents([PEOPLE])
    installation.provider.forget_requests()
    installation.provider.advance()
    second = installation.sync(PEOPLE, sync_id="test-workflow-001")[PEOPLE]
    assert second.as_json() == first.as_json()
    assert second.recorded
    assert installation.contents([PEOPLE]) == before
    assert installation.provider.requests() == []


def test_another_sync_id_over_the_same_users_changes_none_of_them(
    installation: Installation,
) -> None:
    installation.sync(PEOPLE, sync_id="one")
    before = installation.platform.records(USERS, PEOPLE)
    outcome = installation.sync(PEOPLE, sync_id="two")[PEOPLE]
    assert outcome.status is Status.UNCHANGED
    assert outcome.counts.unchanged == 1000
    assert installation.platform.records(USERS, PEOPLE) == before
    assert installation.platform.changes(USERS, PEOPLE, "two") == []


def test_round_after_round_the_latest_table_is_what_the_provider_holds(
    installation: Installation,
) -> None:
    installation.sync(PEOPLE, sync_id="round-1")
    for number in (2, 3):
        before = {user["external_id"]: user for user in installation.users(PEOPLE)}
        installation.provider.advance()
        outcome = installation.sync(PEOPLE, sync_id=f"round-{number}")[PEOPLE]
        truth = {user["external_id"]: user for user in installation.provider.truth(PEOPLE)}
        assert {user["external_id"]: user for user in installation.users(PEOPLE)} == truth
        assert outcome.counts.inserts == len(truth.keys() - before.keys()) > 0
        assert outcome.counts.deletes == len(before.keys() - truth.keys()) > 0
        changed = [key for key in truth.keys() & before.keys() if truth[key] != before[key]]
        assert outcome.counts.updates == len(changed) > 0
