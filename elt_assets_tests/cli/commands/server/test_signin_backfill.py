"""`elt-assets backfill signin_events`: a run for each day, and the failed days alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from elt_assets.cli.main import Invocation, run
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

# It is Dagster's own client that calls so.
pytestmark = pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")


def answer(asked: Asked) -> Reply:
    """A web server on which the fourth to the sixth of March and the ninth failed."""
    ranges = [
        {"startKey": "2026-03-01", "endKey": "2026-03-03", "status": "MATERIALIZED"},
        {"startKey": "2026-03-04", "endKey": "2026-03-06", "status": "FAILED"},
        {"startKey": "2026-03-09", "endKey": "2026-03-09", "status": "FAILED"},
    ]
    job = {"name": "load_signin_events"}
    nodes = [{"repository": "r", "location": {"name": "l"}, "jobs": [job]}]
    return as_json(
        {
            "data": {
                "assetNodeOrError": {
                    "__typename": "AssetNode",
                    "assetPartitionStatuses": {"ranges": ranges},
                },
                "repositoriesOrError": {"__typename": "RepositoryConnection", "nodes": nodes},
                "instance": {"runQueueConfig": {"tagConcurrencyLimitsYaml": None}},
                "launched": {
                    "__typename": "LaunchRunSuccess",
                    "run": {"id": f"run-{asked.number}"},
                },
            }
        }
    )


@pytest.fixture
def server() -> Iterator[Provider]:
    with Provider(answer) as server:
        yield server


def backfill(server: Provider, *arguments: str) -> int:
    return run(["backfill", "signin_events", *arguments, "--url", server.url], Invocation())


def launches(server: Provider) -> list[dict[str, str]]:
    """The tags of every run that was asked for."""
    found = []
    for asked in server.asked:
        variables: dict[str, Any] = json.loads(asked.body).get("variables") or {}
        if "selector" in variables.get("run", {}):
            tags = variables["run"]["executionMetadata"]["tags"]
            found.append({tag["key"]: tag["value"] for tag in tags})
    return found


def days(server: Provider) -> list[str]:
    return [tags["dagster/partition"] for tags in launches(server)]


def test_each_day_is_a_run_in_one_of_the_lanes(server: Provider) -> None:
    assert backfill(server, "--from", "2026-02-27", "--to", "2026-03-02", "--parallel", "2") == 0
    assert days(server) == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    lanes = [tags["elt_assets/lane"] for tags in launches(server)]
    assert lanes[0] == lanes[2] != lanes[1] == lanes[3]
    assert len({tags["elt_assets/sync_id"] for tags in launches(server)}) == 1


def test_failed_days_run_again_and_no_other_days_do(server: Provider) -> None:
    assert backfill(server, "--failed") == 0
    assert days(server) == ["2026-03-04", "2026-03-05", "2026-03-06", "2026-03-09"]


def test_a_range_of_days_limits_the_failed_days(
    server: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backfill(server, "--failed", "--from", "2026-03-06", "--name", "mine", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["backfill"] == "mine"
    assert [one["first"] for one in document["runs"]] == ["2026-03-06", "2026-03-09"]
    assert backfill(server, "--failed", "--to", "2026-03-03") == 0
    assert "no day failed" in capsys.readouterr().err


def test_days_must_be_chosen(server: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill(server, "--from", "2026-03-06") == 2
    assert "choose days" in capsys.readouterr().err
    assert backfill(server, "--from", "2026-03-06", "--to", "2026-03-05") == 1
    assert server.asked == []
