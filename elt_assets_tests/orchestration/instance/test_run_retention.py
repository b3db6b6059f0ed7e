"""Old runs go from Dagster's history with all they left, newer and running ones stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.orchestration.instance import run_retention
from elt_assets.orchestration.instance.run_retention import delete_old_runs
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as opened:
        yield opened


def files_with(folder: Path, text: str) -> list[str]:
    """Files whose name or content has `text`."""
    return [
        path.name
        for path in folder.rglob("*")
        if text in path.name or (path.is_file() and text.encode() in path.read_bytes())
    ]


def made_past(fleet: Fleet, run_id: str) -> None:
    """Let the run have been created a hundred days ago."""
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=100)
    with fleet.instance.run_storage.connect() as connection:
        connection.exec_driver_sql(
            "UPDATE runs SET create_timestamp = ? WHERE run_id = ?", (str(long_ago), run_id)
        )


def test_old_runs_are_deleted_with_their_files_and_newer_ones_stay(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_retention, "BATCH", 1)
    keys = fleet.connect(1)
    old = [fleet.run(keys).run_id for _ in range(2)]
    new = fleet.run(keys).run_id
    output = Path(fleet.instance.storage_directory()) / old[0] / "compute_logs"
    output.mkdir(parents=True)
    (output / "step.err").write_text("a line")
    for run_id in old:
        made_past(fleet, run_id)
    assert delete_old_runs(fleet.instance, 30, dry_run=True).count == 2
    assert fleet.instance.get_runs_count() == 3
    work = delete_old_runs(fleet.instance, 30)
    assert (work.count, [run.run_id for run in fleet.instance.get_runs()]) == (2, [new])
    assert (work.freed_bytes or 0) > 0
    home = Path(fleet.instance.root_directory)
    assert [files_with(home, run_id) for run_id in old] == [[], []]
    assert files_with(home, new)
    assert fleet.events(new)


def test_a_run_that_has_not_ended_stays_however_old(fleet: Fleet) -> None:
    job = fleet.definitions().resolve_job_def("maintenance")
    run = fleet.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    made_past(fleet, run.run_id)
    assert delete_old_runs(fleet.instance, 30).count == 0
    assert fleet.instance.get_run_by_id(run.run_id)
