"""A night on duty in the web UI alone: six faults are found, one is decided, all ends green."""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.browser.night import (
    IN_THE_REPORT,
    LEAVERS,
    REVOKED,
    SLOW,
    TROUBLED,
    night,
)
from elt_assets_tests.browser.screen import Screen, chromium, screen

HEALTHY = 6
MOST_CLICKS = 3
pytestmark = [
    pytest.mark.browser,
    pytest.mark.campaign(140),  # a server, a daemon, a browser and three runs
    pytest.mark.skipif(
        chromium() is None, reason="chromium is not installed (.ci/install-servers)"
    ),
]


def decide(duty: Screen, ref: IntegrationRef, person: str) -> None:
    """Approve what waits, by the link on the partition's page."""
    duty.click(duty.fleet_report().get_by_role("link", name=str(ref)).first)
    duty.text("19 deletes wait for a decision").wait_for()
    duty.click(duty.page.get_by_text("Open it in the launchpad"))
    duty.click(duty.page.locator(".CodeMirror-line").filter(has_text="decided_by"))
    duty.page.keyboard.press("End")
    duty.page.keyboard.press("ArrowLeft")
    duty.page.keyboard.type(person)
    duty.click(duty.button("Launch Run"))
    duty.page.get_by_text("Success", exact=True).first.wait_for()


def test_a_night_on_duty_in_the_browser_alone(tmp_path: Path) -> None:
    with night(tmp_path, HEALTHY) as tonight, screen(tonight.url) as duty:
        tonight.plant()
        duty.materialize_everything()

        # While it works, the run names what is slow and what has failed.
        duty.run_in_progress()
        clicks = {SLOW: duty.clicks}
        run_page = duty.page.url
        duty.text(f"under way: {SLOW} ").wait_for()
        duty.text("of 10,000 records").wait_for()
        duty.text(f"{REVOKED}: page 1: ").wait_for()
        for ref, words in IN_THE_REPORT.items():
            duty.report_saying(ref, words)
            clicks[ref] = duty.clicks
        assert set(clicks) == set(TROUBLED)
        assert {ref: count for ref, count in clicks.items() if count > MOST_CLICKS} == {}

        duty.run_in_progress()
        duty.click(duty.button("Terminate"))
        duty.click(duty.page.get_by_role("dialog").get_by_role("button", name="Terminate 1 run"))
        duty.page.get_by_text("Canceled", exact=True).first.wait_for()

        decide(duty, LEAVERS, "Ada on duty")
        with SyncService.open(tonight.settings) as platform:
            (decided,) = (row for row in platform.syncs(LEAVERS) if row.decision)
            assert decided.decided_by == "Ada on duty"
            assert len(platform.records(USERS, LEAVERS)) == 21

        tonight.mend()
        duty.page.goto(run_page)
        duty.click(duty.button("Re-execute all").locator("xpath=following::button[1]"))
        duty.click(duty.page.get_by_text("From failure", exact=True))
        duty.click(duty.button("Confirm"))  # that the backfill stays as it ended
        duty.page.get_by_text("Success", exact=True).first.wait_for()

        duty.page.goto(f"{duty.url}/assets/users_latest?view=partitions")
        everything = len(TROUBLED) + HEALTHY
        duty.page.get_by_text(f"Materialized ({everything})").wait_for()
        duty.page.get_by_text("Failed (0)").wait_for()
