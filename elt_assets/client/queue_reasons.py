"""Why each queued run waits, by the rules of the daemon.

The daemon goes through the queue by priority, then age. It takes each run that fits under the
limits of its tags, into its pools, and under the limit of concurrent runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from elt_assets.client.web_server import Queue, Queued, Run, TagLimit
from elt_assets.orchestration.jobs.sync_jobs import LANE_TAG, PRIORITY_TAG


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
    queued: Sequence[Queued], running: Sequence[Run], limits: Sequence[TagLimit], queue: Queue
) -> list[Waiting]:
    """Every queued run in the order in which the daemon looks at them."""
    counts = _Counts(limits, running)
    free = None if queue.limit is None else queue.limit - queue.running
    full = {pool.name: pool.slots for pool in queue.pools if pool.taken >= pool.slots}
    order = sorted(queued, key=lambda one: (-priority(one.run.tags), one.run.created_at))
    found = []
    in_front = 0
    for place, one in enumerate(order, start=1):
        reason = counts.reached(one.run.tags) or _pools_full(one, full)
        if reason is None:
            if free is not None and free <= in_front:
                reason = f"{queue.running} of {queue.limit} runs are running"
                reason += f", and {in_front} in front of it" if in_front else ""
            else:
                reason = "it is next; the daemon looks every few seconds"
                counts.add(one.run.tags)
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
    """A run's priority as the daemon reads it: what is no number is none."""
    try:
        return int(tags.get(PRIORITY_TAG, "0"))
    except ValueError:
        return 0


class _Counts:
    """How many runs each limited tag has."""

    def __init__(self, limits: Sequence[TagLimit], running: Sequence[Run]) -> None:
        self._limits = limits
        self._counts: Counter[tuple[int, str]] = Counter()
        for run in running:
            self.add(run.tags)

    def add(self, tags: Mapping[str, str]) -> None:
        for number, limit in enumerate(self._limits):
            if (what := limit.counted(tags)) is not None:
                self._counts[number, what] += 1

    def reached(self, tags: Mapping[str, str]) -> str | None:
        """The first limit that a run with these tags would break, in words."""
        for number, limit in enumerate(self._limits):
            what = limit.counted(tags)
            if what is None or self._counts[number, what] < limit.limit:
                continue
            if limit.key == LANE_TAG:
                return f"another run is in its lane, {what}"
            named = f"{limit.key}={what}" if what else limit.key
            return f"{limit.limit} with the tag {named} are running, as many as may"
        return None


def _pools_full(one: Queued, full: Mapping[str, int]) -> str | None:
    """A run can begin while one of its first steps can."""
    if one.begins_anyway or not one.pools or not all(pool in full for pool in one.pools):
        return None
    names = ", ".join(f"{name} (all {full[name]} slots taken)" for name in one.pools)
    return f"full pools: {names}"
