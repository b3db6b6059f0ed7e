"""Old runs go from Dagster's history with all they left, newer and running ones stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.definitions import own_runs
from elt_assets.orchestration.instance import run_retention
from elt_assets.orchestration.instance.run_retention import delete_old_runs
from elt_assets_tests.testbed.fleet import QUIET, Fleet, opened_fleet


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


def test_nothing_of_an_assets_newest_run_is_left_once_it_is_deleted(fleet: Fleet) -> None:
    run_id = fleet.run(fleet.connect(1)).run_id
    home = Path(fleet.instance.root_directory)
    assert files_with(home, run_id)
    delete_old_runs(fleet.instance, 0, own_runs())
    assert files_with(home, run_id) == []
    assert fleet.instance.get_latest_materialization_event(dg.AssetKey("users_latest")) is None
    later = fleet.run([key.partition_key for key in fleet.refs])
    newest = fleet.instance.get_latest_materialization_event(dg.AssetKey("users_latest"))
    assert newest is not None
    assert newest.run_id == later.run_id


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
    assert delete_old_runs(fleet.instance, 30, own_runs(), dry_run=True).count == 2
    assert fleet.instance.get_runs_count() == 3
    work = delete_old_runs(fleet.instance, 30, own_runs())
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
    assert delete_old_runs(fleet.instance, 30, own_runs()).count == 0
    assert fleet.instance.get_run_by_id(run.run_id)


def foreign_definitions() -> dg.Definitions:
    """Another owner's code in the same instance, with a job that has the name of ours."""

    @dg.asset
    def invoices() -> None: ...

    @dg.op
    def work() -> None: ...

    @dg.job(name="sync")
    def sync() -> None:
        work()

    return dg.Definitions(assets=[invoices], jobs=[sync])


def materialized(instance: dg.DagsterInstance, definitions: dg.Definitions, *keys: str) -> str:
    """The run of assets that were selected in the UI, in the job that all assets share."""
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(key) for key in keys],
        run_config=QUIET,
        raise_on_error=False,
    )
    return result.run_id


def test_runs_of_other_jobs_and_assets_stay_however_old(fleet: Fleet) -> None:
    theirs = foreign_definitions()
    job = theirs.resolve_job_def("sync")
    both = dg.Definitions.merge(fleet.definitions(), dg.Definitions(assets=theirs.assets))
    kept = {
        job.execute_in_process(instance=fleet.instance, run_config=QUIET).run_id,
        materialized(fleet.instance, theirs, "invoices"),
        materialized(fleet.instance, both, "invoices", "fleet_report"),
    }
    gone = {
        fleet.run(fleet.connect(1)).run_id,
        materialized(fleet.instance, fleet.definitions(), "fleet_report"),
    }
    for run_id in kept | gone:
        made_past(fleet, run_id)
    assert delete_old_runs(fleet.instance, 30, own_runs(), dry_run=True).count == len(gone)
    assert delete_old_runs(fleet.instance, 30, own_runs()).count == len(gone)
    assert {run.run_id for run in fleet.instance.get_runs()} == kept
    assert all(fleet.instance.all_logs(run_id) for run_id in kept)
