"""Steps on sign-in events: bounded in time, and what follows from which."""

from __future__ import annotations

import threading

import duckdb
import pytest

from elt_assets.errors import Stopped
from elt_assets.orchestration.assets.progress_log import ProgressLog
from elt_assets.orchestration.assets.signin.signin_guard import FEWEST, MOST_REJECTED, guarded
from elt_assets.orchestration.assets.signin.signin_metadata import of_finding
from elt_assets.orchestration.assets.signin.signin_specs import EVENT_ASSETS, following
from elt_assets.orchestration.assets.signin.signin_step import as_text, bounded
from elt_assets.orchestration.day_partitions import FIRST_DAY
from elt_assets.orchestration.markdown import named
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.results import (
    CheckResult,
    EventListener,
    EventProgress,
    EventSource,
    Normalized,
)


def quiet() -> ProgressLog[EventProgress]:
    return ProgressLog(lambda _: None, lambda one: one.what)


def test_a_step_in_time_gives_its_result() -> None:
    assert bounded("load", 60, lambda *_: 7, quiet()) == 7


def test_a_query_that_takes_too_long_is_interrupted_in_the_middle() -> None:
    """Left alone it would take a day."""

    def endless(stop: Interruption, _: EventListener) -> None:
        with duckdb.connect() as connection, stop.reaching(connection.interrupt):
            connection.execute(
                "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
            )

    with pytest.raises(Stopped, match=r"signin_events was interrupted after 0\.2 s"):
        bounded("signin_events", 0.2, endless, quiet())


def test_a_person_who_ends_the_run_ends_the_work_too() -> None:
    class Ended(BaseException):
        """As Dagster raises when a run is terminated."""

    ended: list[bool] = []

    def write(_: object) -> None:
        raise Ended

    def patient(stop: Interruption, heard: EventListener) -> None:
        heard(EventProgress("load", "2026-01-05", rows=1, rate=1.0))
        waiting = threading.Event()
        with stop.reaching(waiting.set):
            waiting.wait()
        ended.append(stop.requested)

    with pytest.raises(Ended):
        bounded("load", 60, patient, ProgressLog(write, lambda one: one.what, every=0))
    assert ended == [True]


def test_an_error_of_the_work_is_the_steps_error() -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bounded("load", 60, broken, quiet())


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (
            EventProgress("s", "a.csv", 1000, rate=100.0, share=0.2, seconds_left=40),
            "a.csv: 1,000 rows, 20%, 100 a second, 40 s left",
        ),
        (EventProgress("s", "b.csv", 3, rate=2.0), "b.csv: 3 rows, 2 a second"),
    ],
)
def test_progress_has_rows_and_rate_and_where_known_share_and_time_left(
    progress: EventProgress, text: str
) -> None:
    assert as_text(progress) == text


def test_the_dependents_of_a_source_are_its_branch_and_the_common_assets() -> None:
    assert [asset.name for asset in following("api_events")] == [
        *("normalized_api_events", "signin_events", "daily_signin_summary")
    ]
    assert [asset.name for asset in following("daily_signin_summary")] == []
    assert len(EVENT_ASSETS) == 6


def test_a_day_of_dead_letters_is_not_loaded() -> None:
    def of(read: int, rejected: int) -> CheckResult:
        return guarded(
            Normalized(EventSource.API, FIRST_DAY, "v2", read, read - rejected, rejected)
        )

    assert of(0, 0).passed
    assert of(100, round(100 * MOST_REJECTED)).passed
    assert of(FEWEST - 1, FEWEST - 1).passed, "one file of a stranger's is no reason to"
    held = of(100, round(100 * MOST_REJECTED) + 1)
    assert not held.passed
    assert "51 of 100 records are dead letters" in held.message


def test_only_a_failed_finding_has_a_sample_with_the_reason_first() -> None:
    assert of_finding(CheckResult("gaps", True, "fine"))["sample"].value == "none"
    found = CheckResult("gaps", False, "1 day is missing", 1, ({"day": "2026-01-05", "events": 0},))
    assert of_finding(found)["offending"] == 1
    assert of_finding(found)["sample"].value == ("- 1 day is missing\n- day=2026-01-05, events=0")


def test_an_error_names_its_subject_once() -> None:
    assert named("a:b", "a:b: 403") == "a:b: 403"
    assert named("a:b", "403") == "a:b: 403"
    assert named("a.csv", None) == "a.csv: failed without a reason"
