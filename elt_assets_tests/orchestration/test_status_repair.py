"""After a restore the web UI shows what the ledger knows."""

from __future__ import annotations

import json
from collections.abc import Iterator

import dagster as dg
import pytest

from elt_assets.cli.main import Invocation, run
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import USERS
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """One integration is up to date, one quarantined, one failing, one new; all runs are gone."""
    with opened_fleet(monkeypatch) as fleet:
        keys = fleet.connect(4)
        fleet.run(keys[:3])
        fleet.directory.people["dir-01"] = []
        fleet.directory.failures["dir-02"].extend([403])
        fleet.run(keys[:3])
        for one in fleet.instance.get_runs():
            fleet.instance.delete_run(one.run_id)
        for stage in Stage:
            fleet.instance.wipe_assets([asset_key(USERS, stage)])
        assert fleet.status(Stage.LATEST) == {}
        yield fleet


def test_partitions_get_their_status_back_once(
    restored: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["repair-status", "--json"], Invocation()) == 0
    repaired = {"users_staging": 3, "users_cdc": 3, "users_latest": 3}
    assert json.loads(capsys.readouterr().out) == {"repaired": repaired}
    for stage in Stage:
        assert restored.status(stage) == dict.fromkeys(restored.keys[:3], "MATERIALIZED")
    assert run(["repair-status", "--json"], Invocation()) == 0
    assert json.loads(capsys.readouterr().out) == {"repaired": {}}


def test_a_quarantine_and_a_failure_are_shown_again(restored: Fleet) -> None:
    assert run(["repair-status"], Invocation()) == 0
    latest = asset_key(USERS, Stage.LATEST)
    marked = {
        record.asset_materialization.partition
        for record in restored.instance.fetch_materializations(latest, limit=10).records
        if record.asset_materialization and "quarantine" in record.asset_materialization.metadata
    }
    assert marked == {restored.keys[1]}
    (observed,) = restored.instance.fetch_observations(latest, limit=10).records
    assert observed.event_log_entry.dagster_event
    failure = observed.event_log_entry.dagster_event.asset_observation_data.asset_observation
    assert isinstance(failure, dg.AssetObservation)
    assert failure.partition == restored.keys[2]
    assert "403" in (failure.description or "")
