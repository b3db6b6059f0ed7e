"""`elt-assets backfill`: which runs it starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from elt_assets.cli.main import Invocation, run
from elt_assets.orchestration.names import PARTITIONS
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

# It is Dagster's own client that calls so.
pytestmark = pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")

KEYS = [f"org:{number}" for number in range(8)]


@contextmanager
def dagster(
    failed: list[str], limits: str = ""
) -> Iterator[tuple[str, Callable[[], list[dict[str, Any]]]]]:
    """A web server with eight partitions, some red; and the launches that it was asked for."""

    def answer(asked: Asked) -> Reply:
        asset: dict[str, Any] = {"__typename": "AssetNode", "partitionKeys": KEYS}
        asset["assetPartitionStatuses"] = {
            "materializedPartitions": [key for key in KEYS if key not in failed],
            "failedPartitions": failed,
            "unmaterializedPartitions": [],
            "materializingPartitions": [],
        }
        return as_json(
            {
                "data": {
                    "assetNodeOrError": asset,
                    "assetNodes": [
                        {
                            "assetKey": {"path": ["users_latest"]},
                            "partitionDefinition": {"name": PARTITIONS},
                        }
                    ],
                    "repositoriesOrError": {
                        "__typename": "RepositoryConnection",
                        "nodes": [
                            {
                                "repository": "r",
                                "location": {"name": "l"},
                                "jobs": [{"name": "sync"}],
                            }
                        ],
                    },
                    "instance": {"runQueueConfig": {"tagConcurrencyLimitsYaml": limits}},
                    "launched": {
                        "__typename": "LaunchRunSuccess",
                        "run": {"id": f"run-{asked.number}"},
                    },
                }
            }
        )

    with Provider(answer) as server:

        def launches() -> list[dict[str, Any]]:
            found = []
            for asked in server.asked:
                variables = json.loads(asked.body).get("variables") or {}
                if "selector" in variables.get("run", {}):
                    parameters = variables["run"]
                    tags = parameters["executionMetadata"]["tags"]
                    found.append(
                        {"config": parameters["runConfigData"]}
                        | {tag["key"]: tag["value"] for tag in tags}
                    )
            return found

        yield server.url, launches


def test_scattered_failures_are_one_run_that_syncs_only_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with dagster(failed=["org:1", "org:3", "org:6"]) as (url, launches):
        assert run(["backfill", "--failed", "--url", url, "--json"], Invocation()) == 0
        (launch,) = launches()
    assert launch["dagster/asset_partition_range_start"] == "org:1"
    assert launch["dagster/asset_partition_range_end"] == "org:6"
    assert launch["config"] == {"ops": {"sync_users": {"config": {"only_unsettled": True}}}}
    assert launch["dagster/priority"] == "-5"
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert told["partitions"] == 3


def test_all_partitions_are_distributed_over_the_parallel_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with dagster(failed=[]) as (url, launches):
        command = ["backfill", "users_latest", "--all", "--parallel", "3", "--name", "monday"]
        assert run([*command, "--url", url, "--json"], Invocation()) == 0
        found = launches()
    told = json.loads(capsys.readouterr().out)
    assert told["backfill"] == "monday"
    assert [(one["first"], one["last"], one["partitions"]) for one in told["runs"]] == [
        ("org:0", "org:2", 3),
        ("org:3", "org:5", 3),
        ("org:6", "org:7", 2),
    ]
    assert [one["elt_assets/lane"] for one in found] == ["monday/0", "monday/1", "monday/2"]
    assert {one["elt_assets/sync_id"] for one in found} == {"monday"}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("", True),
        ("[{key: elt_assets/lane, limit: 1}]", True),
        ("[{key: elt_assets/lane, limit: 1, value: {applyLimitPerUniqueValue: true}}]", False),
    ],
)
def test_a_server_without_lanes_causes_a_warning(
    limits: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with dagster(failed=[], limits=limits) as (url, _):
        assert run(["backfill", "--all", "--parallel", "2", "--url", url], Invocation()) == 0
    told = "dagster.yaml has no limit of one run for each value of elt_assets/lane"
    assert (told in capsys.readouterr().err) is said


def test_without_matching_integrations_nothing_is_launched(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with dagster(failed=[]) as (url, launches):
        assert run(["backfill", "--failed", "--url", url], Invocation()) == 0
        assert launches() == []
    assert capsys.readouterr().err == "nothing to do: no integration matches --failed\n"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["users_latest"], 2, "choose integrations with --failed, --stale or --all"),
        (["--all", "--hours", "3"], 2, "--hours needs --stale"),
        (["--all", "--parallel", "0"], 2, "0 is not in the range x>=1"),
        (["--all", "--org", "a/b"], 1, "organization 'a/b' is not a valid name"),
        (["people"], 2, "No such command 'people'"),
    ],
)
def test_a_mistake_is_reported_before_the_server_is_queried(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["backfill", *arguments], Invocation()) == status
    assert said in capsys.readouterr().err
