"""The benchmark of event files, at a size that says nothing about speed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.events.contenders import write_file
from benchmarks.events.measure import Plan, measure, rate_share
from benchmarks.events.neighbours import Neighbours, busy_seconds
from benchmarks.events.report import table
from elt_assets.config.settings import load_settings
from elt_assets.connectors.files.folder import Folder


def runs(*seconds: float) -> list[dict[str, dict[str, float]]]:
    """Answers of a contender that took so long."""
    return [{"seconds": {"loaded": one}} for one in seconds]


def test_our_share_of_the_rate_is_that_of_the_fastest_runs_and_one_within_repetitions() -> None:
    answers = {
        # A slow minute hit everybody in the last repetition, and us alone in the second.
        "elt_assets": runs(10.0, 25.0, 20.0),
        "duckdb_alone": runs(9.0, 10.0, 18.0),
        "duckdb_copy": runs(8.0, 11.0, 19.0),
        "duckdb_held": runs(1.0, 1.0, 1.0),
    }
    assert rate_share(answers, "seconds") == {
        "fastest": 0.8,
        "duckdb_alone": 0.9,
        "duckdb_copy": 0.8,
        "paired": 0.8,
    }


def test_the_file_that_is_measured_has_stood_still_so_that_nobody_waits_for_its_writer(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.csv"
    assert write_file(0.001, path) > 5_000
    folder = Folder(tmp_path, settle_seconds=load_settings(home=tmp_path).events_settle_seconds)
    assert folder.settled(folder.matching("*.csv"), time.time())


def test_processors_are_busy_with_everything_but_waiting_and_guests_count_once() -> None:
    # user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice
    stat = "cpu  100 10 50 9000 700 5 5 30 60 4\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert busy_seconds(stat, 100) == 2.0


def test_what_others_take_of_the_processors_is_a_share_or_unknown() -> None:
    share = Neighbours().share()
    assert share is None or 0 <= share <= 1


@pytest.mark.campaign  # seven processes, each of which imports the platform
def test_every_contender_loads_every_event_and_the_results_say_so() -> None:
    told: list[str] = []
    document = measure(Plan(gigabytes=0.001, repeat=1, through=True), told.append)
    assert len(told) == 5
    rows = document["file"]["rows"]
    assert rows > 5_000
    for figure in document["contenders"].values():
        assert figure["peak_mib"] > 0
        assert len(figure["seconds"]["runs"]) == len(figure["others"]) == 1
    assert document["through"]["rows"] == rows
    assert set(document["through"]["seconds"]) == {
        "loaded",
        "normalized",
        "deduplicated",
        "summarized",
    }
    assert document["through"]["peaks"].keys() == document["through"]["seconds"].keys()
    text = table(document)
    assert "Our rate by the clock is" in text
    assert "Our rate by CPU time is" in text
    assert "All the way to the summary" in text
