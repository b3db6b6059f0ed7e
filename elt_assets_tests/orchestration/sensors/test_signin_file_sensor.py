"""When days of sign-in events are loaded by themselves: by the clock, and when files arrive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from elt_assets.demo.registration import provider_data
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.day_partitions import event_days, has_day, yesterday
from elt_assets.orchestration.jobs.signin_jobs import daily_events, hourly_events
from elt_assets.orchestration.partitions import PARTITION_TAG
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.sensors.signin_file_sensor import news
from elt_assets.signin_events.results import Arrival
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet

REF = IntegrationRef("acme", "crm")
TICK = datetime(2026, 3, 6, 6, 5, tzinfo=UTC)
LONG_AGO = 1_700_000_000


@pytest.fixture
def fleet(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as fleet:
        yield fleet


@pytest.fixture
def folder(fleet: Fleet) -> Path:
    return fleet.platform.settings.events_folder


def offer(fleet: Fleet) -> None:
    data = provider_data("http://127.0.0.1:9", REF, {"env": "TOKEN"}, signins=True)
    fleet.platform.registry.add(REF, "rest", data)


def put(folder: Path, day: str, name: str = "a.csv", at: float = LONG_AGO) -> None:
    path = folder / day / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("event_id\n1\n")
    os.utime(path, (at, at))


def tick(fleet: Fleet, schedule: dg.ScheduleDefinition) -> list[Any]:
    with dg.build_schedule_context(
        instance=fleet.instance,
        scheduled_execution_time=TICK,
        resources={STANDALONE.resource: fleet.platform},
        repository_def=fleet.definitions().get_repository_def(),
    ) as context:
        return list(schedule.evaluate_tick(context).run_requests or [])


class Ticks:
    """The sensor, evaluated again and again with the cursor it left."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._definitions = fleet.definitions()
        self.cursor: str | None = None

    def tick(self) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=self._fleet.instance,
            definitions=self._definitions,
            resources={STANDALONE.resource: self._fleet.platform},
            cursor=self.cursor,
        ) as context:
            sensor = self._definitions.resolve_sensor_def("event_file_sensor")
            data = sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return list(data.run_requests or [])


def test_without_sources_the_schedule_requests_nothing(fleet: Fleet) -> None:
    fleet.connect(1)
    assert tick(fleet, daily_events()) == []
    assert tick(fleet, hourly_events()) == []


def test_the_daily_run_loads_yesterday_once_with_concurrent_extracts(
    fleet: Fleet,
) -> None:
    offer(fleet)
    (request,) = tick(fleet, daily_events())
    assert request.tags[PARTITION_TAG] == "2026-03-05"
    assert request.run_key == "daily-2026-03-05"
    assert request.run_config["execution"]["config"] == {"side_by_side": True}


def test_files_alone_are_a_sufficient_source(fleet: Fleet, folder: Path) -> None:
    folder.mkdir()
    assert len(tick(fleet, daily_events())) == 1


def test_the_hourly_run_loads_todays_new_events(fleet: Fleet) -> None:
    offer(fleet)
    (request,) = tick(fleet, hourly_events())
    assert request.tags[PARTITION_TAG] == "2026-03-06"
    assert request.run_config["ops"]["api_events"]["config"] == {"new_only": True}


def test_a_day_whose_files_arrive_or_change_is_loaded_without_the_apis(
    fleet: Fleet, folder: Path
) -> None:
    ticks = Ticks(fleet)
    assert ticks.tick() == []
    put(folder, "2026-03-01")
    put(folder, "2025-12-31")
    (request,) = ticks.tick()
    assert request.tags[PARTITION_TAG] == "2026-03-01", "the other is before the first day"
    assert {key.to_user_string() for key in request.asset_selection or ()} == {
        *("csv_events", "normalized_csv_events", "signin_events", "daily_signin_summary")
    }
    assert ticks.tick() == []
    put(folder, "2026-03-01", "late.csv")
    put(folder, "2026-03-02")
    again = ticks.tick()
    assert [request.tags[PARTITION_TAG] for request in again] == ["2026-03-01", "2026-03-02"]
    assert again[0].run_key != request.run_key
    assert ticks.tick() == []


def test_a_tick_that_is_repeated_asks_for_the_same_run(fleet: Fleet, folder: Path) -> None:
    put(folder, "2026-03-01")
    (first,), (again,) = Ticks(fleet).tick(), Ticks(fleet).tick()
    assert first.run_key == again.run_key


def test_a_folder_of_years_is_loaded_in_portions_oldest_first() -> None:
    arrivals = [Arrival(date(2026, 1, day), f"look-{day}", ("a.csv",)) for day in (3, 1, 2)]
    assert [one.day.day for one in news(arrivals, {}, at_most=2)] == [1, 2]
    seen = {date(2026, 1, 1): "look-1", date(2026, 1, 2): "another look"}
    assert [one.day.day for one in news(arrivals, seen, at_most=2)] == [2, 3]


def test_today_is_a_partition_and_tomorrow_is_not() -> None:
    days = event_days(date(2026, 1, 1))
    today = datetime.now(UTC).date()
    assert has_day(days, today)
    assert not has_day(days, date.fromordinal(today.toordinal() + 1))
    assert not has_day(days, date(2025, 12, 31))
    assert yesterday(datetime(2026, 3, 1, 0, 30, tzinfo=UTC)) == date(2026, 2, 28)
