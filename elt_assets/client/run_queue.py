"""The queue of runs: its state, and why each queued run waits.

The daemon goes through the queue by priority, then age. It starts each run that fits under the
limits of its tags, into its pools, and under the limit of concurrent runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from elt_assets.client.run_descriptions import Run
from elt_assets.orchestration.names import LANE_TAG, PRIORITY_TAG

HEARTBEAT_TOLERANCE = 180.0
"""Seconds without a heartbeat, which comes every 30 to 60, before the daemon counts as gone."""

TagLimit = Mapping[str, Any]
"""An entry of `tag_concurrency_limits` in dagster.yaml: key, limit and perhaps value."""


class Daemon(msgspec.Struct, frozen=True):
    """A part of the daemon, and the time of its last heartbeat, in seconds since 1970."""

    name: str
    required: bool
    last_heartbeat: float | None
    errors: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether a required part sent a heartbeat lately; Dagster itself waits half an hour."""
        return not self.required or (
            self.last_heartbeat is not None
            and time.time() - self.last_heartbeat < HEARTBEAT_TOLERANCE
        )


class Pool(msgspec.Struct, frozen=True):
    """A concurrency pool: all its slots, the slots in use, and the steps that wait for one."""

    name: str
    slots: int
    taken: int
    waiting: int


class RunQueue(msgspec.Struct, frozen=True):
    """The numbers of queued and running runs, the pools and the daemon."""

    queued: int
    running: int
    limit: int | None
    oldest_queued_at: float | None
    pools: tuple[Pool, ...]
    daemons: tuple[Daemon, ...]


class Queued(msgspec.Struct, frozen=True):
    """A queued run, and the pools of its first steps.

    `begins_anyway` is whether one of these steps is in no pool.
    """

    run: Run
    pools: tuple[str, ...] = ()
    begins_anyway: bool = True


class Waiting(msgspec.Struct, frozen=True):
    """A queued run: its place in the queue, from 1, and what it waits for."""

    place: int
    run_id: str
    job: str
    first: str | None
    last: str | None
    priority: int
    since: float
    reason: str


def explained(
    queued: Sequence[Queued], running: Sequence[Run], limits: Sequence[TagLimit], queue: RunQueue
) -> list[Waiting]:
    """Every queued run, in the order in which the daemon considers them."""
    # Imported here, because nothing else about the queue needs Dagster.
    from elt_assets.orchestration.dagster_internals import TagConcurrencyLimitsCounter

    # One of the daemon's own counters for each limit tells which limit holds a run back.
    started: list[Any] = list(running)
    counters = [(limit, TagConcurrencyLimitsCounter([limit], started)) for limit in limits]
    full = {pool.name: pool.slots for pool in queue.pools if pool.taken >= pool.slots}
    order = sorted(queued, key=lambda one: (-priority(one.run.tags), one.run.created_at))
    found = []
    in_front = 0
    for place, one in enumerate(order, start=1):
        run: Any = one.run
        blocking = next((limit for limit, counter in counters if counter.is_blocked(run)), None)
        if blocking is not None:
            reason = _limit_reached(blocking, one.run.tags)
        elif (pools := _full_pools(one, full)) is not None:
            reason = pools
        else:
            if queue.limit is not None and queue.limit - queue.running <= in_front:
                reason = f"{queue.running} of {queue.limit} runs are running"
                reason += f", and {in_front} in front of it" if in_front else ""
            else:
                reason = "it is next; the daemon starts runs every few seconds"
                for _, counter in counters:
                    counter.update_counters_with_launched_item(run)
            in_front += 1
        first, last = one.run.ends or (None, None)
        found.append(
            Waiting(
                place=place,
                run_id=one.run.run_id,
                job=one.run.job,
                first=first,
                last=last,
                priority=priority(one.run.tags),
                since=one.run.created_at,
                reason=reason,
            )
        )
    return found


def priority(tags: Mapping[str, str]) -> int:
    """A run's priority; the daemon reads a text that is not a number as 0."""
    try:
        return int(tags.get(PRIORITY_TAG, "0"))
    except ValueError:
        return 0


def is_lane_limit(limit: TagLimit) -> bool:
    """Whether the limit lets the runs of one lane run one after the other."""
    value = limit.get("value")
    each = isinstance(value, Mapping) and bool(value.get("applyLimitPerUniqueValue"))
    return limit["key"] == LANE_TAG and each


def _limit_reached(limit: TagLimit, tags: Mapping[str, str]) -> str:
    key, value = limit["key"], tags[limit["key"]]
    if key == LANE_TAG:
        return f"another run is in its lane, {value}"
    tag = f"{key}={value}" if limit.get("value") else key
    return f"the limit of runs with the tag {tag} is reached ({limit['limit']})"


def _full_pools(one: Queued, full: Mapping[str, int]) -> str | None:
    """The full pools that hold the run back; a run can begin while one of its first steps can."""
    if one.begins_anyway or not one.pools or not all(pool in full for pool in one.pools):
        return None
    names = ", ".join(f"{name} (all {full[name]} slots taken)" for name in one.pools)
    return f"full pools: {names}"
