"""Selecting the integrations of a backfill by the status of their partitions."""

from __future__ import annotations

import json
import time

import pytest

from elt_assets.client.partition_selection import Choice, chosen, pick, stale
from elt_assets.client.web_server import PartitionStatuses, Server
from elt_assets.sync.streams import GROUPS, USERS, Stream
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

STATUSES = PartitionStatuses(materialized=("m",), failed=("f",), never=("n",), going=("g",))


@pytest.mark.parametrize(
    ("which", "has_all", "picked"),
    [
        ("failed", True, "f"),
        ("stale", True, "fnm"),
        ("all", True, "fnmg"),
        ("stale", False, "fm"),
        ("all", False, "fmg"),
    ],
)
def test_partitions_in_progress_and_streams_never_seen_are_left_alone(
    which: Choice, has_all: bool, picked: str
) -> None:
    assert pick(STATUSES, which, has_all=has_all) == list(picked)


def test_an_integration_is_stale_after_a_long_time_or_without_any_sync() -> None:
    assert stale(["old", "new", "never"], {"old": 100.0, "new": 300.0}, 200.0) == ["old", "never"]


def dagster(asked: Asked) -> Reply:
    """A server with four partitions of one organization and one of another."""
    if json.loads(asked.body)["operationName"] == "PartitionStatuses":
        table: object = {
            "assetPartitionStatuses": {
                "materializedPartitions": ["a:1", "a:2", "a:3", "b:1"],
                "failedPartitions": ["a:2", "a:3"],
                "unmaterializedPartitions": ["a:4"],
                "materializingPartitions": ["a:3"],
            }
        }
    else:
        hours_ago = [2, 30, 1]
        table = {
            "latestMaterializationByPartition": [
                {"partition": key, "timestamp": str(1000 * (time.time() - 3600 * hours))}
                for key, hours in zip(("a:1", "a:2", "b:1"), hours_ago, strict=True)
            ]
            + [None]
        }
    return as_json({"data": {"assetNodeOrError": {"__typename": "AssetNode", **table}}})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("stream", "which", "org", "keys"),
    [
        (USERS, "failed", None, ["a:2"]),
        (USERS, "failed", "b", []),
        (USERS, "all", "a", ["a:2", "a:4", "a:1", "a:3"]),
        (USERS, "stale", None, ["a:2", "a:4"]),
        (GROUPS, "stale", None, ["a:2"]),
    ],
)
def test_the_selection_uses_the_status_and_time_on_the_server(
    stream: Stream, which: Choice, org: str | None, keys: list[str]
) -> None:
    with Provider(dagster) as server:
        assert chosen(Server(server.url), stream, which, 26.0, org) == keys
