"""The maintenance job and command do the work of stores and run history together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets_tests.cli.conftest import Command
from elt_assets_tests.testbed.fleet import QUIET, Fleet, opened_fleet, person

WORKS = {
    "fetched records of old extractions",
    "dead letters of old extractions",
    "changes older than the log is kept",
    "past syncs in the ledger",
    "warehouse files rewritten",
    "dropped files archived",
    "entries of the change feed that are kept no longer",
    "operational database rewritten",
    "fetched records of sign-in events",
    "normalized records of sign-in events",
    "dead letters of sign-in events",
    "file of sign-in events rewritten",
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


@pytest.fixture
def elt_assets(own_home: Path) -> Command:
    return Command(own_home.parent, {"ELT_ASSETS_HOME": str(own_home)})


def test_a_dry_run_reports_what_the_job_then_does(fleet: Fleet, elt_assets: Command) -> None:
    told = elt_assets("maintain", "--dry-run", "--json").document
    counts = {work["what"]: work["count"] for work in told["works"]}
    assert (told["dry_run"], told["left"], set(counts)) == (True, [], WORKS)
    assert counts["fetched records of old extractions"] == 2 * 3
    result = (
        fleet.definitions()
        .resolve_job_def("maintenance")
        .execute_in_process(instance=fleet.instance, run_config=QUIET)
    )
    assert result.success
    done = elt_assets("maintain")
    assert done.status == 0, done
    assert {line.split("  ")[0] for line in done.out.splitlines()[1:]} == WORKS
    records = next(line for line in done.out.splitlines() if line.startswith("fetched"))
    assert records.split()[-2:] == ["0", "-"]


def test_without_a_platform_the_command_fails(elt_assets: Command) -> None:
    assert "holds no platform yet" in elt_assets("maintain").complaint
