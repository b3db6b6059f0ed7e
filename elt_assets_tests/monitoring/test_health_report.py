"""What is wrong is said in one line, and whether a restart could help is told apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from elt_assets.client.web_server import Server
from elt_assets.config.settings import Settings
from elt_assets.errors import ProviderRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets.monitoring.health_report import Check, report
from elt_assets_tests.connectors.serving import Provider
from elt_assets_tests.monitoring.conftest import Dagster
from elt_assets_tests.sync.worlds import ACME, Company, World, people


def check(settings: Settings, name: str, server: Server | None = None) -> Check:
    (found,) = [check for check in report(settings, server).checks if check.name == name]
    return found


def changed(company: Company, **settings: object) -> Settings:
    return company.platform.settings.model_copy(update=settings)


def test_a_healthy_installation_is_ok(company: Company, web_server: Provider) -> None:
    company.connect(ACME, World(people(3)))
    company.sync()
    found = report(company.platform.settings, Server(web_server.url))
    assert found.ok, found
    assert found.ready
    assert found.as_json()["reasons"] == []


def test_failed_integrations_of_one_cause_are_one_reason_and_stay_ready(
    company: Company,
) -> None:
    for number in range(12):
        ref = IntegrationRef(f"org-{number:03}", "okta")
        company.connect(ref, World(people(3), fail_at={0: ProviderRefused("page 1: 401")}))
        company.sync(ref)
    found = report(company.platform.settings)
    (reason,) = found.as_json()["reasons"]
    assert reason.startswith("syncs: failure: 12 integrations (org-000:okta")
    assert "401" in reason
    assert (found.ok, found.ready) == (False, True)


def test_the_quarantine_of_a_disabled_integration_is_no_issue(company: Company) -> None:
    company.connect(ACME, World(people(3), fail_at={0: ProviderRefused("page 1: 401")}))
    company.sync()
    assert not check(company.platform.settings, "syncs").ok
    company.platform.registry.set_enabled(ACME, False)
    assert check(company.platform.settings, "syncs").ok


def test_an_open_quarantine_fails_the_report(company: Company) -> None:
    world = company.connect(ACME, World(people(30)))
    company.sync()
    world.records = people(3)
    company.sync(sync_id="s2")
    found = check(company.platform.settings, "quarantines")
    assert not found.ok
    assert found.sample == (str(ACME),)
    company.platform.registry.set_enabled(ACME, False)
    assert check(company.platform.settings, "quarantines").ok


def test_incomplete_listings_are_counted_and_the_worst_is_named(company: Company) -> None:
    other = IntegrationRef("acme", "other")
    for ref in (ACME, other):
        company.connect(ref, World(people(30), total=30))
        company.sync(ref)
    settings = company.platform.settings
    assert check(settings, "listings").detail == "every newest listing is complete"
    company.worlds[str(ACME)].total = 31
    company.sync(sync_id="s2")
    found = check(settings, "listings")
    assert found.ok, "it lacks little"
    assert found.detail == (
        "1 listings are not complete, and none needs a person; for example acme:main users: "
        "the provider counts 31 records and listed 30"
    )
    company.worlds[str(other)].total = 300
    company.sync(other, sync_id="s2")
    found = check(settings, "listings")
    assert not found.ok
    assert found.detail == (
        "incomplete: 1 integration (acme:other): the listing of users is not complete: the "
        "provider counts 300 records and listed 30"
    )
    assert found.sample == (str(other), str(ACME))
    assert report(settings).ready, "a restart would not help"


def test_the_integration_that_waits_longest_is_named(company: Company) -> None:
    other = IntegrationRef("acme", "other")
    for ref in (ACME, other):
        company.connect(ref, World(people(3)))
    company.sync()
    assert check(company.platform.settings, "freshness").ok
    found = check(changed(company, stale_hours=1e-9), "freshness")
    assert found.detail.startswith(f"2 integrations are not up to date; the oldest is {other}")


def test_the_longest_waiting_of_all_streams_is_named(company: Company) -> None:
    company.connect(ACME, World(people(3)))
    provides = company.platform.registry.get(ACME).provider_data
    groups = provides["streams"]["users"] | {"fields": {"external_id": "id", "name": "name"}}
    both = provides | {"streams": provides["streams"] | {"groups": groups}}
    waiting = IntegrationRef("acme", "groups-never-synced")
    company.platform.registry.add(waiting, "rest", both)
    company.connect(IntegrationRef("acme", "later"), World(people(3)))
    company.sync()
    found = check(changed(company, stale_hours=1e-9), "freshness")
    assert f"the oldest is {waiting}" in found.detail


def test_an_integration_may_have_its_own_stale_hours(company: Company) -> None:
    other = IntegrationRef("acme", "other")
    for ref in (ACME, other):
        company.connect(ref, World(people(3)))
    known = company.platform.registry.get(ACME).provider_data
    company.platform.registry.update(ACME, known | {"safeguards": {"stale_hours": 1e-9}})
    company.sync()
    company.sync(other)
    found = check(company.platform.settings, "freshness")
    assert found.detail.startswith(f"1 integrations are not up to date; the oldest is {ACME}")
    assert found.sample == (str(ACME),)


def test_too_little_disk_space_fails_the_report(company: Company) -> None:
    found = check(changed(company, min_free_mb=10**9), "disk")
    assert not found.ok
    assert "less than 1,000,000,000 MB" in found.detail


def test_a_read_only_warehouse_folder_fails_the_report(company: Company) -> None:
    folder = company.platform.settings.warehouse_path
    shutil.rmtree(folder, ignore_errors=True)
    folder.touch()
    assert "cannot be written" in check(company.platform.settings, "warehouse").detail


def test_a_damaged_database_fails_the_report_without_further_checks(
    company: Company, tmp_path: Path
) -> None:
    settings = changed(company, home=tmp_path / "other")
    settings.home.mkdir()
    settings.database_path.write_bytes(b"this is no database" * 1000)
    found = check(settings, "operational database")
    assert not found.ok
    assert "cannot be read" in found.detail
    assert not report(settings).ready


def test_a_database_that_another_process_writes_to_is_busy_and_healthy(company: Company) -> None:
    with company.platform.database.transaction() as transaction:
        transaction.execute("DELETE FROM syncs")
        found = check(company.platform.settings, "operational database")
    assert found.ok
    assert "busy" in found.detail


def test_a_missing_web_server_fails_the_report(company: Company) -> None:
    with Provider() as gone:
        server = Server(gone.url)
    assert "no web server at" in check(company.platform.settings, "web server", server).detail


def test_a_code_location_that_does_not_load_fails_the_report(
    company: Company, web_server: Provider, dagster: Dagster
) -> None:
    dagster.load_error = "ModuleNotFoundError: No module\nnamed 'x'\n"
    found = check(company.platform.settings, "code location", Server(web_server.url))
    assert not found.ok
    assert "does not load: ModuleNotFoundError: No module named 'x'" in found.detail


@pytest.mark.parametrize("age", [None, 1000.0])
def test_a_daemon_without_heartbeat_fails_the_report(
    company: Company, web_server: Provider, dagster: Dagster, age: float | None
) -> None:
    dagster.heartbeat_age = age
    found = report(company.platform.settings, Server(web_server.url))
    assert not found.ready
    (reason,) = found.as_json()["reasons"]
    assert reason.startswith("daemon: no heartbeat for 180 s from sensor")
