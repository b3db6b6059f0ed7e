"""The daily schedule: which runs a tick asks for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.orchestration.jobs.daily_schedule import daily_requests, daily_sync
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.orchestration.partitions import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    RangeLimits,
    RangePlan,
)
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.sync.streams import GROUP_MEMBERSHIPS, GROUPS, USERS, Stream
from elt_assets.sync.workload import Load
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet

TICK = datetime(2026, 11, 22, 5, 20, tzinfo=UTC)


@pytest.fixture
def fleet(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as fleet:
        yield fleet


def tick(
    fleet: Fleet, *, limits: RangeLimits | None = None, stream: Stream = USERS
) -> list[tuple[str, ...]]:
    """The keys at the ends of every run that a tick asks for."""
    definitions = fleet.definitions()
    with dg.build_schedule_context(
        instance=fleet.instance,
        scheduled_execution_time=TICK,
        resources={STANDALONE.resource: fleet.platform},
        repository_def=definitions.get_repository_def(),
    ) as context:
        data = daily_sync(stream, limits=limits).evaluate_tick(context)
    return [ends(request) for request in data.run_requests or []]


def ends(request: dg.RunRequest) -> tuple[str, ...]:
    if PARTITION_TAG in request.tags:
        return (request.tags[PARTITION_TAG],)
    return (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG])


def test_all_enabled_integrations_are_one_range(fleet: Fleet) -> None:
    keys = fleet.connect(4)
    assert tick(fleet) == [(keys[0], keys[3])]


def test_a_stream_is_synced_where_it_is_offered(fleet: Fleet) -> None:
    fleet.connect(1)
    fleet.connect(2, streams=("users", "groups"))
    keys = fleet.connect(2, streams=("groups",))
    assert tick(fleet) == [(keys[0], keys[2])]
    assert tick(fleet, stream=GROUPS) == [(keys[1], keys[4])]
    assert tick(fleet, stream=GROUP_MEMBERSHIPS) == []


def test_a_disabled_integration_splits_the_range(fleet: Fleet) -> None:
    keys = fleet.connect(5)
    fleet.platform.registry.set_enabled(fleet.refs[3], False)
    assert tick(fleet) == [(keys[0], keys[2]), (keys[4],)]


def test_a_partition_that_is_not_registered_splits_the_range(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    fleet.instance.add_dynamic_partitions("connected_integrations", ["gone:long-ago"])
    keys = fleet.connect(2)
    assert tick(fleet) == [(keys[0], keys[1]), (keys[2], keys[3])]


def test_ranges_are_no_longer_than_the_limit(fleet: Fleet) -> None:
    keys = fleet.connect(5)
    assert tick(fleet, limits=RangeLimits(2)) == [
        (keys[0], keys[1]),
        (keys[2], keys[3]),
        (keys[4],),
    ]


def test_an_integration_without_a_partition_is_left_to_the_sensor(fleet: Fleet) -> None:
    fleet.connect(2, partitions=False)
    assert tick(fleet) == []


def test_a_run_of_a_tick_syncs_as_that_day(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    (request,) = daily_requests(RangePlan(keys), keys, "2026-11-22")
    assert fleet.run(keys, tags=dict(request.tags)).success
    assert {row.sync_id for row in fleet.platform.syncs()} == {"daily-2026-11-22"}


def test_a_repeated_tick_requests_the_same_runs_of_the_same_syncs() -> None:
    keys = ["a:1", "a:2", "a:3"]
    plan = RangePlan(keys, {}, RangeLimits(2))
    first, second = (daily_requests(plan, keys, "2026-11-22") for _ in range(2))
    assert [request.run_key for request in first] == [request.run_key for request in second]
    assert len({request.run_key for request in first}) == len(first)
    assert {request.tags[SYNC_ID_TAG] for request in first} == {"daily-2026-11-22"}


def test_another_day_is_another_sync_and_other_runs() -> None:
    keys = ["a:1", "a:2"]
    (monday,) = daily_requests(RangePlan(keys), keys, "2026-11-23")
    (tuesday,) = daily_requests(RangePlan(keys), keys, "2026-11-24")
    assert monday.run_key != tuesday.run_key
    assert monday.tags[SYNC_ID_TAG] != tuesday.tags[SYNC_ID_TAG]


def test_ranges_queue_by_priority_and_organizations_take_turns() -> None:
    keys = [f"big:{number}" for number in range(6)] + ["small:1", "urgent:1"]
    loads = {key: Load(key, key.split(":")[0], seconds=1) for key in keys}
    loads["urgent:1"] = Load("urgent:1", "urgent", priority=5)
    requests = daily_requests(RangePlan(keys, loads, RangeLimits(2)), keys, "2026-11-22")
    assert [ends(request) for request in requests] == [
        ("small:1", "urgent:1"),
        ("big:0", "big:1"),
        ("big:2", "big:3"),
        ("big:4", "big:5"),
    ]


def test_a_range_has_as_much_work_as_one_run_may_have() -> None:
    keys = [f"a:{number}" for number in range(5)]
    work = dict(zip(keys, (10.0, 900.0, 10.0, 10.0, 985.0), strict=True))
    loads = {key: Load(key, "a", seconds=seconds) for key, seconds in work.items()}
    requests = daily_requests(RangePlan(keys, loads, RangeLimits(100, 1000.0)), keys, "2026-11-22")
    assert sorted(ends(request) for request in requests) == [("a:0", "a:3"), ("a:4",)]


def test_nightly_runs_have_a_low_priority() -> None:
    (request,) = daily_requests(RangePlan(["a:1"]), ["a:1"], "2026-11-22")
    assert int(request.tags["dagster/priority"]) < 0


def test_it_ticks_at_twenty_past_five_utc() -> None:
    schedule = daily_sync()
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("20 5 * * *", "UTC")
    assert daily_sync(GROUPS).cron_schedule == "35 5 * * *"
    assert daily_sync(GROUPS).name != schedule.name
