"""Workers die at every commit and in between, and nothing tells afterwards that they did."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elt_assets_tests.campaign.crash.campaign import (
    CUT,
    TORN,
    CrashCampaign,
    crash_campaign,
    missing_boundaries,
)
from elt_assets_tests.campaign.histories import Day, Expectation, Step, history


@pytest.mark.campaign(300)
def test_three_hundred_deaths_at_every_boundary_leave_no_trace(
    tmp_path: Path, printed: Callable[[str], None]
) -> None:
    figures = crash_campaign(tmp_path, kills=300, power_losses=20)
    printed("\n".join(figures.lines()))
    assert figures.violations == []
    assert figures.seen["workers killed"] >= 300
    assert missing_boundaries(figures) == []
    assert figures.fired[CUT] > 0
    assert figures.fired[TORN] > 0


def test_a_worker_dies_where_it_is_told_to(tmp_path: Path) -> None:
    campaign, lived = CrashCampaign(tmp_path), history(1, plain=True)
    home, step = tmp_path / "home", lived.steps[0]
    assert campaign._dies(home, lived, step, 0) == -signal.SIGKILL
    assert campaign._dies(home, lived, step, 9, "segmentation fault") == -signal.SIGSEGV
    assert campaign._dies(home, lived, step, 9, "SIGTERM") == 128 + signal.SIGTERM
    assert campaign._dies(home, lived, step, 10_000) == 0


def test_the_dictionary_knows_what_a_second_look_and_an_approval_do() -> None:
    """The expectation is the judge of everything here; it is judged by hand."""
    lived = history(1, plain=True)
    expectation = Expectation(lived)
    expectation.take(Step("sync", 0, "day-0"))
    people = set(expectation.users)
    assert people == lived.days[0].alive
    expectation.take(Step("sync", 1, "day-1"))
    assert set(expectation.users) == lived.days[1].alive
    expectation.take(Step("undo", 1, "day-1"))
    assert set(expectation.users) == people


def test_the_dictionary_knows_what_changes_tombstones_and_mapping_again_do() -> None:
    ann, bob, eve = (record(key, day=0) for key in ("ann", "bob", "eve"))
    left = bob | {"status": "DELETED", "updated": "2026-01-02T00:00:00Z"}
    new = record("zoe", day=1) | {"email": ["z@example.com"]}
    lived = replace(
        history(1, plain=True),
        days=(Day((ann, bob, eve), frozenset()), Day((left, new), frozenset())),
        changes=True,
    )
    expectation = Expectation(lived)
    expectation.take(Step("sync", 0, "first"))
    assert expectation.users.keys() == {"ann", "bob", "eve"}
    expectation.take(Step("sync", 1, "changes"))
    assert expectation.users.keys() == {"ann", "eve"}, "absence says nothing, a tombstone does"
    assert expectation.take(Step("retry", 1, "changes"))
    assert expectation.users["zoe"]["email"] == "z@example.com"
    expectation.take(Step("sync", 1, "everybody", full=True))
    assert expectation.users.keys() == {"ann", "eve", "zoe"}, "nobody usable was listed"
    assert expectation.withheld.keys() == {"ann", "eve"}


def record(key: str, day: int) -> dict[str, Any]:
    return {
        "id": key,
        "name": key,
        "email": None,
        "status": "ACTIVE",
        "updated": f"2026-01-{day + 1:02}T00:00:00Z",
        "tenant": "t",
    }
