"""Simulation of a night's syncs, to find the fewest workers that are enough.

Each slot of a worker syncs one integration after the other. A sync waits for the provider, then for
its worker's processor, for a processor of the catalog server, and for its turn to commit and to
write to Dagster's event log. The last two serve one sync at a time in the order of arrival. Nothing
else is modelled: no failures, no memory, no start of runs.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.capacity.costs import Costs, Fleet

_MOST_WORKERS = 4_096


@dataclass(frozen=True, slots=True)
class Night:
    """How long a night's syncs took, and the share of that time in which each part was busy."""

    seconds: float
    workers: float
    server: float
    commits: float
    instance: float

    @property
    def bottleneck(self) -> str:
        """The busiest part; the providers if every part was mostly idle."""
        shares = {
            "workers": self.workers,
            "catalog's server": self.server,
            "commits": self.commits,
            "Dagster's log": self.instance,
        }
        part = max(shares, key=lambda name: shares[name])
        return part if shares[part] > 0.7 else "providers"


def night(fleet: Fleet, costs: Costs, workers: int, slots: int, seed: int = 0) -> Night:
    """Sync every integration once; a worker has one processor for its `slots`."""
    dice = random.Random(seed)
    processors = [0.0] * workers
    servers = [0.0] * fleet.catalog_processors
    commits = instance = 0.0
    busy = [0.0] * 4
    # When each slot is free; slots of one worker share its processor.
    free = [(0.0, slot % workers) for slot in range(workers * slots)]
    heapq.heapify(free)
    end = 0.0
    for changed in _drawn(fleet, dice):
        at, worker = heapq.heappop(free)
        at += fleet.waiting * dice.uniform(0.5, 1.5)
        computing = costs.worker(changed)
        at = processors[worker] = max(at, processors[worker]) + computing
        reading = costs.server(changed, fleet.integrations)
        committing = costs.catalog(changed)
        if changed:
            at = max(at, heapq.heappop(servers)) + reading
            heapq.heappush(servers, at)
            at = commits = max(at, commits) + committing
        at = instance = max(at, instance) + costs.instance
        for part, used in enumerate((computing, reading, committing, costs.instance)):
            busy[part] += used
        end = max(end, at)
        heapq.heappush(free, (at, worker))
    return Night(
        end,
        busy[0] / (workers * end),
        busy[1] / (fleet.catalog_processors * end),
        busy[2] / end,
        busy[3] / end,
    )


def enough(fleet: Fleet, costs: Costs, seconds: float, slots: int) -> tuple[int, Night] | None:
    """The fewest workers that sync every integration in that time; None if no number does."""
    workers = 1
    while (found := night(fleet, costs, workers, slots)).seconds > seconds:
        if workers >= _MOST_WORKERS or found.bottleneck not in ("workers", "providers"):
            return None
        workers *= 2
    fewest, most = workers // 2, workers
    while most - fewest > 1:
        middle = (fewest + most) // 2
        if night(fleet, costs, middle, slots).seconds > seconds:
            fewest = middle
        else:
            most = middle
    return most, night(fleet, costs, most, slots)


def _drawn(fleet: Fleet, dice: random.Random) -> Iterator[bool]:
    """For each integration whether it has changed."""
    for _ in range(fleet.integrations):
        yield dice.random() < fleet.changed
