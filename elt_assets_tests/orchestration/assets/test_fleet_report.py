"""The page shows what the state says, with pictures, and nothing of it can break its tables."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time

from elt_assets.orchestration.assets.fleet_report import FLEET_REPORT, page
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.sensors.report_sensor import LONGEST, is_due
from elt_assets.sync.admin.fleet_state import Cause, DayOfChanges, FleetState, Ranked
from elt_assets.sync.state.sync_history import News
from elt_assets_tests.testbed.fleet import Fleet

STATE = FleetState(
    moment="2026-11-22 06:30",
    enabled=10_000,
    disabled=3,
    stale=7,
    records={"users": 5_000_000},
    statuses={"users": {"applied": 9_990, "failed": 10}},
    lags={"under 1 h": 9_990, "never": 10},
    changes=tuple(DayOfChanges(f"2026-11-{day:02}", day, 2, 3) for day in range(1, 23)),
    causes=(Cause("the provider's | and [link](x)", 10, "org-001:okta", "users"),),
    slowest=(Ranked("org-002:entra", "users", 812.4, "1,000,000 fetched"),),
    largest=(),
    rejecting=(),
    quarantined=1,
    quarantines=(Ranked("org-003:okta", "users", 512, "of 900"),),
    incomplete=2,
    incompletes=(Ranked("org-004:scim", "users", 20, "the provider counts 300"),),
)


def test_the_report_names_problems_first_and_links_to_the_partition() -> None:
    text = page(STATE)
    headline = text.split("\n\n")[1]
    assert headline == (
        "10,000 integrations (3 more are disabled): "
        "**10 failed**, **1 quarantined**, **2 listed incompletely**, **7 not up to date**."
    )
    assert "[org-001:okta](/assets/users_latest?view=partitions&partition=org-001%3Aokta)" in text
    assert "| users | 20 | the provider counts 300 |" in text
    assert "| 10 | the provider's \\| and \\[link\\]\\(x\\) |" in text


def test_the_pictures_are_in_the_page_and_small() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(data:image/png;base64,([^)]*)\)", page(STATE))
    assert len(pictures) == 2
    for picture in map(base64.b64decode, pictures):
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 50_000


@pytest.mark.parametrize(
    ("hours", "state"), [(1, "PASS"), (27, "WARN"), (51, "FAIL")], ids=["fresh", "late", "stale"]
)
def test_dagster_says_when_the_report_is_no_longer_renewed(
    fleet: Fleet, hours: int, state: str
) -> None:
    """Evaluated as Dagster's freshness daemon does it."""
    key = dg.AssetKey(FLEET_REPORT)
    fleet.instance.report_runless_asset_event(dg.AssetMaterialization(key))
    node = fleet.definitions().resolve_asset_graph().get(key)
    evaluator = TimeWindowFreshnessPolicyEvaluator()
    with freeze_time(datetime.now(UTC) + timedelta(hours=hours)):
        found = evaluator.evaluate_freshness(LoadingContextForTest(fleet.instance), node)
        assert asyncio.run(found).name == state


@dataclass
class Ticks:
    """The report sensor of a fleet, tick by tick."""

    fleet: Fleet
    cursor: str | None = None

    def __call__(self) -> dg.AssetMaterialization | dg.AssetObservation | None:
        sensor = self.fleet.definitions().get_repository_def().get_sensor_def("report_sensor")
        with dg.build_sensor_context(
            instance=self.fleet.instance,
            cursor=self.cursor,
            resources={STANDALONE.resource: self.fleet.platform},
        ) as context:
            found = sensor.evaluate_tick(context)
        self.cursor = found.cursor
        (event,) = found.asset_events or [None]
        return event


def test_the_report_is_renewed_when_syncs_have_ended_and_only_then(fleet: Fleet) -> None:
    tick = Ticks(fleet)
    assert tick() is None, "nothing has been synced"
    fleet.run(fleet.connect(2))
    assert isinstance(tick(), dg.AssetMaterialization)
    assert tick() is None, "nothing has settled since"


@pytest.mark.parametrize("job", ["sync", "__ASSET_JOB"])
def test_a_failure_is_reported_while_other_runs_go_on(fleet: Fleet, job: str) -> None:
    tick = Ticks(fleet)
    keys = fleet.connect(2)
    fleet.run(keys[:1])
    tick()
    definitions = fleet.definitions()
    going = (
        definitions.resolve_implicit_global_asset_job_def()
        if job == "__ASSET_JOB"
        else definitions.resolve_job_def(job)
    )
    fleet.instance.create_run_for_job(
        going, status=dg.DagsterRunStatus.STARTED, tags=STANDALONE.tags
    )
    fleet.run(keys[:1])
    observed = tick()
    assert isinstance(observed, dg.AssetObservation), "nothing is wrong, and more is to come"
    assert observed.metadata["settled_since"].value == 1
    assert tick() is None, "one observation is enough"
    fleet.directory.failures["dir-01"].extend([403])
    fleet.run(keys[1:])
    reported = tick()
    assert isinstance(reported, dg.AssetMaterialization)
    assert reported.metadata["failed"].value == 1
    assert "1 run was under way" in str(reported.metadata["report"].value)


def test_a_decision_is_reported(fleet: Fleet) -> None:
    tick = Ticks(fleet)
    keys = fleet.connect(1)
    fleet.run(keys)
    fleet.directory.people["dir-00"] = []
    fleet.run(keys)
    reported = tick()
    assert reported is not None
    assert reported.metadata["quarantined"].value == 1
    fleet.platform.reject(fleet.refs[0], "ada")
    reported = tick()
    assert reported is not None
    assert reported.metadata["quarantined"].value == 0


@pytest.mark.parametrize(
    ("news", "syncing", "age", "due"),
    [
        (News(), 0, LONGEST, False),
        (News(ended=1), 0, 0.0, True),
        (News(ended=1), 1, LONGEST - 1, False),
        (News(ended=1), 1, LONGEST, True),
        (News(ended=2, troubled=1), 1, 0.0, True),
        (News(decided=1), 1, 0.0, True),
    ],
)
def test_trouble_does_not_wait(news: News, syncing: int, age: float, due: bool) -> None:
    assert is_due(news, syncing, age) is due


def test_the_job_writes_the_page(fleet: Fleet) -> None:
    fleet.run(fleet.connect(2))
    result = (
        fleet.definitions()
        .resolve_job_def("report")
        .execute_in_process(instance=fleet.instance, raise_on_error=False)
    )
    (event,) = result.asset_materializations_for_node("fleet_report")
    assert event.metadata["integrations"].value == 2
    assert "2 integrations: all is well." in str(event.metadata["report"].value)
