"""Why a run waits: by the rules of the daemon, in words."""

from __future__ import annotations

import pytest
from dagster._core.storage.dagster_run import DagsterRun
from dagster._utils.tags import TagConcurrencyLimitsCounter
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.client.queue_reasons import explained, priority
from elt_assets.client.web_server import Pool, Queue, Queued, Run, Server, TagLimit
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

LANES = TagLimit("elt_assets/lane", 1, each_value=True)


def run(name: str, created_at: float = 0.0, **tags: str) -> Run:
    """A run whose tags are `priority`, `lane` and `team`, in the words of their owners."""
    spelled = {"priority": "dagster/priority", "lane": "elt_assets/lane", "team": "team"}
    named = {spelled[key]: value for key, value in tags.items()}
    return Run(name, "sync", "QUEUED", {"dagster/partition": "a:1", **named}, created_at)


def queue(limit: int | None, running: int, *pools: Pool) -> Queue:
    return Queue(0, running, limit, None, pools, ())


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


def test_who_finds_no_room_waits_for_those_that_run_and_those_in_front() -> None:
    assert reasons([run("a", 1), run("b", 2), run("c", 3)], [run("r")], [], 2) == [
        "a: it is next; the daemon looks every few seconds",
        "b: 1 of 2 runs are running, and 1 in front of it",
        "c: 1 of 2 runs are running, and 2 in front of it",
    ]


def test_a_lane_lets_one_run_in_and_others_pass_by() -> None:
    going = [run("r", lane="monday/0")]
    queued = [
        run("same", 1, lane="monday/0"),
        run("other", 2, lane="monday/1"),
        run("behind", 3, lane="monday/1"),
    ]
    assert reasons(queued, going, [LANES], 9) == [
        "same: another run is in its lane, monday/0",
        "other: it is next; the daemon looks every few seconds",
        "behind: another run is in its lane, monday/1",
    ]


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (TagLimit("team", 1), "1 with the tag team are running, as many as may"),
        (TagLimit("team", 1, "red"), "1 with the tag team=red are running, as many as may"),
        (TagLimit("team", 1, "blue"), "it is next; the daemon looks every few seconds"),
    ],
)
def test_other_limits_are_named_by_their_tag(limit: TagLimit, reason: str) -> None:
    queued, going = run("a", 1, team="red"), run("r", team="red")
    assert reasons([queued], [going], [limit], 9) == [f"a: {reason}"]


@given(
    limits=st.lists(
        st.builds(
            TagLimit,
            st.sampled_from("ab"),
            st.integers(0, 2),
            st.none() | st.sampled_from("xy"),
        )
        | st.builds(TagLimit, st.sampled_from("ab"), st.integers(0, 2), each_value=st.just(True)),
        max_size=2,
        unique_by=lambda limit: (limit.key, limit.value, limit.each_value),
    ),
    queued=st.lists(st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")), max_size=5),
    running=st.lists(st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")), max_size=3),
)
def test_who_is_held_up_by_a_tag_is_whom_the_daemon_holds_up(
    limits: list[TagLimit], queued: list[dict[str, str]], running: list[dict[str, str]]
) -> None:
    values = [limit.value or {"applyLimitPerUniqueValue": limit.each_value} for limit in limits]
    dagster = TagConcurrencyLimitsCounter(
        [
            {"key": limit.key, "limit": limit.limit, "value": value}
            for limit, value in zip(limits, values, strict=True)
        ],
        [DagsterRun("sync", tags=tags) for tags in running],
    )
    begins = []
    for tags in queued:
        begins.append(not dagster.is_blocked(DagsterRun("sync", tags=tags)))
        if begins[-1]:
            dagster.update_counters_with_launched_item(DagsterRun("sync", tags=tags))
    found = explained(
        [Queued(Run(str(n), "sync", "QUEUED", tags, n)) for n, tags in enumerate(queued)],
        [Run("r", "sync", "STARTED", tags, 0.0) for tags in running],
        limits,
        queue(None, len(running)),
    )
    assert [one.reason.startswith("it is next") for one in found] == begins


@pytest.mark.parametrize(
    ("pools", "anyway", "waits"),
    [
        (("extract",), False, True),
        (("extract", "load"), False, False),
        (("extract",), True, False),
        ((), False, False),
    ],
)
def test_a_run_waits_for_pools_if_all_it_can_begin_with_are_full(
    pools: tuple[str, ...], anyway: bool, waits: bool
) -> None:
    full, roomy = Pool("extract", 4, 4, 2), Pool("load", 2, 1, 0)
    (found,) = explained([Queued(run("a"), pools, anyway)], [], [], queue(9, 0, full, roomy))
    assert (found.reason == "full pools: extract (all 4 slots taken)") is waits


def test_a_priority_that_is_no_number_is_none() -> None:
    assert [priority({"dagster/priority": text}) for text in ("7", "soon", "")] == [7, 0, 0]


def test_the_server_is_asked_for_its_limits_and_who_waits() -> None:
    limits = """
- key: elt_assets/lane
  limit: 1
  value: {applyLimitPerUniqueValue: true}
- {key: team, limit: 3, value: red}
- {key: any, limit: 5}
"""
    node = {
        "runId": "r1",
        "jobName": "sync",
        "status": "QUEUED",
        "tags": [{"key": "dagster/priority", "value": "5"}],
        "creationTime": 7.0,
        "startTime": None,
        "endTime": None,
        "rootRunId": None,
        "runConfig": {},
        "rootConcurrencyKeys": ["extract", "extract"],
        "hasUnconstrainedRootNodes": False,
    }

    def answer(asked: Asked) -> Reply:
        if b"Limits" in asked.body:
            return as_json(
                {"data": {"instance": {"runQueueConfig": {"tagConcurrencyLimitsYaml": limits}}}}
            )
        return as_json({"data": {"runsOrError": {"__typename": "Runs", "results": [node]}}})

    with Provider(answer) as provider:
        server = Server(provider.url)
        assert server.tag_limits() == [LANES, TagLimit("team", 3, "red"), TagLimit("any", 5)]
        (queued,) = server.queued()
    assert (queued.run.run_id, queued.pools, queued.begins_anyway) == ("r1", ("extract",), False)
