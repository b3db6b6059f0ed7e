"""What a run says about itself while it works."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import dagster as dg
import pytest

from elt_assets.orchestration.assets import live_progress
from elt_assets.orchestration.assets.live_progress import (
    EVERY,
    FIRST,
    IDLE,
    LiveProgress,
    RunProgress,
)
from elt_assets.sync.outcome import Outcome, Status, SyncProgress
from elt_assets_tests.cli.conftest import wait_for
from elt_assets_tests.testbed.fleet import Fleet

SLOW = SyncProgress("org:slow", "open", 0, 0)
OTHER = SyncProgress("org:other", "extract", 2, 200)
BROKEN = Outcome("org:broken", "users", "s", Status.FAILED, error="org:broken: page 1: 401")


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def failing() -> Generator[Outcome]:
    yield BROKEN


def test_what_is_under_way_is_named_longest_first_with_what_has_failed() -> None:
    clock, reported = Clock(), list[RunProgress]()
    log = LiveProgress(reported.append, clock)
    log.heard(SLOW)
    clock.now = FIRST
    log.heard(OTHER)
    log.heard(SyncProgress("org:broken", "open", 0, 0))
    list(log.followed(failing()))
    log.write()
    assert str(reported[0]) == (
        "under way: org:slow open: 0 batches, 0 records, 5 s; "
        "org:other extract: 2 batches, 200 records; ended: 1; "
        "failed so far: org:broken: page 1: 401"
    )


def test_reports_are_few_and_fewer_while_nothing_advances() -> None:
    clock, reported = Clock(), list[RunProgress]()
    log = LiveProgress(reported.append, clock)
    log.heard(SLOW)
    times = []
    for second in range(int(2 * EVERY + FIRST + IDLE) + 1):
        clock.now = float(second)
        if second == FIRST + 1:
            log.heard(OTHER)
        before = len(reported)
        log.write()
        times += [second] * (len(reported) - before)
    assert times == [FIRST, FIRST + EVERY, FIRST + EVERY + IDLE]


def test_nothing_is_reported_once_nothing_is_under_way() -> None:
    clock, reported = Clock(), list[RunProgress]()
    log = LiveProgress(reported.append, clock)
    log.heard(SyncProgress("org:broken", "open", 0, 0))
    list(log.followed(failing()))
    clock.now = 100.0
    log.write()
    assert reported == []


class Held(list[dict[str, Any]]):
    """People whose page is not served before the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def __getitem__(self, place: Any) -> Any:
        self.released.wait()
        return super().__getitem__(place)


def test_the_log_of_a_run_names_an_integration_whose_provider_is_silent(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_progress, "FIRST", 0.0)
    monkeypatch.setattr(live_progress, "EVERY", 0.0)
    keys = fleet.connect(2)
    fleet.directory.failures["dir-01"].extend([403])
    held = fleet.directory.people["dir-00"] = Held()

    def said() -> list[str]:
        return [
            entry.dagster_event.message or ""
            for run in fleet.instance.get_runs()
            for entry in fleet.instance.all_logs(
                run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT
            )
            if entry.dagster_event
        ]

    def release() -> None:
        wait_for(lambda: any("403" in line for line in said()))
        held.released.set()

    waiting = threading.Thread(target=release)
    waiting.start()
    fleet.run(keys)
    waiting.join()
    (line, *_) = [line for line in said() if "403" in line]
    assert line.startswith(f"under way: {keys[0]} fetch: 0 batches, 0 records")
    assert f"failed so far: {keys[1]}: page 1: " in line
