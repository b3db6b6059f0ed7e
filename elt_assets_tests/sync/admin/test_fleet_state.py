"""The state of the fleet counts what is there, and stays small however many there are."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from elt_assets.errors import ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin.fleet_state import TOP, FleetState, cause_of, fleet_state
from elt_assets.sync.clock import ago
from elt_assets_tests.sync.worlds import Company, World, people, person


def ref(number: int) -> IntegrationRef:
    return IntegrationRef("acme", f"main-{number}")


def state(company: Company) -> FleetState:
    return fleet_state(company.platform.database, stale_hours=26)


@pytest.fixture
def fleet(company: Company) -> Company:
    """Five integrations: one fails, one is quarantined, one rejects, one is disabled, one new."""
    for number in range(5):
        world = company.connect(ref(number), World(people(20 + number)))
        if number < 4:
            company.sync(ref(number))
    company.worlds["acme:main-0"].fail_at[0] = ProviderUnavailable("acme:main-0: page 1 is away")
    company.worlds["acme:main-1"].records = people(2)
    world = company.worlds["acme:main-2"]
    world.records = [*people(21), person(21, name=["no text"])]
    for number in range(3):
        company.sync(ref(number), sync_id="s2")
    company.platform.registry.set_enabled(ref(3), False)
    return company


def test_everything_is_counted_where_it_belongs(fleet: Company) -> None:
    found = state(fleet)
    assert (found.enabled, found.disabled, found.failed, found.quarantined) == (4, 1, 1, 1)
    assert found.statuses == {"users": {"failed": 1, "quarantined": 1, "unchanged": 1}}
    assert found.records == {"users": 20 + 21 + 22 + 23}
    assert (found.lags["under 1 h"], found.lags["never"], found.stale) == (3, 1, 1)
    assert [(one.partition, one.number) for one in found.quarantines] == [("acme:main-1", 19)]
    assert [(one.partition, one.remark) for one in found.rejecting] == [("acme:main-2", "of 22")]
    assert found.largest[0].partition == "acme:main-2"
    assert len(found.slowest) == 2
    assert found.causes[0].example == "acme:main-0"
    assert (found.changes[-1].inserted, len(found.changes)) == (20 + 21 + 22 + 23, 7)


def test_withheld_updates_and_inserts_are_counted_too(company: Company) -> None:
    world = company.connect(ref(0), World(people(30)))
    company.sync(ref(0))
    world.records = [person(n, status="LEFT") for n in range(30)]
    counts = company.sync(ref(0), sync_id="s2").counts
    assert (counts.withheld_deletes, counts.withheld_updates) == (0, 30)
    assert [one.number for one in state(company).quarantines] == [30]


def test_the_listings_that_lack_most_are_named_first(company: Company) -> None:
    for number, total in enumerate((31, 300, 30)):
        company.connect(ref(number), World(people(30), total=total))
        company.sync(ref(number))
    found = state(company)
    assert found.incomplete == 2
    assert [(one.partition, one.number, one.remark) for one in found.incompletes] == [
        ("acme:main-1", 30, "the provider counts 300 records and listed 30"),
        ("acme:main-0", 30, "the provider counts 31 records and listed 30"),
    ]
    company.platform.registry.set_enabled(ref(1), False)
    assert [one.partition for one in state(company).incompletes] == ["acme:main-0"]


def test_one_that_was_last_settled_long_ago_is_stale(fleet: Company) -> None:
    with fleet.platform.database.transaction() as transaction:
        transaction.execute(
            "UPDATE integration_versions SET settled_at = ?"
            " WHERE connected_integration_id = 'main-2'",
            (ago(timedelta(hours=30)),),
        )
    found = state(fleet)
    assert (found.lags["1 to 2 days"], found.stale) == (1, 2)


def test_an_empty_installation_has_a_state(company: Company) -> None:
    found = state(company)
    assert (found.enabled, found.failed, found.changes, found.causes) == (0, 0, (), ())


def test_the_state_of_ten_thousand_is_as_small_as_that_of_ten(company: Company) -> None:
    company.connect(ref(0), World(people(3)))
    company.sync(ref(0))
    with company.platform.database.transaction() as transaction:
        many = (
            "WITH RECURSIVE numbers(n) AS"
            " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000) "
        )
        transaction.execute(
            many + "INSERT INTO connected_integrations (organization_id, id, provider,"
            " provider_data, created_at, updated_at)"
            " SELECT 'many', 'main-' || n, 'rest', '{}', '2026', '2026' FROM numbers"
        )
        transaction.execute(
            many + "INSERT INTO syncs (organization_id, connected_integration_id, stream, sync_id,"
            " ordinal, status, attempts, started_at, finished_at, error, fetched, rejected, latest)"
            " SELECT 'many', 'main-' || n, 'users', 's1', 1,"
            " CASE n % 2 WHEN 1 THEN 'failed' ELSE 'applied' END, 1, ?, ?,"
            " 'many:main-' || n || ': page ' || n ||"
            " ' is away', 100, n % 3, n FROM numbers",
            (ago(timedelta(minutes=9)), ago(timedelta(minutes=1))),
        )
    found = state(company)
    assert (found.enabled, found.failed) == (10_001, 5_000)
    assert [(cause.text, cause.count) for cause in found.causes] == [("page … is away", 5_000)]
    assert len(found.largest) == len(found.slowest) == len(found.rejecting) == TOP
    assert len(msgspec.json.encode(found)) < 10_000


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            "org:ad: page 17 of org has no list at 'items'",
            "page … of … has no list at 'items'",
        ),
        (
            "org:ad: page 2 answered 503 Service Unavailable",
            "page … answered 503 Service Unavailable",
        ),
        (None, "failed without a reason"),
    ],
)
def test_failures_of_one_kind_have_one_cause(error: str | None, cause: str) -> None:
    assert cause_of(error, "org", "ad") == cause
