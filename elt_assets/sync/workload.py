"""Workload: the expected work of integrations, and the order in which they are synced.

Higher priority goes first. Within a priority, organizations take turns by the work that each has
been given so far: one with thousands of integrations does not make one with a single integration
wait. Within an organization the largest integration goes first, because a large one that starts
last would keep a run going alone. Integrations that a run left over are ordered by waiting time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush
from statistics import median

import msgspec

from elt_assets.sync.service import SyncService
from elt_assets.sync.state import sync_history
from elt_assets.sync.streams import Stream

_UNKNOWN_SECONDS = 1.0
"""The expected time of an integration while no integration has a history."""
_LEAST_SECONDS = 0.001


class Load(msgspec.Struct, frozen=True):
    """One integration's sync of a stream: its organization, priority and expected work.

    `seconds` is the time that one thread is expected to need; `synced_at` is when a sync last
    settled, '' if none did.
    """

    partition: str
    organization_id: str
    priority: int = 0
    seconds: float = _UNKNOWN_SECONDS
    synced_at: str = ""


class Past(msgspec.Struct, frozen=True):
    """What the ledger records of an enabled integration's newest settled sync."""

    partition: str
    organization_id: str
    priority: int
    synced_at: str
    fetched: int
    seconds: float


def in_turn(loads: Iterable[Load], *, longest_waiting_first: bool = False) -> list[Load]:
    """The loads in the order in which they are to begin."""
    by_priority: dict[int, list[Load]] = {}
    for load in loads:
        by_priority.setdefault(load.priority, []).append(load)

    def rank(load: Load) -> tuple[str | float, str]:
        return (load.synced_at if longest_waiting_first else -load.seconds), load.partition

    return [
        load
        for priority in sorted(by_priority, reverse=True)
        for load in _taking_turns(sorted(by_priority[priority], key=rank))
    ]


def _taking_turns(ranked: Iterable[Load]) -> list[Load]:
    """Order loads so that the organization with the least work so far is always next.

    Ties keep the order of `ranked`.
    """
    queues: dict[str, list[tuple[int, Load]]] = {}
    for place, load in enumerate(ranked):
        queues.setdefault(load.organization_id, []).append((place, load))
    for queue in queues.values():
        queue.reverse()
    turns = [(0.0, queue[-1][0], name) for name, queue in queues.items()]
    heapify(turns)
    order = []
    while turns:
        given, _, name = heappop(turns)
        queue = queues[name]
        _, load = queue.pop()
        order.append(load)
        if queue:
            heappush(turns, (given + max(load.seconds, _LEAST_SECONDS), queue[-1][0], name))
    return order


def expected(past: Collection[Past]) -> dict[str, Load]:
    """The expected load of each integration's next sync, by partition.

    The expected time is that of the last sync, whose stages the ledger timed. Where the ledger has
    only the number of records, it is that number at the median pace of the other integrations. An
    integration that was never synced gets the median time.
    """
    timed = [one for one in past if one.seconds > 0]
    common = median(one.seconds for one in timed) if timed else _UNKNOWN_SECONDS
    paces = [one.seconds / one.fetched for one in timed if one.fetched]
    pace = median(paces) if paces else 0.0

    def seconds(one: Past) -> float:
        return one.seconds or one.fetched * pace or common

    return {
        one.partition: Load(
            one.partition, one.organization_id, one.priority, seconds(one), one.synced_at
        )
        for one in past
    }


def loads(platform: SyncService, stream: Stream) -> dict[str, Load]:
    """The expected load of every enabled integration, by partition."""
    priority = platform.database.dialect.number_at("c.provider_data", "priority")
    rows = platform.database.rows(
        f"""
        SELECT
            c.organization_id || ':' || c.id AS "partition",
            c.organization_id,
            CAST(coalesce({priority}, 0) AS INTEGER) AS priority,
            coalesce(v.settled_at, '') AS synced_at,
            coalesce(s.fetched, 0) AS fetched,
            coalesce(
                s.seconds_extract + s.seconds_stage + s.seconds_detect + s.seconds_apply, 0.0
            ) AS seconds
        {sync_history.ENABLED_AND_NEWEST_SETTLED}
        """,
        (stream.name,),
    )
    return expected([Past(**row) for row in rows])
