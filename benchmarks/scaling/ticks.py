"""What is measured at one size: ticks of schedule and sensors, the report, the partitions.

Each is evaluated in this process as the daemon and the web server do it, and its answer is checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import dagster as dg

from benchmarks.scaling.fleet import Fleet, fleet, register
from elt_assets.identifiers import IntegrationRef
from elt_assets.monitoring.health_report import report
from elt_assets.monitoring.metrics import FleetCollector, exposition
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.names import PARTITIONS
from elt_assets.orchestration.partitions import add_partition_keys
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import USERS

T = TypeVar("T")

CHANGES = 50


def ticks(integrations: int, days: int, repeat: int) -> dict[str, Any]:
    """Return the seconds of every repetition of each, and those of creating the fleet."""
    started = time.perf_counter()
    with fleet(integrations, days) as made:
        making = time.perf_counter() - started
        seconds: dict[str, list[float]] = {}
        answers: dict[str, Any] = {}

        def timed(name: str, work: Callable[..., T], *arguments: object) -> T:
            begun = time.perf_counter()
            result = work(*arguments)
            seconds.setdefault(name, []).append(time.perf_counter() - begun)
            return result

        cursor = _registry_tick(made, None).cursor
        for repetition in range(repeat):
            quiet = timed("registry_sensor_quiet", _registry_tick, made, cursor)
            new = [IntegrationRef("new", f"r{repetition}-{n}") for n in range(CHANGES)]
            register(made.platform, new)
            busy = timed("registry_sensor_50_new", _registry_tick, made, quiet.cursor)
            cursor = busy.cursor
            timed("adding_50_partitions", add_partition_keys, made.instance, new)
            daily = timed("schedule", _schedule_tick, made)
            recovery = timed("recovery_sensor", _recovery_tick, made)
            timed("health_report", report, made.platform.settings)
            timed("metrics", _scrape, made)
            timed("partition_statuses", _statuses, made)
            answers = {
                "new_partitions": len(busy.dynamic_partitions_requests[0].partition_keys),
                "daily_runs": len(daily.run_requests),
                "recovery_runs": len(recovery.run_requests),
            }
    return {"seconds": seconds, "answers": answers, "making": making}


def _registry_tick(made: Fleet, cursor: str | None) -> Any:
    return _sensor_tick(made, "registry_sensor", cursor)


def _recovery_tick(made: Fleet) -> Any:
    return _sensor_tick(made, "recovery_sensor", None)


def _sensor_tick(made: Fleet, name: str, cursor: str | None) -> Any:
    definitions = made.definitions
    with dg.build_sensor_context(
        instance=made.instance,
        definitions=definitions,
        resources={STANDALONE.resource: made.platform},
        cursor=cursor,
    ) as context:
        return definitions.resolve_sensor_def(name).evaluate_tick(context)


def _schedule_tick(made: Fleet) -> Any:
    definitions = made.definitions
    with dg.build_schedule_context(
        instance=made.instance,
        scheduled_execution_time=datetime.now(UTC),
        resources={STANDALONE.resource: made.platform},
        repository_def=definitions.get_repository_def(),
    ) as context:
        return definitions.resolve_schedule_def("daily_sync").evaluate_tick(context)


def _scrape(made: Fleet) -> bytes:
    return exposition(FleetCollector(made.platform.settings))


def _statuses(made: Fleet) -> Any:
    """Query what the page of a table shows in the web UI."""
    keys = made.instance.get_dynamic_partitions(PARTITIONS)
    return made.instance.get_status_by_partition(
        asset_key(USERS, Stage.LATEST), keys, STANDALONE.integrations
    )
