"""Launching one run for each range of partitions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from elt_assets.client.graphql import ServerRefused
from elt_assets.client.launching import Lanes, Launch, Launched, launch_ranges
from elt_assets.client.run_descriptions import Job
from elt_assets.client.web_server import Server
from elt_assets.errors import EltAssetsError
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

JOB = Job("sync", "repository", "location")
RANGES = [["a:1", "a:2"], ["a:4"], ["b:1", "b:2", "b:3"]]


@contextmanager
def server(refused_from: int = 99) -> Iterator[tuple[Server, Callable[[], list[dict[str, str]]]]]:
    """A server that starts runs, and the tags of each that it was asked for."""

    def answer(asked: Asked) -> Reply:
        if asked.number >= refused_from:
            refusal = {"__typename": "PythonError", "message": "the disk is full"}
            return as_json({"data": {"launched": refusal}})
        run = {"__typename": "LaunchRunSuccess", "run": {"id": f"run-{asked.number}"}}
        return as_json({"data": {"launched": run}})

    with Provider(answer) as provider:

        def tags() -> list[dict[str, str]]:
            asked = (json.loads(one.body)["variables"]["run"] for one in provider.asked)
            return [
                {tag["key"]: tag["value"] for tag in one["executionMetadata"]["tags"]}
                for one in asked
            ]

        yield Server(provider.url), tags


def test_every_range_is_a_run_of_exactly_its_partitions() -> None:
    with server() as (dagster, tags):
        launched = launch_ranges(dagster, Launch(job=JOB, tags={"why": "test"}), RANGES)
    assert launched == [
        Launched("sync", "run-1", "a:1", "a:2", 2),
        Launched("sync", "run-2", "a:4", "a:4", 1),
        Launched("sync", "run-3", "b:1", "b:3", 3),
    ]
    ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    assert tags() == [
        {"why": "test", **dict(zip(ends, ("a:1", "a:2"), strict=True))},
        {"why": "test", "dagster/partition": "a:4"},
        {"why": "test", **dict(zip(ends, ("b:1", "b:3"), strict=True))},
    ]


def test_parallel_runs_are_distributed_over_as_many_lanes() -> None:
    with server() as (dagster, tags):
        launch_ranges(dagster, Launch(job=JOB, lanes=Lanes("monday", 2)), RANGES)
    assert [run["elt_assets/lane"] for run in tags()] == ["monday/0", "monday/1", "monday/0"]


def test_a_launch_that_fails_halfway_says_what_was_started_and_how_to_continue() -> None:
    with (
        server(refused_from=3) as (dagster, _),
        pytest.raises(ServerRefused, match=r"full \(after 2 runs .* the last for a:4; try again\)"),
    ):
        launch_ranges(dagster, Launch(job=JOB, to_go_on="try again"), RANGES)


def test_a_launch_that_started_nothing_reports_only_the_error() -> None:
    with (
        server(refused_from=1) as (dagster, _),
        pytest.raises(EltAssetsError, match=r"the disk is full$"),
    ):
        launch_ranges(dagster, Launch(job=JOB), RANGES)
