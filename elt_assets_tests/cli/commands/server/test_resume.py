"""`elt-assets resume` continues runs however they were started, over a real web server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import dagster as dg
import pytest
import urllib3

from elt_assets.cli.main import Invocation, run
from elt_assets.orchestration.assets.quarantine_details import launchpad, ready_made
from elt_assets.orchestration.assets.run_budget import HANDED_ON_TAG
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.instance.proxy_user import PROXY_USER_TAG
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.orchestration.partitions import partition_tags
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import STREAMS, USERS
from elt_assets_tests.testbed.fleet import QUIET, Fleet, opened_fleet
from elt_assets_tests.testbed.web_server import web_server

# Dagster's client calls the library beneath it in a way that this one is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")

GROUPS = STREAMS["groups"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, str]]:
    """One server for all tests of this file: it takes seconds to load the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELT_ASSETS_HOME", str(tmp_path_factory.mktemp("home")))
        with opened_fleet(patch) as fleet, web_server(fleet.instance) as url:
            yield fleet, url


@pytest.fixture
def fleet(opened: tuple[Fleet, str], own_home: Path) -> Iterator[Fleet]:
    """The fleet without runs and with new integrations, so that no test sees another's."""
    fleet = opened[0]
    fleet.refs = fleet.refs[:]
    yield fleet
    for one in fleet.instance.get_runs():
        fleet.instance.delete_run(one.run_id)


@pytest.fixture
def resume(opened: tuple[Fleet, str], capsys: pytest.CaptureFixture[str]) -> Any:
    """The command; returns its JSON and what it said."""

    def resume(name: str, status: int = 0) -> tuple[Any, str]:
        ended = run(["resume", name, "--url", opened[1], "--json"], Invocation())
        out, err = capsys.readouterr()
        assert ended == status, (out, err)
        return (json.loads(out) if out else None), err

    return resume


def materialized(
    fleet: Fleet, keys: Sequence[str], tables: Sequence[dg.AssetKey], **tags: str
) -> str:
    """A run as "Materialize" starts it; its id."""
    job = fleet.definitions().resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=fleet.instance,
        tags={**partition_tags(keys), **tags},
        run_config=QUIET,
        asset_selection=list(tables),
        raise_on_error=False,
    ).run_id


def carried_out(fleet: Fleet, run_id: str) -> dg.ExecuteInProcessResult:
    """What the daemon would do with a queued run."""
    queued = fleet.instance.get_run_by_id(run_id)
    assert queued is not None
    assert queued.status is dg.DagsterRunStatus.QUEUED
    job = fleet.definitions().resolve_job_def(queued.job_name)
    result = job.execute_in_process(
        instance=fleet.instance,
        tags=queued.tags,
        run_config={**QUIET, **queued.run_config},
        asset_selection=list(queued.asset_selection) if queued.asset_selection else None,
        raise_on_error=False,
    )
    fleet.instance.delete_run(run_id)
    return result


TABLES = [asset_key(USERS, stage) for stage in Stage]


def test_a_run_of_materialize_is_continued_where_it_failed(fleet: Fleet, resume: Any) -> None:
    keys = fleet.connect(3)[-3:]
    directory = keys[1].partition(":")[2]
    fleet.directory.failures[directory].extend([200, 403])
    begun = materialized(fleet, keys, TABLES)
    started, _ = resume(begun)
    (queued,) = started["runs"]
    assert (queued["job"], queued["integrations"]) == ("sync", 1)
    assert carried_out(fleet, queued["run_id"]).success
    assert {fleet.status(Stage.LATEST)[key] for key in keys} == {"MATERIALIZED"}
    syncs = [row.sync_id for ref in fleet.refs[-3:] for row in fleet.platform.syncs(ref)]
    assert syncs == [begun] * 3, "the same sync went on"
    assert resume(begun) == (
        {"sync_id": begun, "runs": []},
        "nothing to resume: every integration is settled\n",
    )


def test_a_sync_that_has_the_id_of_its_first_run_is_followed_with_all_its_runs(
    fleet: Fleet, resume: Any, opened: tuple[Fleet, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = fleet.connect(1)[-1:]
    fleet.directory.failures[key.partition(":")[2]].extend([403])
    begun = materialized(fleet, [key], TABLES)
    again = carried_out(fleet, resume(begun)[0]["runs"][0]["run_id"]).run_id
    assert run(["watch", begun, "--url", opened[1], "--json"], Invocation()) == 0
    watched = json.loads(capsys.readouterr().out)
    assert [one["run_id"] for one in watched["runs"]] == [begun, again]
    assert watched["unsettled"] == watched["failed"] == []


def test_only_the_selected_tables_are_continued(fleet: Fleet, resume: Any) -> None:
    (key,) = fleet.connect(1)[-1:]
    fleet.directory.failures[key.partition(":")[2]].extend([404])
    begun = materialized(fleet, [key], TABLES[:1])
    (queued,) = resume(begun)[0]["runs"]
    assert carried_out(fleet, queued["run_id"]).success
    assert fleet.names(key) == [], "nothing but staging was asked for"
    assert resume(begun)[0]["runs"] == []


def test_of_a_run_of_two_streams_only_the_failed_one_is_continued(
    fleet: Fleet, resume: Any
) -> None:
    keys = fleet.connect(2, streams=("users", "groups"))[-2:]
    fleet.directory.failures[keys[0].partition(":")[2]].extend([403])
    tables = [*TABLES, *(asset_key(GROUPS, stage) for stage in Stage)]
    begun = materialized(fleet, keys, tables)
    started, _ = resume(begun)
    assert [one["job"] for one in started["runs"]] == ["groups_sync"]
    assert carried_out(fleet, started["runs"][0]["run_id"]).success
    assert fleet.status(Stage.LATEST, GROUPS)[keys[0]] == "MATERIALIZED"


def test_every_run_of_a_backfill_is_continued_under_its_own_sync(fleet: Fleet, resume: Any) -> None:
    keys = fleet.connect(3)[-3:]
    for key in (keys[0], keys[2]):
        fleet.directory.failures[key.partition(":")[2]].extend([404])
    backfill = {"dagster/backfill": "bfill"}
    begun = [materialized(fleet, [key], TABLES, **backfill) for key in keys]
    started, _ = resume("bfill")
    queued = [fleet.instance.get_run_by_id(one["run_id"]) for one in started["runs"]]
    assert [one and one.tags[SYNC_ID_TAG] for one in queued] == [begun[0], begun[2]]


def test_what_another_run_works_on_is_named_and_not_started_twice(
    fleet: Fleet, resume: Any
) -> None:
    keys = fleet.connect(2)[-2:]
    for key in keys:
        fleet.directory.failures[key.partition(":")[2]].extend([404])
    begun = materialized(fleet, keys, TABLES)
    other = fleet.instance.create_run_for_job(
        fleet.definitions().resolve_job_def("sync"),
        status=dg.DagsterRunStatus.STARTED,
        tags=partition_tags(keys[:1]),
    )
    started, said = resume(begun)
    assert [one["integrations"] for one in started["runs"]] == [1]
    queued = fleet.instance.get_run_by_id(started["runs"][0]["run_id"])
    assert queued
    assert queued.tags["dagster/partition"] == keys[1]
    assert f"{keys[0]}: run {other.run_id} works on it, in sync {other.run_id}" in said
    fleet.instance.delete_run(queued.run_id)


def test_what_a_time_budget_left_is_continued(fleet: Fleet, resume: Any) -> None:
    (key,) = fleet.connect(1)[-1:]
    handed_on = fleet.instance.create_run_for_job(
        fleet.definitions().resolve_job_def("sync"),
        status=dg.DagsterRunStatus.SUCCESS,
        tags={**partition_tags([key]), HANDED_ON_TAG: "true"},
    )
    assert [one["integrations"] for one in resume(handed_on.run_id)[0]["runs"]] == [1]


def test_a_sync_whose_run_goes_on_is_not_started_again(fleet: Fleet, resume: Any) -> None:
    (key,) = fleet.connect(1)[-1:]
    fleet.directory.failures[key.partition(":")[2]].extend([404])
    begun = materialized(fleet, [key], TABLES)
    again = fleet.instance.create_run_for_job(
        fleet.definitions().resolve_job_def("sync"),
        status=dg.DagsterRunStatus.STARTED,
        tags={
            **partition_tags([key]),
            "dagster/root_run_id": begun,
            "dagster/parent_run_id": begun,
        },
        root_run_id=begun,
        parent_run_id=begun,
    )
    assert f"run {again.run_id} of this sync has not ended (STARTED)" in resume(begun, 1)[1]


def test_a_quarantine_is_decided_over_graphql(
    fleet: Fleet, opened: tuple[Fleet, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = fleet.connect(1)[-1:]
    fleet.run([key])
    fleet.directory.people[key.partition(":")[2]] = []
    fleet.run([key])
    config = {"partition": key, "decision": "approve", "decided_by": "Ada"}
    arguments = [f"ops.quarantine_decision.config.{name}={value}" for name, value in config.items()]
    url = ["--url", opened[1], "--json"]
    assert run(["start", "decide_quarantine", *arguments, *url], Invocation()) == 0
    (queued,) = json.loads(capsys.readouterr().out)["runs"]
    started = fleet.instance.get_run_by_id(queued["run_id"])
    assert started
    path, _, query = str(launchpad(started, key)).partition("?")
    assert path == (
        "/locations/__repository__@elt_assets.definitions/jobs/decide_quarantine/playground/setup"
    )
    assert parse_qs(query) == {"config": [ready_made(key)]}
    assert carried_out(fleet, queued["run_id"]).success
    assert fleet.names(key) == []


LAUNCH = """
mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { ... on LaunchRunSuccess { run { runId } } }
}
"""


HEADER = "X-Forwarded-User"
SIGNED_IN = {HEADER: "ada@example.com"}


@pytest.mark.parametrize(
    ("setting", "headers", "recorded"),
    [
        (HEADER, SIGNED_IN, "Ada (signed in as ada@example.com)"),
        (HEADER, {}, "Ada"),
        (None, SIGNED_IN, "Ada"),
    ],
    ids=["behind a proxy", "past the proxy", "without a proxy"],
)
def test_only_a_proxy_that_is_configured_says_who_decided(
    setting: str | None,
    headers: dict[str, str],
    recorded: str,
    fleet: Fleet,
    opened: tuple[Fleet, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if setting:
        monkeypatch.setenv("ELT_ASSETS_PROXY_USER_HEADER", setting)
    (key,) = fleet.connect(1)[-1:]
    fleet.run([key])
    fleet.directory.people[key.partition(":")[2]] = []
    fleet.run([key])
    config = {"partition": key, "decision": "approve", "decided_by": "Ada"}
    parameters = {
        "selector": {
            "repositoryLocationName": "elt_assets.definitions",
            "repositoryName": "__repository__",
            "jobName": "decide_quarantine",
        },
        "runConfigData": {"ops": {"quarantine_decision": {"config": config}}},
        "executionMetadata": {"tags": [{"key": PROXY_USER_TAG, "value": "forged@example.com"}]},
    }
    launched = urllib3.request(
        "POST",
        f"{opened[1]}/graphql",
        json={"query": LAUNCH, "variables": {"parameters": parameters}},
        headers=headers,
    ).json()
    assert carried_out(fleet, launched["data"]["launchRun"]["run"]["runId"]).success
    (row,) = [row for row in fleet.platform.syncs(fleet.refs[-1]) if row.decision]
    assert row.decided_by == recorded
    approvals = [one for one in fleet.platform.audit_log.entries() if one.action == "approve"]
    assert (approvals[-1].partition, approvals[-1].acting_as) == (key, recorded)


def test_list_names_the_sync_that_a_run_continues(
    fleet: Fleet, opened: tuple[Fleet, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (key,) = fleet.connect(1)[-1:]
    begun = materialized(fleet, [key], TABLES[:1])
    materialized(fleet, [key], TABLES[1:])
    assert run(["list", "--url", opened[1], "--json"], Invocation()) == 0
    assert [one["sync_id"] for one in json.loads(capsys.readouterr().out)] == [begun, begun]
