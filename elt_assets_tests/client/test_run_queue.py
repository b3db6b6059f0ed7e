"""Why a queued run waits."""

from __future__ import annotations

import json

import pytest

from elt_assets.client.run_descriptions import Run
from elt_assets.client.run_queue import (
    Pool,
    Queued,
    RunQueue,
    TagLimit,
    explained,
    is_lane_limit,
    priority,
)
from elt_assets.client.web_server import Server
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

LANES = {"key": "elt_assets/lane", "limit": 1, "value": {"applyLimitPerUniqueValue": True}}


def run(name: str, created_at: float = 0.0, **tags: str) -> Run:
    """A run whose tags are `priority`, `lane` and `team`, in the words of their owners."""
    spelled = {"priority": "dagster/priority", "lane": "elt_assets/lane", "team": "team"}
    named = {spelled[key]: value for key, value in tags.items()}
    return Run(name, "sync", "QUEUED", {"dagster/partition": "a:1", **named}, created_at)


def queue(limit: int | None, running: int, *pools: Pool) -> RunQueue:
    return RunQueue(0, running, limit, None, pools, ())


def reasons(queued: list[Run], running: list[Run], limits: list[TagLimit], limit: int) -> list[str]:
    found = explained([Queued(one) for one in queued], running, limits, queue(limit, len(running)))
    return [f"{one.run_id}: {one.reason}" for one in found]


def test_priority_goes_before_age() -> None:
    queued = [
        run("nightly", 1, priority="-10"),
        run("second", 3),
        run("first", 2),
        run("urgent", 9, priority="10"),
        run("odd", 4, priority="high"),
    ]
    order = [line.partition(":")[0] for line in reasons(queued, [], [], 9)]
    assert order == ["urgent", "first", "second", "odd", "nightly"]


def test_a_run_waits_for_running_runs_and_for_those_in_front_of_it() -> None:
    assert reasons([run("a", 1), run("b", 2), run("c", 3)], [run("r")], [], 2) == [
        "a: it is next; the daemon starts runs every few seconds",
        "b: 1 of 2 runs are running, and 1 in front of it",
        "c: 1 of 2 runs are running, and 2 in front of it",
    ]


def test_a_lane_admits_one_run_and_others_overtake_the_rest() -> None:
    going = [run("r", lane="monday/0")]
    queued = [
        run("same", 1, lane="monday/0"),
        run("other", 2, lane="monday/1"),
        run("behind", 3, lane="monday/1"),
    ]
    assert reasons(queued, going, [LANES], 9) == [
        "same: another run is in its lane, monday/0",
        "other: it is next; the daemon starts runs every few seconds",
        "behind: another run is in its lane, monday/1",
    ]


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"key": "team", "limit": 1}, "the limit of runs with the tag team is reached (1)"),
        (
            {"key": "team", "limit": 1, "value": "red"},
            "the limit of runs with the tag team=red is reached (1)",
        ),
        (
            {"key": "team", "limit": 1, "value": "blue"},
            "it is next; the daemon starts runs every few seconds",
        ),
    ],
)
def test_any_other_limit_is_named_by_its_tag(limit: TagLimit, reason: str) -> None:
    queued, going = run("a", 1, team="red"), run("r", team="red")
    assert reasons([queued], [going], [limit], 9) == [f"a: {reason}"]


@pytest.mark.parametrize(
    ("pools", "anyway", "waits"),
    [
        (("extract",), False, True),
        (("extract", "load"), False, False),
        (("extract",), True, False),
        ((), False, False),
    ],
)
def test_a_run_waits_while_the_pools_of_all_its_first_steps_are_full(
    pools: tuple[str, ...], anyway: bool, waits: bool
) -> None:
    full, roomy = Pool("extract", 4, 4, 2), Pool("load", 2, 1, 0)
    (found,) = explained([Queued(run("a"), pools, anyway)], [], [], queue(9, 0, full, roomy))
    assert (found.reason == "full pools: extract (all 4 slots taken)") is waits


def test_a_priority_that_is_not_a_number_counts_as_0() -> None:
    assert [priority({"dagster/priority": text}) for text in ("7", "soon", "")] == [7, 0, 0]


def test_limits_and_queued_runs_are_read_from_the_server() -> None:
    limits = """
- key: elt_assets/lane
  limit: 1
  value: {applyLimitPerUniqueValue: true}
- {key: team, limit: 3, value: red}
- {key: any, limit: 5}
"""
    node = {
        "run_id": "r1",
        "job": "sync",
        "status": "QUEUED",
        "tags": [{"key": "dagster/priority", "value": "5"}],
        "created_at": 7.0,
        "started_at": None,
        "ended_at": None,
        "root_run_id": None,
        "config": {},
        "pools": ["extract", "extract"],
        "begins_anyway": False,
    }

    def answer(asked: Asked) -> Reply:
        if json.loads(asked.body)["operationName"] == "Limits":
            return as_json(
                {"data": {"instance": {"runQueueConfig": {"tagConcurrencyLimitsYaml": limits}}}}
            )
        return as_json({"data": {"runsOrError": {"__typename": "Runs", "results": [node]}}})

    with Provider(answer) as provider:
        server = Server(provider.url)
        found = server.tag_limits()
        assert [is_lane_limit(limit) for limit in found] == [True, False, False]
        assert found[0] == LANES
        (queued,) = server.queued()
    assert (queued.run.run_id, queued.pools, queued.begins_anyway) == ("r1", ("extract",), False)
