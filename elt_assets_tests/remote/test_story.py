"""The events of a run tell where each of its integrations is."""

from __future__ import annotations

from typing import Any

import msgspec

from elt_assets.assets.failed_integrations import TROUBLE, Trouble
from elt_assets.assets.progress_log import as_text
from elt_assets.partitions import RANGE_END_TAG, RANGE_START_TAG
from elt_assets.remote.server import Run
from elt_assets.remote.story import Story, left_over
from elt_assets.sync.outcome import Outcome, Progress, Status

KEYS = ["org:a", "org:b", "org:c", "org:d"]


def story(status: str = "FAILURE", first: str = "org:a", last: str = "org:c") -> Story:
    tags = {RANGE_START_TAG: first, RANGE_END_TAG: last}
    run = Run("run-1", "sync", status, tags, 0.0)
    return Story(run, run.integrations(KEYS))


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
    trouble = Trouble(partition, "monday", "page 1: 401", retryable=False)
    return {
        "__typename": "ObservationEvent",
        "partition": partition,
        "assetKey": {"path": ["users_latest"]},
        "metadataEntries": [
            {"label": "status"},
            {"label": TROUBLE, "jsonString": msgspec.json.encode(trouble).decode()},
        ],
    }


def test_a_range_is_the_keys_between_its_ends() -> None:
    assert story().integrations == ["org:a", "org:b", "org:c"]
    assert story(last="org:gone").integrations == []


def test_what_two_tables_say_is_one_outcome() -> None:
    told = story()
    *_, outcome = told.hear(settled("org:a"))
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.sync_id) == (Status.APPLIED, "monday")
    counts = outcome.counts
    assert (counts.staged, counts.rejected, counts.inserts, counts.latest) == (10, 2, 10, 10)
    assert told.unsettled == ["org:b", "org:c"]


def test_progress_is_read_out_of_the_log() -> None:
    under_way = [Progress("org:b", "extract", 2, 200)]
    event = {"__typename": "LogMessageEvent", "message": as_text(under_way)}
    assert story().hear([event, {"__typename": "LogMessageEvent", "message": "hello"}]) == under_way


def test_a_failed_integration_brings_its_trouble_along() -> None:
    told = story()
    (outcome,) = told.hear([failed("org:b")])
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.stream) == (Status.FAILED, "users")
    assert told.troubles["org:b"].error == "page 1: 401"


def test_left_over_is_what_no_run_of_the_sync_has_settled() -> None:
    first, second = story(), story(status="SUCCESS", first="org:b", last="org:b")
    first.hear([*settled("org:a"), failed("org:b")])
    assert left_over([first]) == {"sync": ["org:b", "org:c"]}
    second.hear(settled("org:b"))
    assert left_over([first, second]) == {"sync": ["org:c"]}


def test_what_a_successful_run_left_out_is_disabled_and_not_left_over() -> None:
    told = story(status="SUCCESS")
    told.hear(settled("org:a"))
    assert left_over([told]) == {}
