"""Which interrupted syncs are continued, when, and by which runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.errors import ProviderRefused, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.run_budget import HANDED_ON_TAG
from elt_assets.orchestration.names import PARTITIONS, SYNC_ID_TAG
from elt_assets.orchestration.partitions import (
    RANGE_END_TAG,
    RANGE_START_TAG,
    RangeLimits,
    RangePlan,
)
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.sensors.recovery_sensor import (
    is_due,
    recovery_requests,
    recovery_sensor,
    taking_over,
)
from elt_assets.sync.outcome import Status
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.streams import USERS
from elt_assets.sync.workload import Load
from elt_assets_tests.sync.worlds import ACME, Company, World, people

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path / "home")
    yield made
    made.platform.close()


def row(status: Status, attempts: int, ago: timedelta, integration: str = "main") -> SyncRow:
    moment = (NOW - ago).isoformat()
    return SyncRow(
        partition=f"acme:{integration}",
        organization_id="acme",
        connected_integration_id=integration,
        stream="users",
        sync_id="daily",
        ordinal=1,
        status=status,
        attempts=attempts,
        started_at=moment,
        finished_at=moment if status is Status.FAILED else None,
    )


@pytest.mark.parametrize(
    ("status", "attempts", "ago", "due"),
    [
        (Status.EXTRACTING, 1, timedelta(seconds=5), False),
        (Status.EXTRACTING, 1, timedelta(minutes=1), True),
        (Status.FAILED, 1, timedelta(seconds=50), False),
        (Status.FAILED, 1, timedelta(seconds=70), True),
        (Status.FAILED, 4, timedelta(minutes=7), False),
        (Status.FAILED, 4, timedelta(minutes=9), True),
        (Status.FAILED, 50, timedelta(minutes=59), False),
        (Status.FAILED, 50, timedelta(minutes=61), True),
    ],
)
def test_a_failure_waits_longer_each_time_and_a_dead_process_does_not(
    status: Status, attempts: int, ago: timedelta, due: bool
) -> None:
    assert is_due(row(status, attempts, ago), NOW) is due


INSTANCE_KEYS = ["acme:a", "acme:b", "acme:c", "acme:d"]


def test_contiguous_integrations_of_one_sync_share_a_run_for_each_attempt() -> None:
    rows = [
        row(Status.FAILED, attempts, timedelta(hours=2), integration)
        for integration, attempts in (("a", 1), ("b", 3), ("d", 1))
    ]
    requests = recovery_requests(RangePlan(INSTANCE_KEYS), rows)
    assert [request.run_key for request in requests] == [
        "recover/users/daily/acme:a...acme:b/3",
        "recover/users/daily/acme:d...acme:d/1",
    ]
    assert requests[0].tags[RANGE_START_TAG] == "acme:a"
    assert requests[0].tags[RANGE_END_TAG] == "acme:b"
    assert requests[1].tags[SYNC_ID_TAG] == "daily"
    assert int(requests[0].tags["dagster/priority"]) > 0


def test_settled_integrations_do_not_split_a_range_of_failed_ones() -> None:
    rows = [row(Status.FAILED, 1, timedelta(hours=2), one) for one in ("a", "b", "d")]
    (request,) = recovery_requests(RangePlan(INSTANCE_KEYS), rows, carried={"acme:c"})
    assert request.run_key == "recover/users/daily/acme:a...acme:d/1"


def nightly(first: str, last: str, **tags: str) -> dg.DagsterRun:
    return dg.DagsterRun(
        job_name="sync",
        tags={
            SYNC_ID_TAG: "daily",
            RANGE_START_TAG: first,
            RANGE_END_TAG: last,
            "dagster/priority": "-10",
            **tags,
        },
    )


def known(**synced_at: str) -> dict[str, Load]:
    return {
        f"acme:{name}": Load(f"acme:{name}", "acme", synced_at=moment)
        for name, moment in synced_at.items()
    }


def test_integrations_handed_on_start_with_the_longest_waiting() -> None:
    run = nightly("acme:a", "acme:d")
    loads = known(a="2026-11-21", b="2026-11-19", c="2026-11-20", d="")
    requests = taking_over(
        RangePlan(INSTANCE_KEYS, loads, RangeLimits(1)), USERS, run, "2026-11-22", {"acme:a"}
    )
    assert [request.tags["dagster/partition"] for request in requests] == [
        "acme:d",
        "acme:b",
        "acme:c",
    ]
    assert {request.tags[SYNC_ID_TAG] for request in requests} == {"daily"}
    assert {request.tags["dagster/priority"] for request in requests} == {"-10"}
    assert len({request.run_key for request in requests}) == 3


def test_disabled_and_synced_integrations_are_not_taken_over() -> None:
    run = nightly("acme:a", "acme:c")
    loads = known(a="2026-11-23", c="2026-11-21", d="")
    (request,) = taking_over(RangePlan(INSTANCE_KEYS, loads), USERS, run, "2026-11-22", ())
    assert request.tags["dagster/partition"] == "acme:c"


def test_the_sensor_requests_once_what_a_run_left_over(company: Company) -> None:
    for name in "abc":
        company.connect(IntegrationRef("acme", name), World(people(3)))
    company.sync(IntegrationRef("acme", "b"), sync_id="daily")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS, INSTANCE_KEYS)
        for run, status in (
            (nightly("acme:a", "acme:c", **{HANDED_ON_TAG: "true"}), "SUCCESS"),
            (nightly("acme:a", "acme:c"), "FAILURE"),
            (nightly("acme:a", "acme:c", **{HANDED_ON_TAG: "true"}), "STARTED"),
        ):
            instance.add_run(run.with_status(dg.DagsterRunStatus(status)))
        cursor = None
        asked = []
        for _ in range(2):
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, resources={STANDALONE.resource: company.platform}
            )
            found = recovery_sensor().evaluate_tick(context)
            asked.append(found.run_requests or [])
            cursor = found.cursor
    (request,), none = asked
    assert (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) == ("acme:a", "acme:c")
    assert none == []


def test_a_running_sync_is_not_interrupted(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    seen: list[int] = []
    world.on_page = lambda page: seen.append(len(company.platform.interrupted()))
    company.sync()
    assert seen == [0, 0, 0]


def test_a_sync_whose_process_died_is_found_by_its_free_lock(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    world.fail_at[1] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        company.sync()
    (found,) = company.platform.interrupted()
    assert (found.partition, found.status) == ("acme:main", Status.EXTRACTING)


def test_only_retryable_failures_are_continued(company: Company) -> None:
    away, refused = IntegrationRef("acme", "away"), IntegrationRef("acme", "refused")
    company.connect(away, World(people(3), fail_at={0: ProviderUnavailable("away")}))
    company.connect(refused, World(people(3), fail_at={0: ProviderRefused("401")}))
    company.sync(away)
    company.sync(refused)
    assert [found.partition for found in company.platform.interrupted()] == ["acme:away"]
    company.worlds["acme:away"].fail_at.clear()
    company.sync(away, sync_id="s2")
    assert company.platform.interrupted() == [], "a later sync has taken over"


def test_the_sensor_requests_the_same_sync_again(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    world.fail_at[1] = ProviderUnavailable("away")
    company.sync(sync_id="daily-2026-11-22")
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE syncs SET finished_at = '2026-01-01T00:00:00Z'")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS, [ACME.partition_key])
        context = dg.build_sensor_context(
            instance=instance, resources={STANDALONE.resource: company.platform}
        )
        (request,) = recovery_sensor().evaluate_tick(context).run_requests
    assert request.tags[SYNC_ID_TAG] == "daily-2026-11-22"
    assert request.partition_key is None
    assert request.tags["dagster/partition"] == "acme:main"
