"""The state of each integration of a run, from the events of the run."""

from __future__ import annotations

from typing import Any

import msgspec

from elt_assets.client.run_descriptions import Run
from elt_assets.client.run_timeline import RunTimeline, Task, left_over
from elt_assets.orchestration.assets.failed_partitions import FAILURE_DETAILS, FailureDetails
from elt_assets.orchestration.assets.live_progress import FAILED_SO_FAR
from elt_assets.orchestration.assets.materializations import REASONS
from elt_assets.orchestration.assets.progress_log import PROGRESS
from elt_assets.orchestration.assets.signin.signin_step import SKIPPED_BY, SKIPPED_ERROR
from elt_assets.orchestration.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from elt_assets.sync.outcome import Certificate, Outcome, Status, SyncProgress

KEYS = ["org:a", "org:b", "org:c", "org:d"]


def timeline(status: str = "FAILURE", first: str = "org:a", last: str = "org:c") -> RunTimeline:
    tags = {RANGE_START_TAG: first, RANGE_END_TAG: last}
    run = Run("run-1", "sync", status, tags, 0.0)
    return RunTimeline(run, run.integrations(KEYS))


def materialized(partition: str, table: str, **facts: int | str) -> dict[str, Any]:
    return {
        "__typename": "MaterializationEvent",
        "partition": partition,
        "assetKey": {"path": [table]},
        "metadataEntries": [
            {"label": label, "intValue" if isinstance(value, int) else "text": value}
            for label, value in facts.items()
        ],
    }


def settled(partition: str, status: str = "applied") -> list[dict[str, Any]]:
    return [
        materialized(partition, "users_staging", fetched=12, staged=10, rejected=2, batches=3),
        materialized(
            partition, "users_latest", status=status, sync_id="monday", inserted=10, latest=10
        ),
    ]


def failed(partition: str) -> dict[str, Any]:
    details = FailureDetails(partition, "monday", "page 1: 401", retryable=False)
    return {
        "__typename": "ObservationEvent",
        "partition": partition,
        "assetKey": {"path": ["users_latest"]},
        "metadataEntries": [
            {"label": "status"},
            {"label": FAILURE_DETAILS, "jsonString": msgspec.json.encode(details).decode()},
        ],
    }


def test_a_range_is_the_keys_between_its_ends() -> None:
    assert timeline().partitions == ["org:a", "org:b", "org:c"]
    assert timeline(last="org:gone").partitions == []


def test_the_events_of_two_tables_are_one_outcome() -> None:
    told = timeline()
    *_, outcome = told.read(settled("org:a"))
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.sync_id) == (Status.APPLIED, "monday")
    counts = outcome.counts
    assert (counts.staged, counts.rejected, counts.inserts, counts.latest) == (10, 2, 10, 10)
    assert told.unsettled == [("sync", "org:b"), ("sync", "org:c")]


def test_an_outcome_has_its_incomplete_listing_and_its_withheld_changes() -> None:
    why = "3 keys came on more than one page"
    told = timeline()
    *_, outcome = told.read(
        [
            materialized("org:a", "users_staging", complete=0, why_incomplete=why, requests=4),
            materialized(
                "org:a",
                "users_latest",
                status="quarantined",
                sync_id="monday",
                withheld_deletes=1,
                withheld_updates=2,
                withheld_inserts=3,
                pending=4,
                kept=5,
            ),
        ]
    )
    assert isinstance(outcome, Outcome)
    assert outcome.certificate == Certificate(complete=False, reasons=(why,))
    counts = outcome.counts
    assert (counts.withheld, counts.pending_deletes, counts.kept_rows) == (6, 4, 5)
    assert counts.requests == 4


def test_the_reasons_of_withheld_changes_are_read_as_they_are() -> None:
    reasons = ["8 of 8 would be deleted (half of 10 or fewer)", "12 *new* keys"]
    changes = materialized("org:a", "users_cdc")
    changes["metadataEntries"].append(
        {"label": REASONS, "jsonString": msgspec.json.encode(reasons).decode()}
    )
    told = timeline()
    *_, outcome = told.read([changes, *settled("org:a", "quarantined")])
    assert isinstance(outcome, Outcome)
    assert outcome.reasons == tuple(reasons)


def test_an_outcome_says_that_its_listing_is_complete() -> None:
    told = timeline()
    *_, outcome = told.read([materialized("org:a", "users_staging", complete=1), *settled("org:a")])
    assert isinstance(outcome, Outcome)
    assert outcome.certificate.complete


def progressed(message: str, progress: object) -> dict[str, Any]:
    entry = {"label": PROGRESS, "jsonString": msgspec.json.encode(progress).decode()}
    return {"__typename": "EngineEvent", "message": message, "metadataEntries": [entry]}


def test_progress_is_read_from_the_metadata_of_its_event() -> None:
    progress = [SyncProgress("org:b", "extract", 2, 200)]
    other = {"__typename": "EngineEvent", "message": "hello", "metadataEntries": []}
    assert timeline().read([progressed("under way: …", progress), other]) == progress


def test_what_is_under_way_and_has_failed_so_far_is_the_newest_report() -> None:
    told = timeline("STARTED")
    first = progressed(
        "…", [SyncProgress("org:a", "fetch", 0, 0), SyncProgress("org:b", "open", 0, 0)]
    )
    second = progressed("…", [SyncProgress("org:b", "extract", 2, 200, pages=2, total=400)])
    failed_so_far = [{"partition": "org:c", "error": "page 1: 401"}]
    second["metadataEntries"].append(
        {"label": FAILED_SO_FAR, "jsonString": msgspec.json.encode(failed_so_far).decode()}
    )
    told.read([first])
    assert list(told.going) == ["org:a", "org:b"]
    line, progress = told.read([second])
    assert line == "org:c has failed so far: page 1: 401"
    assert str(progress) == "org:b extract: 2 pages, 2 batches, 200 of 400 records (50%)"
    assert list(told.going) == ["org:b"]
    assert told.failed_so_far == {"org:c": "page 1: 401"}
    assert told.read([second]) == [progress], "a failure is news once"
    told.read([*settled("org:b"), failed("org:c")])
    assert (told.going, told.failed_so_far) == ({}, {})


def test_a_failed_integration_has_its_failure_details() -> None:
    told = timeline()
    (outcome,) = told.read([failed("org:b")])
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.stream) == (Status.FAILED, "users")
    assert told.failures[Task("sync", "org:b")].error == "page 1: 401"


def test_integrations_that_no_run_of_the_sync_settled_are_left_over() -> None:
    first, second = timeline(), timeline(status="SUCCESS", first="org:b", last="org:b")
    first.read([*settled("org:a"), failed("org:b")])
    assert left_over([first]) == {"sync": ["org:b", "org:c"]}
    second.read(settled("org:b"))
    assert left_over([first, second]) == {"sync": ["org:c"]}


def test_an_integration_that_a_successful_run_skipped_is_not_left_over() -> None:
    told = timeline(status="SUCCESS")
    told.read(settled("org:a"))
    assert left_over([told]) == {}


def of_a_day(status: str, day: str = "2026-03-02") -> RunTimeline:
    run = Run("run-1", "load_signin_events", status, {PARTITION_TAG: day}, 0.0)
    return RunTimeline(run, run.integrations([]))


def skipped(asset: str, cause: str, error: str) -> dict[str, Any]:
    return {
        "__typename": "ObservationEvent",
        "partition": "2026-03-02",
        "assetKey": {"path": [asset]},
        "metadataEntries": [
            {"label": SKIPPED_BY, "text": cause},
            {"label": SKIPPED_ERROR, "text": error},
        ],
    }


def step_failed(asset: str, description: str | None = None) -> dict[str, Any]:
    return {
        "__typename": "ExecutionStepFailureEvent",
        "stepKey": asset,
        "error": {"message": "dagster.Failure"},
        "failureMetadata": description and {"description": description},
    }


def summed_up(day: str) -> dict[str, Any]:
    return materialized(day, "daily_signin_summary", **{"dagster/row_count": 3})


def test_a_day_of_sign_ins_shows_its_progress_results_and_skipped_assets() -> None:
    told = of_a_day("FAILURE")
    failure = (
        "api_events of 2026-03-02 failed: 403; skipped because of it: normalized, signin_events"
    )
    lines = told.read(
        [
            progressed("under way: a.csv: 5 rows, 1 a second", [{"what": "a.csv"}]),
            materialized("2026-03-02", "csv_events", **{"dagster/row_count": 1200}),
            skipped("normalized", "api_events", "403"),
            skipped("signin_events", "api_events", "403"),
            step_failed("api_events", "403"),
            materialized("2026-03-01", "signin_events"),
            {"__typename": "RunFailureEvent", "error": {"message": "1 step failed"}},
        ]
    )
    assert lines == [
        "under way: a.csv: 5 rows, 1 a second",
        "2026-03-02 csv_events: 1,200 rows",
        failure,
        "2026-03-01 signin_events: reopened by late events",
    ]
    assert told.complaint == failure
    assert left_over([told]) == {"load_signin_events": ["2026-03-02"]}


def test_a_failure_that_skips_nothing_has_the_description_of_its_step() -> None:
    told = of_a_day("FAILURE")
    told.read([step_failed("daily_signin_summary", "the file is locked")])
    assert told.complaint == (
        "daily_signin_summary of 2026-03-02 failed: the file is locked; "
        "skipped because of it: nothing"
    )


def test_a_day_is_settled_by_its_own_summary_in_any_run() -> None:
    failed, again = of_a_day("FAILURE"), of_a_day("SUCCESS")
    neighbour = of_a_day("SUCCESS", "2026-03-03")
    neighbour.read([summed_up("2026-03-02"), summed_up("2026-03-03")])
    assert left_over([failed, neighbour]) == {"load_signin_events": ["2026-03-02"]}
    again.read([summed_up("2026-03-02")])
    assert left_over([failed, neighbour, again]) == {}
