"""Metrics count what the ledger holds, and never name an integration."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from elt_assets.client.web_server import Server
from elt_assets.errors import ProviderRefused, ProviderUnavailable
from elt_assets.feed.consumers import Consumers
from elt_assets.feed.scope import Scope
from elt_assets.identifiers import IntegrationRef
from elt_assets.monitoring.metrics import FleetCollector, exposition
from elt_assets_tests.connectors.serving import Provider
from elt_assets_tests.sync.worlds import Company, World, people, person


def samples(company: Company, server: Server | None = None) -> dict[tuple[str, ...], float]:
    """Every sample by name and the values of its labels, in the order of the labels' names."""
    text = exposition(FleetCollector(company.platform.settings, server)).decode()
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_time_of_every_stage_is_counted(company: Company) -> None:
    company.connect(world=World(people(30)))
    company.sync()
    company.sync(sync_id="s2")
    first = samples(company)
    for stage in ("extract", "stage", "detect", "apply"):
        assert first["elt_assets_stage_seconds_total", stage, "users"] > 0, stage


def test_metrics_count_what_happened_to_the_integrations(company: Company) -> None:
    one, two, three, four = (IntegrationRef(f"org-{n}", "okta") for n in range(4))
    world = company.connect(one, World(people(30)))
    company.sync(one)
    world.records = people(3)
    company.sync(one, sync_id="s2")
    company.connect(two, World([*people(25), {"name": "nobody"}]))
    company.sync(two)
    company.worlds[str(two)].records = [person(0, name="Renamed"), *people(25)[1:]]
    company.worlds[str(two)].total = 26
    company.sync(two, sync_id="s2")
    company.connect(three, World(fail_at={0: ProviderRefused("401")}))
    company.sync(three)
    company.connect(four, World(fail_at={0: ProviderUnavailable("503")}))
    company.sync(four)
    company.sync(four)

    found = samples(company)
    prefix = "elt_assets_"
    for name, *labels, value in (
        ("integrations", "true", "rest", 4),
        ("syncs", "failed", "users", 2),
        ("syncs", "quarantined", "users", 1),
        ("integrations_by_newest_sync", "applied", "users", 1),
        ("failing_integrations", "false", "users", 1),
        ("failing_integrations", "true", "users", 1),
        ("open_quarantines", "users", 1),
        ("withheld_deletes", "users", 27),
        ("withheld_updates", "users", 0),
        ("incomplete_listings", "users", 1),
        ("changes_total", "insert", "users", 55),
        ("changes_total", "update", "users", 1),
        ("rejected_records_total", "users", 1),
        ("retries_total", "users", 1),
        ("latest_records", "rest", "users", 55),
        ("sync_duration_seconds_count", "users", 6),
        ("lag_seconds_bucket", "900.0", "users", 4),
        ("overdue_integrations", "users", 0),
        ("source_up", "ledger", 1),
    ):
        assert found[prefix + name, *labels] == value, name
    sent = sum(row.counts.requests for row in company.platform.syncs())
    assert found[prefix + "requests_total", "users"] == sent > 0


def test_the_slowest_consumer_of_the_feed_is_measured(company: Company) -> None:
    company.connect(world=World(people(7)))
    company.sync()
    consumers = Consumers(company.platform.database)
    consumers.add("slow", Scope(), after="0")
    consumers.add("quick", Scope())
    found = samples(company)
    assert found["elt_assets_feed_entries",] == 7
    assert found["elt_assets_feed_consumers", "pull", "behind"] == 1
    assert found["elt_assets_feed_consumers", "pull", "up to date"] == 1
    assert found["elt_assets_feed_lag_entries", "pull"] == 7
    assert found["elt_assets_feed_lag_seconds", "pull"] > 0


def test_no_label_names_an_integration_or_an_organization(company: Company) -> None:
    for number in range(30):
        ref = IntegrationRef(f"customer-{number}", "directory")
        company.connect(ref, World(people(2)))
        company.sync(ref)
        if number == 0:
            before = samples(company)
    after = samples(company)
    assert before.keys() == after.keys()
    assert not any("customer" in label or "directory" in label for key in after for label in key)


def test_queue_pools_and_heartbeats_come_from_the_web_server(
    company: Company, web_server: Provider
) -> None:
    found = samples(company, Server(web_server.url))
    assert found["elt_assets_runs", "queued"] == 2
    assert found["elt_assets_runs_limit",] == 2
    assert found["elt_assets_pool_slots", "extract", "taken"] == 3
    assert 4 < found["elt_assets_daemon_heartbeat_age_seconds", "sensor"] < 60


def test_without_a_source_only_its_own_metrics_are_missing(company: Company) -> None:
    with Provider() as gone:
        server = Server(gone.url)
    found = samples(company, server)
    assert found["elt_assets_source_up", "web_server"] == 0
    assert found["elt_assets_source_up", "ledger"] == 1
    assert ("elt_assets_integrations_by_newest_sync", "failed", "users") in found


def test_two_scrapes_in_a_moment_read_once(company: Company) -> None:
    collector = FleetCollector(company.platform.settings)
    first = exposition(collector)
    company.connect(IntegrationRef("new", "okta"), World())
    assert exposition(collector) == first


def test_every_metric_is_declared_once_for_all_streams(company: Company) -> None:
    text = exposition(FleetCollector(company.platform.settings)).decode()
    introduced = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(introduced) == len(set(introduced))
    assert 'elt_assets_open_quarantines{stream="groups"}' in text
