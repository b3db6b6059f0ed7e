"""The registry sensor: partitions follow the registry, and no run is killed for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.orchestration.names import PARTITIONS
from elt_assets.orchestration.partitions import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    RangeLimits,
    RangePlan,
    partition_tags,
)
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.sensors.registry_sensor import deletable, first_syncs
from elt_assets.sync.streams import GROUPS
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet

KEYS = ["a:0", "a:1", "a:2", "a:3", "a:4"]


@pytest.fixture
def fleet(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as fleet:
        yield fleet


Tick = Callable[[], list[tuple[str, ...]]]


@pytest.fixture
def tick(fleet: Fleet) -> Tick:
    """Evaluate the sensor, do to the partitions what it asks for, and return its runs."""
    cursor: list[str | None] = [None]

    def evaluated() -> list[tuple[str, ...]]:
        definitions = fleet.definitions()
        with dg.build_sensor_context(
            instance=fleet.instance,
            definitions=definitions,
            resources={STANDALONE.resource: fleet.platform},
            cursor=cursor[0],
        ) as context:
            data = definitions.resolve_sensor_def("registry_sensor").evaluate_tick(context)
        cursor[0] = data.cursor
        for request in data.dynamic_partitions_requests or []:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                fleet.instance.add_dynamic_partitions(PARTITIONS, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    fleet.instance.delete_dynamic_partition(PARTITIONS, key)
        return [ends(request) for request in data.run_requests or []]

    return evaluated


def ends(request: dg.RunRequest) -> tuple[str, ...]:
    if PARTITION_TAG in request.tags:
        return (request.tags[PARTITION_TAG],)
    return (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG])


def partitions(fleet: Fleet) -> list[str]:
    return list(fleet.instance.get_dynamic_partitions(PARTITIONS))


def test_new_integrations_get_partitions_and_a_first_sync(fleet: Fleet, tick: Tick) -> None:
    keys = fleet.connect(3, partitions=False)
    assert tick() == [(keys[0], keys[2])]
    assert partitions(fleet) == keys
    assert tick() == [], "once"


def test_an_integration_whose_partition_a_command_added_gets_its_first_sync(
    fleet: Fleet, tick: Tick
) -> None:
    keys = fleet.connect(2)
    assert partitions(fleet) == keys
    assert tick() == [(keys[0], keys[1])]
    assert tick() == [], "once"


def test_an_integration_that_was_synced_already_needs_no_first_sync(
    fleet: Fleet, tick: Tick
) -> None:
    keys = fleet.connect(2)
    fleet.run(keys[:1])
    assert tick() == [(keys[1],)]


def test_the_first_sync_of_a_later_integration_is_its_own(fleet: Fleet, tick: Tick) -> None:
    fleet.connect(2)
    tick()
    keys = fleet.connect(1, partitions=False)
    assert tick() == [(keys[2],)]


def test_an_integration_added_disabled_gets_a_partition_and_no_sync(
    fleet: Fleet, tick: Tick
) -> None:
    keys = fleet.connect(3, partitions=False)
    fleet.platform.registry.set_enabled(fleet.refs[1], False)
    assert tick() == [(keys[0],), (keys[2],)]
    assert partitions(fleet) == keys


def test_the_requested_runs_succeed(fleet: Fleet, tick: Tick) -> None:
    keys = fleet.connect(3, partitions=False)
    tick()
    assert fleet.run(keys).success
    assert fleet.names(keys[2]) == ["Person 0", "Person 1", "Person 2"]


def test_a_removed_integration_loses_its_partition(fleet: Fleet, tick: Tick) -> None:
    keys = fleet.connect(3)
    tick()
    fleet.platform.remove(fleet.refs[1])
    assert tick() == []
    assert partitions(fleet) == [keys[0], keys[2]]


def test_a_disabled_integration_keeps_its_partition(fleet: Fleet, tick: Tick) -> None:
    keys = fleet.connect(2)
    fleet.platform.registry.set_enabled(fleet.refs[0], False)
    tick()
    assert partitions(fleet) == keys


def test_a_removed_integration_keeps_its_partition_until_its_run_ends(
    fleet: Fleet, tick: Tick
) -> None:
    keys = fleet.connect(3)
    job = fleet.definitions().resolve_job_def("sync")
    run = fleet.instance.create_run_for_job(
        job, tags=partition_tags(keys[:2]), status=dg.DagsterRunStatus.STARTED
    )
    fleet.platform.remove(fleet.refs[1])
    fleet.platform.remove(fleet.refs[2])
    tick()
    assert partitions(fleet) == keys[:2]
    fleet.instance.report_run_canceled(run)
    tick()
    assert partitions(fleet) == keys[:1]


def test_a_partition_with_a_run_in_flight_is_not_deleted() -> None:
    assert deletable(KEYS, ["a:1", "a:3"], [{PARTITION_TAG: "a:1"}]) == ["a:3"]


def test_a_partition_inside_a_range_in_flight_is_not_deleted() -> None:
    running = [{RANGE_START_TAG: "a:1", RANGE_END_TAG: "a:3"}]
    assert deletable(KEYS, KEYS, running) == ["a:0", "a:4"]


def test_runs_about_something_else_do_not_keep_a_partition() -> None:
    running = [{}, {PARTITION_TAG: "2026-11-22"}, {RANGE_START_TAG: "x", RANGE_END_TAG: "a:4"}]
    assert deletable(KEYS, KEYS, running) == KEYS


def test_without_active_runs_all_surplus_partitions_are_deleted() -> None:
    assert deletable(KEYS, ["a:4"], []) == ["a:4"]


def test_first_syncs_are_ranges_of_the_wanted_keys() -> None:
    requests = first_syncs(RangePlan(KEYS), ["a:1", "a:2", "a:4"])
    assert [ends(request) for request in requests] == [("a:1", "a:2"), ("a:4",)]


def test_first_syncs_are_cut_at_the_limit() -> None:
    requests = first_syncs(RangePlan(KEYS, {}, RangeLimits(2)), KEYS)
    assert [ends(request) for request in requests] == [("a:0", "a:1"), ("a:2", "a:3"), ("a:4",)]


def test_first_syncs_of_a_stream_are_runs_of_its_job() -> None:
    (users,) = first_syncs(RangePlan(KEYS), ["a:1"])
    (groups,) = first_syncs(RangePlan(KEYS), ["a:1"], GROUPS)
    assert (users.job_name, groups.job_name) == ("sync", "groups_sync")


def test_every_stream_that_a_new_integration_offers_gets_its_first_sync(
    fleet: Fleet, tick: Tick
) -> None:
    fleet.connect(1)
    keys = fleet.connect(1, streams=("users", "groups"))
    assert tick() == [(keys[0], keys[1]), (keys[1],)]


def test_the_sensor_names_the_partitions_of_the_assets() -> None:
    assert STANDALONE.integrations.name == PARTITIONS
