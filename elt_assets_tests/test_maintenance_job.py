"""The maintenance job and command do the work of stores and run history together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from elt_assets_tests.fleet import QUIET, Fleet, opened_fleet, person

WORKS = {
    "fetched records of old extractions",
    "dead letters of old extractions",
    "changes older than the log is kept",
    "past syncs in the ledger",
    "warehouse files rewritten",
    "dropped files archived",
    "operational database rewritten",
    "runs of Dagster",
}


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """One integration, synced five times with changes; the records of two syncs are too many."""
    with opened_fleet(monkeypatch) as opened:
        keys = opened.connect(1)
        for number in range(5):
            opened.directory.people["dir-00"][0] = person(0, name=f"Person {number} by now")
            opened.run(keys)
        yield opened


def maintain(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "elt_assets", "maintain", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_tells_what_it_would_do_and_the_job_does_it(fleet: Fleet) -> None:
    told = json.loads(maintain("--dry-run", "--json").stdout)
    counts = {work["what"]: work["count"] for work in told["works"]}
    assert (told["dry_run"], told["left"], set(counts)) == (True, [], WORKS)
    assert counts["fetched records of old extractions"] == 2 * 3
    result = (
        fleet.definitions()
        .resolve_job_def("maintenance")
        .execute_in_process(instance=fleet.instance, run_config=QUIET)
    )
    assert result.success
    done = maintain()
    assert done.returncode == 0, done.stderr
    assert {line.split("  ")[0] for line in done.stdout.splitlines()[1:]} == WORKS
    records = next(line for line in done.stdout.splitlines() if line.startswith("fetched"))
    assert records.split()[-2:] == ["0", "-"]


def test_where_no_platform_is_the_command_says_so() -> None:
    asked = maintain()
    assert asked.returncode == 1
    assert "holds no platform yet" in asked.stderr
