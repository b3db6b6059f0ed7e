"""The page shows what the state says, with pictures, and nothing of it can break its tables."""

from __future__ import annotations

import base64
import re

import dagster as dg

from elt_assets.orchestration.assets.fleet_report import page
from elt_assets.sync.admin.fleet_state import Cause, DayOfChanges, FleetState, Ranked
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


def test_the_report_is_made_after_syncs_have_settled_and_only_then(fleet: Fleet) -> None:
    repository = fleet.definitions().get_repository_def()
    sensor = repository.get_sensor_def("report_sensor")

    def tick(cursor: str | None = None) -> tuple[list[dg.RunRequest], str | None]:
        with dg.build_sensor_context(
            instance=fleet.instance, cursor=cursor, resources={"platform": fleet.platform}
        ) as context:
            found = sensor.evaluate_tick(context)
        return list(found.run_requests or []), found.cursor

    assert tick() == ([], None), "nothing has been synced"
    fleet.run(fleet.connect(2))
    under_way = fleet.instance.create_run_for_job(
        fleet.definitions().resolve_job_def("sync"), status=dg.DagsterRunStatus.STARTED
    )
    assert tick()[0] == [], "a run is under way"
    fleet.instance.delete_run(under_way.run_id)
    requests, cursor = tick()
    assert len(requests) == 1
    assert tick(cursor)[0] == [], "nothing has settled since"


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
