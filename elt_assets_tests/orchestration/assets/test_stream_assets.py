"""The stream assets, run by Dagster over the real engine and a real HTTP server."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import dagster as dg
import pytest

from elt_assets.definitions import assembled
from elt_assets.orchestration.assets.stream_assets import SyncConfig
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.instance.opening import dagster_home
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.orchestration.partitions import partition_tags
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.resources import RunListener
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.outcome import Outcome, Stage, Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.testbed.fleet import QUIET, Fleet, person

ALL = list(Stage)


def reported(fleet: Fleet, run_id: str) -> Counter[tuple[str, str | None]]:
    return Counter(
        (event.asset_key.to_user_string(), event.partition) for event in fleet.events(run_id)
    )


def kinds(result: dg.ExecuteInProcessResult) -> Counter[str]:
    return Counter(event.event_type_value for event in result.all_events)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    return str(event.step_failure_data.error_display_string)


def test_a_range_of_integrations_is_synced_in_one_run(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    result = fleet.run(keys)
    assert result.success
    for stage in ALL:
        assert fleet.status(stage) == dict.fromkeys(keys, "MATERIALIZED")
    assert all(fleet.names(key) == ["Person 0", "Person 1", "Person 2"] for key in keys)


def test_one_failed_integration_of_ten_is_the_only_red_partition(fleet: Fleet) -> None:
    keys = fleet.connect(10)
    fleet.directory.failures["dir-04"].extend([404])
    result = fleet.run(keys)
    assert not result.success
    for stage in ALL:
        status = fleet.status(stage)
        assert status.pop(keys[4]) == "FAILED"
        assert status == dict.fromkeys([*keys[:4], *keys[5:]], "MATERIALIZED")
    assert f"1 of 10 integrations failed; the others are settled.\n{keys[4]}: " in failure_of(
        result
    )


def test_a_transient_failure_is_retried_inside_the_run(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    fleet.directory.failures["dir-01"].extend([200, 503])
    result = fleet.run(keys)
    assert result.success
    assert fleet.status(Stage.LATEST) == dict.fromkeys(keys, "MATERIALIZED")
    assert kinds(result)["STEP_RESTARTED"] == 1


def test_a_failure_after_all_retries_is_reported_with_its_reason(fleet: Fleet) -> None:
    heard: list[Outcome] = []
    keys = fleet.connect(2)
    fleet.directory.failures["dir-01"].extend([503, 503])
    result = fleet.run(keys, listener=RunListener(settled=heard.append))
    assert kinds(result)["STEP_RESTARTED"] == 1
    assert f"1 of 2 integrations failed; the others are settled.\n{keys[1]}: " in failure_of(result)
    assert [(outcome.partition, outcome.status) for outcome in heard] == [
        (keys[0], Status.APPLIED),
        (keys[1], Status.FAILED),
    ]


def test_a_retry_reports_nothing_twice(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    fleet.directory.failures["dir-01"].extend([503])
    result = fleet.run(keys)
    assert result.success
    tables = [asset_key(USERS, stage).to_user_string() for stage in ALL]
    assert reported(fleet, result.run_id) == Counter(
        {(table, key): 1 for table in tables for key in keys}
    )


def test_a_permanent_failure_is_not_retried(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    fleet.directory.failures["dir-00"].extend([404, 200])
    result = fleet.run(keys)
    assert not result.success
    assert list(fleet.directory.failures["dir-00"]) == [200]


def test_failures_in_a_stopped_run_are_not_retried(fleet: Fleet) -> None:
    keys = fleet.connect(1)
    fleet.directory.failures["dir-00"].extend([503, 200])
    result = fleet.run(keys, listener=RunListener(stopped=lambda: True))
    assert not result.success
    assert kinds(result)["STEP_RESTARTED"] == 0
    assert list(fleet.directory.failures["dir-00"]) == [200]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_a_run_that_is_terminated_ends_as_canceled_after_one_attempt(
    fleet: Fleet, interruption: type[BaseException]
) -> None:
    def terminate(_: Outcome) -> None:
        (run,) = fleet.instance.get_runs()
        fleet.instance.report_run_canceling(run)
        raise interruption

    result = fleet.run(fleet.connect(1), listener=RunListener(settled=terminate))
    assert kinds(result)["STEP_FAILURE"] == 1
    assert kinds(result)["STEP_UP_FOR_RETRY"] == 0
    (run,) = fleet.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED


def test_a_step_that_is_interrupted_by_itself_fails_its_run_without_a_retry(fleet: Fleet) -> None:
    def interrupt(_: Outcome) -> None:
        raise dg.DagsterExecutionInterruptedError

    result = fleet.run(fleet.connect(1), listener=RunListener(settled=interrupt))
    assert kinds(result)["STEP_UP_FOR_RETRY"] == 0
    (run,) = fleet.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize(("allowed", "succeeds"), [(0, False), (3, True)])
def test_the_policy_of_the_step_is_what_retries(fleet: Fleet, allowed: int, succeeds: bool) -> None:
    """Three failures are survived by a policy of three retries, and by none of fewer."""
    (key,) = fleet.connect(1)
    fleet.directory.failures["dir-00"].extend([503, 503, 503, 200])
    at = replace(STANDALONE, retry_policy=dg.RetryPolicy(max_retries=allowed))
    result = (
        assembled(at, fleet.platform)
        .resolve_job_def("sync")
        .execute_in_process(
            instance=fleet.instance,
            tags=partition_tags([key]),
            run_config=QUIET,
            raise_on_error=False,
        )
    )
    assert (result.success, kinds(result)["STEP_RESTARTED"]) == (succeeds, allowed)


def test_a_run_of_the_same_family_continues_the_same_sync(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fleet.connect(2, users=6)
    monkeypatch.setenv("ELT_ASSETS_PAGES_PER_BATCH", "1")
    fleet.directory.failures["dir-01"].extend([200, 200, 403])
    job = dg.reconstructable(sync_job_of_this_home)
    with dg.execute_job(
        job, fleet.instance, run_config=QUIET, tags=partition_tags(keys), raise_on_error=False
    ) as first:
        assert not first.success
    with dg.execute_job(
        job,
        fleet.instance,
        run_config=QUIET,
        tags=partition_tags(keys),
        reexecution_options=dg.ReexecutionOptions.from_failure(first.run_id, fleet.instance),
    ) as second:
        assert second.success
    assert fleet.directory.served["dir-01"] == [0, 2, 4], "a committed page was fetched again"
    syncs = fleet.platform.syncs()
    assert {row.sync_id for row in syncs} == {first.run_id}
    assert fleet.status(Stage.LATEST) == dict.fromkeys(keys, "MATERIALIZED")
    assert reported(fleet, second.run_id)[asset_key(USERS, Stage.LATEST).to_user_string(), keys[0]]


def test_from_failure_keeps_what_was_staged_and_rejected_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 5% unusable records fail a sync; its dead letters are neither lost nor doubled."""
    (key,) = fleet.connect(1, users=20)
    fleet.directory.people["dir-00"][4:6] = [{"name": "Without an id"}, {"name": "Another"}]
    job, parent = dg.reconstructable(sync_job_of_this_home), None
    for limit, succeeds in (("0.05", False), ("0.05", False), ("0.5", True)):
        monkeypatch.setenv("ELT_ASSETS_MAX_REJECT_SHARE", limit)
        again = parent and dg.ReexecutionOptions.from_failure(parent, fleet.instance)
        with dg.execute_job(
            job,
            fleet.instance,
            run_config=QUIET,
            tags=partition_tags([key]),
            reexecution_options=again,
            raise_on_error=False,
        ) as ended:
            assert ended.success is succeeds
        parent = parent or ended.run_id
        (row,) = fleet.platform.syncs(fleet.refs[0])
        counts = row.outcome().counts
        assert (row.sync_id, counts.fetched, counts.staged, counts.rejected) == (parent, 20, 18, 2)
        assert len(fleet.platform.rejected(USERS, fleet.refs[0])) == 2
    assert fleet.directory.served["dir-00"] == [*range(0, 20, 2)], "a page was fetched again"
    assert len(fleet.names(key)) == 18
    assert standing_checks.books_balance(fleet.platform, USERS).passed


def test_the_tag_names_the_sync_and_repeating_it_changes_nothing(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    tags = {SYNC_ID_TAG: "tuesday"}
    assert fleet.run(keys, tags=tags).success
    served = {name: list(starts) for name, starts in fleet.directory.served.items()}
    fleet.directory.people["dir-00"].append(person(9))
    again = fleet.run(keys, tags=tags)
    assert again.success
    assert fleet.directory.served == served
    assert {row.sync_id for row in fleet.platform.syncs()} == {"tuesday"}
    assert len(fleet.events(again.run_id)) == 2 * len(ALL), "a later run reports for itself"


def test_staging_alone_touches_neither_changes_nor_latest(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    result = fleet.run(keys, Stage.STAGING)
    assert result.success
    assert [fleet.names(key) for key in keys] == [[], []]
    assert [bool(fleet.status(stage)) for stage in ALL] == [True, False, False]


def test_later_tables_alone_continue_the_sync_that_was_staged(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    assert fleet.run(keys, Stage.STAGING).success
    fleet.directory.people.clear()
    assert fleet.run(keys, Stage.CDC).success
    assert fleet.run(keys, Stage.LATEST).success
    assert [len(fleet.names(key)) for key in keys] == [3, 3]
    assert len({row.sync_id for row in fleet.platform.syncs()}) == 1


def test_later_tables_alone_continue_each_integrations_own_sync(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    assert fleet.run(keys[:2], Stage.STAGING).success
    assert fleet.run(keys[2:], Stage.STAGING).success
    assert fleet.run(keys, Stage.CDC, Stage.LATEST).success
    assert [len(fleet.names(key)) for key in keys] == [3, 3, 3]


def test_a_later_table_alone_of_an_up_to_date_integration_changes_nothing(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    assert fleet.run(keys).success
    served = {name: list(starts) for name, starts in fleet.directory.served.items()}
    assert fleet.run(keys, Stage.LATEST).success
    assert fleet.status(Stage.LATEST) == dict.fromkeys(keys, "MATERIALIZED")
    assert fleet.directory.served == served
    assert len(fleet.platform.syncs()) == 2


def test_a_later_table_without_staging_names_what_to_materialize(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    assert fleet.run(keys[:1], Stage.STAGING).success
    result = fleet.run(keys, Stage.LATEST)
    assert f"{keys[1]}: no unfinished sync to continue; materialize users_staging first" in (
        failure_of(result)
    )
    assert fleet.status(Stage.LATEST) == {keys[0]: "MATERIALIZED", keys[1]: "FAILED"}
    assert "STEP_RESTARTED" not in kinds(result)


def test_a_disabled_integration_is_left_alone(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    fleet.platform.registry.set_enabled(fleet.refs[0], False)
    assert fleet.run(keys).success
    assert fleet.status(Stage.LATEST) == {keys[1]: "MATERIALIZED"}
    assert "dir-00" not in fleet.directory.served


def test_a_partition_without_an_integration_fails_alone(fleet: Fleet) -> None:
    keys = fleet.connect(1)
    fleet.instance.add_dynamic_partitions("connected_integrations", ["nonsense"])
    result = fleet.run([*keys, "nonsense"])
    assert "'nonsense' is not an integration" in failure_of(result)
    assert fleet.status(Stage.LATEST) == {keys[0]: "MATERIALIZED", "nonsense": "FAILED"}


def test_a_run_without_a_partition_says_what_it_needs(fleet: Fleet) -> None:
    job = fleet.definitions().resolve_job_def("sync")
    result = job.execute_in_process(instance=fleet.instance, run_config=QUIET, raise_on_error=False)
    assert "this run names no integration: choose a partition" in failure_of(result)


def test_an_invalid_sync_id_tag_is_refused_before_anything_runs(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    result = fleet.run(keys, tags={SYNC_ID_TAG: "../../etc"})
    assert "run tag elt_assets/sync_id '../../etc' is not a valid name" in failure_of(result)
    assert not fleet.directory.served


def test_a_quarantined_sync_is_reported_as_such_and_is_not_red(fleet: Fleet) -> None:
    keys = fleet.connect(1)
    assert fleet.run(keys).success
    fleet.directory.people["dir-00"] = []
    result = fleet.run(keys)
    assert result.success
    latest = fleet.events(result.run_id)[-1]
    assert latest.metadata["status"].value == Status.QUARANTINED
    assert latest.metadata["latest"].value == 3
    assert len(fleet.names(keys[0])) == 3


def test_metadata_has_the_changes_without_personal_data(fleet: Fleet) -> None:
    keys = fleet.connect(1, users=12)
    assert fleet.run(keys).success
    kept = [person(0), person(1, name="Ada Lovelace"), *(person(n) for n in range(2, 11))]
    fleet.directory.people["dir-00"] = [*kept, person(70)]
    result = fleet.run(keys)
    staging, cdc, latest = events = fleet.events(result.run_id)
    assert [event.metadata["dagster/row_count"].value for event in events] == [12, 2, 13]
    counted = ("inserted", "updated", "deleted", "pending")
    assert [cdc.metadata[name].value for name in counted] == [1, 1, 0, 1]
    assert latest.metadata["latest_before"].value == 12
    assert "Complete" in str(staging.metadata["certificate"].value)
    assert "| UPDATE | u-1 | name |" in str(cdc.metadata["sample"].value)
    everything = str([event.metadata for event in events])
    assert "Lovelace" not in everything
    assert "@example.com" not in everything


def test_dagsters_own_command_materializes_a_range(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fleet.connect(3)
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home(fleet.settings)))
    tables = "users_staging,users_cdc,users_latest"
    command = ["asset", "materialize", "-m", "elt_assets.definitions", "--select", tables]
    chosen = ["--partition-range", f"{keys[0]}...{keys[1]}"]
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *command, *chosen],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert fleet.status(Stage.LATEST) == dict.fromkeys(keys[:2], "MATERIALIZED")
    assert len(fleet.instance.get_runs()) == 1


def test_the_pages_of_a_checkpoint_are_configurable_for_a_run(fleet: Fleet) -> None:
    keys = fleet.connect(1, users=6)
    config = {"ops": {"sync_users": {"config": {"batch_size": 1}}}}
    staging = fleet.events(fleet.run(keys, config=config).run_id)[0]
    assert staging.metadata["batches"].value == 3


def test_a_run_continues_the_sync_that_its_configuration_names(fleet: Fleet) -> None:
    (key,) = fleet.connect(1, users=6)
    fleet.directory.failures["dir-00"].extend([200, 500, 500])
    monday = {"ops": {"sync_users": {"config": {"sync_id": "monday", "batch_size": 1}}}}
    assert not fleet.run([key], config=monday).success
    result = fleet.run([key], config=monday)
    assert fleet.directory.served["dir-00"] == [0, 2, 4]
    assert [row.sync_id for row in fleet.platform.syncs()] == ["monday"]
    run = fleet.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[SYNC_ID_TAG] == "monday", "clients and sensors find it by this"
    wrong = {"ops": {"sync_users": {"config": {"sync_id": "a/b"}}}}
    (failure,) = fleet.run([key], config=wrong).filter_events(lambda event: event.is_step_failure)
    assert "sync id 'a/b'" in failure.step_failure_data.error_display_string


def test_the_launchpad_shows_what_a_person_sets() -> None:
    """It is filled with every field that has a default."""
    assert SyncConfig().model_dump(exclude_none=True) == {
        "sync_id": "",
        "mode": "configured",
        "num_batches": 0,
        "only_unsettled": False,
    }


def sync_job_of_this_home() -> dg.JobDefinition:
    """The job with resources from the environment, as a run worker gets it."""
    return assembled().resolve_job_def("sync")


def test_every_run_reports_its_timings(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    fleet.directory.failures["dir-01"].extend([404])
    for _ in range(2):
        result = fleet.run(keys, tags={SYNC_ID_TAG: "monday"})
        (told,) = fleet.observations(result.run_id, of_partitions=False)
        seconds = {name: value.value for name, value in told.metadata.items()}
        assert seconds["integrations"] == 3
        assert seconds["seconds_total"] >= seconds["seconds_dagster_events"] > 0
        spent = [seconds[f"seconds_{stage}"] for stage in ("fetch", "stage", "detect", "apply")]
        assert all(spent), "the failed one, continued by the second run, took all stages"


def test_a_run_of_unsettled_integrations_leaves_the_others_unchanged(fleet: Fleet) -> None:
    keys = fleet.connect(4)
    for failing in ("dir-01", "dir-03"):
        fleet.directory.failures[failing].extend([404])
    fleet.run(keys, tags={SYNC_ID_TAG: "monday"})
    pages = {name: len(served) for name, served in fleet.directory.served.items()}
    fleet.directory.failures["dir-03"].extend([404])
    only = {"ops": {"sync_users": {"config": {"only_unsettled": True}}}}
    result = fleet.run(keys[1:], tags={SYNC_ID_TAG: "again"}, config=only)
    assert not result.success
    assert fleet.status(Stage.LATEST) == {
        **dict.fromkeys(keys[:3], "MATERIALIZED"),
        keys[3]: "FAILED",
    }
    assert len(fleet.directory.served["dir-02"]) == pages["dir-02"]
    newest = {row.partition: row.sync_id for row in reversed(fleet.platform.syncs())}
    assert [newest[key] for key in keys] == ["monday", "again", "monday", "again"]


def test_an_extraction_cut_after_some_batches_deletes_nobody(fleet: Fleet) -> None:
    (key,) = fleet.connect(1, users=6)
    fleet.run([key])
    result = fleet.run(
        [key], config={"ops": {"sync_users": {"config": {"num_batches": 2, "batch_size": 1}}}}
    )
    assert result.success
    assert fleet.directory.served["dir-00"] == [0, 2, 4, 0, 2]
    assert len(fleet.names(key)) == 6
    (row,) = fleet.platform.quarantined()
    assert row.counts.withheld_deletes == 2


def test_the_last_events_of_a_run_have_the_lineage_of_columns(fleet: Fleet) -> None:
    """In every event it would cost as much as all the rest; the newest is the one shown."""
    run = fleet.run(fleet.connect(6))
    latest = [
        event
        for event in fleet.events(run.run_id)
        if event.asset_key == asset_key(USERS, Stage.LATEST)
    ]
    assert ["dagster/column_lineage" in event.metadata for event in latest] == [False] * 3 + [
        True
    ] * 3
