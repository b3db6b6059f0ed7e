"""The assembled graph: that it loads, and what a user of Dagster relies on."""

from __future__ import annotations

import dagster as dg
import pytest

from elt_assets import definitions
from elt_assets.config.settings import Settings
from elt_assets.definitions import build_defs, own_runs
from elt_assets.orchestration.assets.signin.signin_specs import EVENT_ASSETS
from elt_assets.orchestration.assets.stream_assets import TRANSIENT
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.names import EVENT_TABLES, job_name
from elt_assets.orchestration.placement import INSTALLATION_TAG, STANDALONE
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import STREAMS, USERS, Stream

defs = build_defs()


def stand_alone() -> dg.Definitions:
    """What `workspace.yaml` loads."""
    found = definitions.defs()
    assert isinstance(found, dg.Definitions)
    return found


@pytest.fixture(scope="module")
def graph() -> dg.AssetGraph:
    return defs.resolve_asset_graph()


def test_everything_resolves() -> None:
    dg.Definitions.validate_loadable(defs)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("stage", Stage)
def test_every_table_is_an_asset_in_ranges_of_integrations(
    graph: dg.AssetGraph, stream: Stream, stage: Stage
) -> None:
    node = graph.get(asset_key(stream, stage))
    assert node.partitions_def == STANDALONE.integrations
    assert node.backfill_policy == dg.BackfillPolicy.single_run()
    assert node.group_name == stream.name
    assert node.key in defs.resolve_job_def(job_name(stream)).asset_layer.executable_asset_keys


def test_the_tables_of_users_have_the_documented_names(graph: dg.AssetGraph) -> None:
    names = {asset_key(USERS, stage).to_user_string() for stage in Stage}
    assert names == {"users_staging", "users_cdc", "users_latest"}
    latest = graph.get(dg.AssetKey("users_latest"))
    assert latest.parent_keys == {dg.AssetKey("users_cdc")}


def test_runs_stay_in_one_process() -> None:
    # A process for each step costs seconds, and the run works on many integrations by itself.
    assert stand_alone().executor is dg.in_process_executor
    assert defs.resolve_job_def("sync").executor_def is dg.in_process_executor


def test_steps_retry_with_growing_waits() -> None:
    assert TRANSIENT.max_retries > 0
    assert TRANSIENT.backoff is dg.Backoff.EXPONENTIAL
    assert TRANSIENT.jitter is dg.Jitter.PLUS_MINUS


def test_schedules_and_sensors_start_by_themselves_only_in_the_stand_alone_workspace() -> None:
    def running(of: dg.Definitions) -> set[str]:
        repository = of.get_repository_def()
        automation = [*repository.schedule_defs, *repository.sensor_defs]
        return {one.name for one in automation if one.default_status.value == "RUNNING"}

    assert running(stand_alone()) >= {"daily_sync", "registry_sensor", "weekly_maintenance"}
    assert "hourly_signin_events" not in running(stand_alone())
    assert running(defs) == set()


def test_a_sync_does_not_plan_the_standing_checks() -> None:
    """Planned and never evaluated, they would show as skipped what the daily checks found."""
    assert not defs.resolve_job_def("sync").asset_layer.asset_graph.asset_check_keys
    assert defs.resolve_job_def("standing_checks").asset_layer.asset_graph.asset_check_keys


def test_every_job_names_the_installation_that_its_runs_belong_to() -> None:
    jobs = [defs.resolve_job_def(job.name) for job in defs.jobs or ()]
    assert {job.name for job in jobs} >= {"sync", "maintenance", "standing_checks", "report"}
    assert {job.name for job in jobs if INSTALLATION_TAG not in job.run_tags} == set()


def test_the_runs_of_every_asset_of_ours_are_our_own(graph: dg.AssetGraph) -> None:
    audited = {key.asset_key for key in graph.asset_check_keys}
    assert own_runs().assets == graph.materializable_asset_keys | audited


def test_no_run_of_a_production_job_can_be_made_to_fail_on_purpose() -> None:
    snapshots = [
        defs.resolve_job_def(job.name).get_config_schema_snapshot() for job in defs.jobs or ()
    ]
    snapshots.append(defs.resolve_implicit_global_asset_job_def().get_config_schema_snapshot())
    fields = {
        field.name
        for snapshot in snapshots
        for kind in snapshot.all_config_snaps_by_key.values()
        for field in kind.fields or ()
    }
    assert {"batch_size", "mode", "dry_run", "timeout_seconds"} <= fields
    assert not {name for name in fields if name and "fault" in name}


def test_no_setting_makes_a_sync_fail_on_purpose() -> None:
    assert not {name for name in Settings.model_fields if "fault" in name}


def test_the_tables_of_events_that_clients_know_are_the_assets() -> None:
    assert tuple(asset.name for asset in EVENT_ASSETS) == EVENT_TABLES
