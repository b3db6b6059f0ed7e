"""The definitions in another owner's code location: next to its names, executor and runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.definitions import build_defs
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.jobs.sync_jobs import QUIET_CONSOLE
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet, person

NEVER = dg.RetryPolicy(max_retries=7)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as opened:
        yield opened


def host() -> dg.Definitions:
    """A code location with every name that could clash."""

    @dg.asset
    def invoices() -> None: ...

    @dg.op(name="sync_users")
    def work() -> None: ...

    @dg.job(name="sync")
    def sync() -> None:
        work()

    @dg.schedule(cron_schedule="0 0 * * *", job=sync, name="daily_sync")
    def daily() -> dg.SkipReason:
        return dg.SkipReason("never")

    @dg.sensor(job=sync, name="registry_sensor")
    def sensor() -> dg.SkipReason:
        return dg.SkipReason("never")

    return dg.Definitions(
        assets=[invoices],
        jobs=[sync],
        schedules=[daily],
        sensors=[sensor],
        resources={"platform": 1, "warehouse": 2, "operational": 3, "listener": 4},
        executor=dg.multiprocess_executor,
        loggers={"console": dg.colored_console_logger},
    )


def names(definitions: dg.Definitions) -> set[str]:
    repository = definitions.get_repository_def()
    return {
        *(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        *(one.name for one in repository.schedule_defs),
        *(one.name for one in repository.sensor_defs),
    }


def test_two_installations_merge_with_a_host_that_has_every_name_of_ours() -> None:
    merged = dg.Definitions.merge(
        host(), build_defs(key_prefix="staff"), build_defs(key_prefix=["acme", "people"])
    )
    dg.Definitions.validate_loadable(merged)
    assert merged.executor is dg.multiprocess_executor
    assert names(merged) >= {"sync", "staff_sync", "acme_people_sync", "staff_daily_sync"}
    keys = {key.to_user_string() for key in merged.resolve_asset_graph().get_all_asset_keys()}
    assert keys >= {"invoices", "staff/users_latest", "acme/people/users_latest"}


def test_every_name_begins_with_the_prefix() -> None:
    definitions = build_defs(key_prefix="staff")
    assert {name for name in names(definitions) if not name.startswith("staff_")} == set()
    graph = definitions.resolve_asset_graph()
    assert {key.path[0] for key in graph.get_all_asset_keys()} == {"staff"}
    assert {
        node.partitions_def.name
        for node in graph.asset_nodes
        if isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
    } == {"staff_connected_integrations"}
    steps = {op.name for op in every_op(definitions)}
    assert {name for name in steps if not name.startswith("staff__")} == set()
    assert {op.pool for op in every_op(definitions) if op.pool} == {
        "staff_extract",
        "staff_transform",
        "staff_load",
    }
    assert set(definitions.resources or {}) == {"elt_assets_staff"}


def test_without_a_prefix_the_names_are_those_of_the_stand_alone_installation() -> None:
    definitions = build_defs()
    assert set(definitions.resources or {}) == {"elt_assets"}
    assert names(definitions) == {
        "sync",
        "groups_sync",
        "group_memberships_sync",
        "load_signin_events",
        "standing_checks",
        "report",
        "decide_quarantine",
        "maintenance",
        "daily_sync",
        "daily_groups_sync",
        "daily_group_memberships_sync",
        "daily_signin_events",
        "hourly_signin_events",
        "daily_checks",
        "weekly_maintenance",
        "registry_sensor",
        "recovery_sensor",
        "confirmation_sensor",
        "alert_sensor",
        "drop_sensor",
        "event_file_sensor",
        "report_sensor",
        "feed_sensor",
    }


def every_op(definitions: dg.Definitions) -> list[dg.OpDefinition]:
    """The ops behind all assets, checks and jobs."""
    jobs = [definitions.resolve_job_def(job.name) for job in definitions.jobs or ()]
    jobs.append(definitions.resolve_implicit_global_asset_job_def())
    return [node for job in jobs for node in job.all_node_defs if isinstance(node, dg.OpDefinition)]


def test_every_step_has_a_retry_policy_and_a_given_one_reaches_all() -> None:
    assert {op.name for op in every_op(build_defs()) if op.retry_policy is None} == set()
    given = every_op(build_defs(retry_policy=NEVER))
    assert {op.name for op in given if op.retry_policy != NEVER} == set()
    assert {"sync_users", "sync_groups", "sync_group_memberships", "api_events"} <= {
        op.name for op in given
    }


def test_group_and_owners_reach_every_asset() -> None:
    definitions = build_defs(group="directory", owners=["team:it"])
    nodes = list(definitions.resolve_asset_graph().asset_nodes)
    assert {node.group_name for node in nodes} == {"directory"}
    assert {tuple(node.owners) for node in nodes} == {("team:it",)}


def test_an_installation_may_be_of_some_streams_without_events_or_automation() -> None:
    definitions = build_defs(streams=["users"], events=False, schedules=False, sensors=False)
    dg.Definitions.validate_loadable(definitions)
    assert names(definitions) == {
        "sync",
        "standing_checks",
        "report",
        "decide_quarantine",
        "maintenance",
    }
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {
        "users_staging",
        "users_cdc",
        "users_latest",
        "users_audit",
        "fleet_report",
        "change_feed",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"key_prefix": "a/b"}, "key_prefix has 'a/b'"),
        ({"key_prefix": ["fine", ""]}, "key_prefix has ''"),
        ({"streams": ["people"]}, "'people' is not a stream; give some of users"),
        ({"streams": []}, "streams is empty"),
    ],
)
def test_a_mistake_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        build_defs(**given)  # type: ignore[arg-type]


def test_two_installations_in_one_location_keep_their_data_apart(
    fleet: Fleet, tmp_path: Path
) -> None:
    """Each has settings of its own, and its runs report its own assets and partitions."""
    first, second = fleet.settings, load_settings(home=tmp_path / "second")
    fleet.connect(1, partitions=False)
    ref = fleet.refs[0]
    fleet.directory.people["other"] = [person(9, name="Only in the second")]
    with SyncService.open(second) as platform:
        platform.registry.add(ref, "rest", fleet.directory.provider_data("other"))
    merged = dg.Definitions.merge(
        host(),
        build_defs(key_prefix="one", settings=first),
        build_defs(key_prefix="two", settings=second),
    )
    for prefix in ("one", "two"):
        fleet.instance.add_dynamic_partitions(
            f"{prefix}_connected_integrations", [ref.partition_key]
        )
        result = merged.resolve_job_def(f"{prefix}_sync").execute_in_process(
            instance=fleet.instance,
            partition_key=ref.partition_key,
            run_config={"loggers": QUIET_CONSOLE},
        )
        reported = {
            event.asset_key.to_user_string()
            for event in result.all_events
            if event.is_step_materialization and event.asset_key
        }
        tables = {f"{prefix}/users_{stage}" for stage in ("staging", "cdc", "latest")}
        assert reported == tables
    assert len(fleet.platform.records(USERS, ref)) == 3
    with SyncService.open(second) as platform:
        assert [row["name"] for row in platform.records(USERS, ref)] == ["Only in the second"]


def test_the_sensors_of_an_installation_request_its_own_jobs_and_partitions(fleet: Fleet) -> None:
    fleet.connect(1, partitions=False)
    definitions = build_defs(key_prefix="one", settings=fleet.settings)
    sensor = definitions.resolve_sensor_def("one_registry_sensor")
    with dg.build_sensor_context(
        instance=fleet.instance,
        resources={"elt_assets_one": fleet.platform},
        definitions=definitions,
    ) as context:
        data = sensor.evaluate_tick(context)
    assert [request.job_name for request in data.run_requests or ()] == ["one_sync"]
    (partitions,) = data.dynamic_partitions_requests or ()
    assert partitions.partitions_def_name == "one_connected_integrations"


def test_maintenance_of_an_embedded_installation_leaves_the_runs_of_the_other(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = build_defs(
        key_prefix="one", settings=fleet.settings.model_copy(update={"keep_runs_days": 0})
    )
    two = build_defs(key_prefix="two", settings=load_settings(home=tmp_path / "second"))
    merged = dg.Definitions.merge(host(), one, two)
    ran = {
        name: merged.resolve_job_def(name)
        .execute_in_process(instance=fleet.instance, run_config={"loggers": QUIET_CONSOLE})
        .run_id
        for name in ("sync", "one_report", "two_report")
    }
    merged.resolve_job_def("one_maintenance").execute_in_process(
        instance=fleet.instance, run_config={"loggers": QUIET_CONSOLE}
    )
    left = {run.run_id for run in fleet.instance.get_runs()}
    assert left >= {ran["sync"], ran["two_report"]}
    assert ran["one_report"] not in left
