"""`elt-assets events` and its demo: days are loaded, one fails, and everything can be looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from elt_assets.cli.commands.demo.comparison import compare_events
from elt_assets.cli.main import Invocation, run
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.signin_files import signin_truth
from elt_assets_tests.cli.conftest import Ended, Process

LAYOUT = DemoLayout(organizations=2, integrations=3, users=10, signins=8, page_size=20)

Asking = Callable[..., Any]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Process:
    return Process(tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
def demo(installation: Process) -> Ended:
    """The demo of three days, finished."""
    return installation(
        "demo", "events", "--days", "3", "--users", "10", "--signins", "8", "--json"
    )


@pytest.fixture
def ask(
    installation: Process,
    demo: Ended,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Asking:
    """Ask a command in this process, in the demo's installation; its JSON document."""
    assert demo.status == 0, demo
    monkeypatch.setenv("ELT_ASSETS_HOME", str(installation.home))

    def asked(*arguments: str, status: int = 0) -> Any:
        assert run(["events", *arguments], Invocation()) == status
        captured = capsys.readouterr()
        return json.loads(captured.out) if "--json" in arguments else captured

    return asked


def test_the_demo_ends_with_exactly_the_events_of_api_and_files(demo: Ended) -> None:
    assert demo.status == 0, demo
    document = demo.document
    assert document["equal"] is True
    assert document["events"] == len(signin_truth(LAYOUT, _days(document)))
    assert document["dead_letters"] == 3 * 2 * 5
    assert [day["success"] for day in document["days"]] == [True, False, True]
    (failed,) = (day for day in document["days"] if not day["success"])
    assert list(failed["failed"]) == ["api_events"]
    assert failed["skipped"] == [
        *("normalized_api_events", "signin_events", "daily_signin_summary")
    ]
    assert document["missing_before_repair"] > 0
    assert [(day["day"], day["success"]) for day in document["repaired"]] == [(failed["day"], True)]


def test_the_listed_changes_are_the_reported_ones(ask: Asking, demo: Ended) -> None:
    listed = ask("list", "--limit", "0", "--json")
    truth = signin_truth(LAYOUT, _days(demo.document))
    assert compare_events(listed, truth).equal
    day = demo.document["days"][0]["day"]
    of_one = ask("list", "--day", day, "--org", "demo-001", "--limit", "0", "--json")
    assert of_one == [
        row for row in listed if row["event_day"] == day and row["organization_id"] == "demo-001"
    ]
    assert len(ask("list", "--limit", "4", "--json")) == 4
    changed = [{**listed[0], "result": "nobody knows"}, *listed[1:]]
    assert len(compare_events(changed, truth).different) == 1, "the comparison can say no"


def test_the_counts_of_days_and_summaries_agree(ask: Asking) -> None:
    days = {one["day"]: one for one in ask("status", "--json")}
    sums: dict[str, int] = {}
    for row in ask("summary", "--json"):
        sums[row["event_day"]] = sums.get(row["event_day"], 0) + row["events"]
    assert sums == {day: one["events"] for day, one in days.items() if one["events"]}
    text = ask("status").out
    assert all(day in text for day in days)


def test_dead_letters_are_listed_counted_exported_and_expired(ask: Asking, tmp_path: Path) -> None:
    letters = ask("rejected", "list", "--limit", "0", "--json")
    assert sum(row["count"] for row in ask("rejected", "count", "--json")) == len(letters) == 30
    short = [letter for letter in letters if letter["reason"].startswith("has fewer values")]
    assert {Path(letter["file"]).name for letter in short} >= {"demo-001.csv", "demo-002.csv"}
    assert all(letter["line"] > 1 for letter in short)
    target = tmp_path / "letters.parquet"
    assert "30 dead letters are in" in ask("rejected", "export", str(target)).err
    assert pyarrow.parquet.read_metadata(target).num_rows == 30
    day = letters[0]["ingested_day"]
    retried = ask("rejected", "retry", day, "--json")
    assert {one["source"] for one in retried} == {"api", "csv"}
    assert (
        "10 dead letters deleted"
        in ask(
            "rejected", "expire", "--before", str(date.fromisoformat(day) + timedelta(days=1))
        ).err
    )
    assert len(ask("rejected", "list", "--limit", "0", "--json")) == 20


def test_an_invalid_day_is_one_line_of_error(
    ask: Asking, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("load", "--from", "2026-02-02", "--to", "2026-02-01", status=1)
    with pytest.raises(AssertionError):
        ask("status", "--from", "yesterday")
    assert "'yesterday' is not a day: write it as 2026-01-05" in capsys.readouterr().err
    ask("load", "--from", "2001-01-01", "--to", "2001-01-01", status=1)


def test_an_installation_without_events_lists_none(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["events", "status"], Invocation()) == 1
    assert "holds no platform yet" in capsys.readouterr().err


def _days(document: dict[str, Any]) -> list[date]:
    return [date.fromisoformat(day["day"]) for day in document["days"]]
