"""Partitions: one for each connected integration, and ranges of them as runs need them.

The ranges are arithmetic on sorted keys: contiguous ranges that cover a set of keys, and the run
tags that name a range.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import dagster as dg

from elt_assets.config.settings import Settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.workload import Load, in_turn

RANGE_LIMIT = 100
"""Integrations in one run that a client asks for: enough to make a run's fixed cost small,
few enough that a lost worker takes little with it and runs spread over workers."""

_WORTH_CARRYING = 100
"""Keys in a row that a range carries along for nothing: starting a run costs as much as
storing some hundreds of their events."""

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

PARTITIONS = "connected_integrations"

connected_integrations = dg.DynamicPartitionsDefinition(name=PARTITIONS)


def contiguous_ranges(
    instance_keys: Sequence[str],
    wanted_keys: Iterable[str],
    at_most: int | None = None,
    *,
    carried: Container[str] = (),
    expected: Mapping[str, float] | None = None,
    seconds: float = inf,
) -> list[list[str]]:
    """`wanted_keys` as runs of neighbours in the order of `instance_keys`, `at_most` long each.

    A range stands for every key between its ends, in the order in which the instance
    learned them, so a key that is not wanted splits it, unless it is among `carried`: those
    cost a run next to nothing, and a few of them less than another run. Wanted keys that the
    instance does not know are left out: no run could carry them.

    With `expected` seconds of work by key, a range also ends before they exceed `seconds`
    together; what alone exceeds them has a range of its own.
    """
    wanted = set(wanted_keys)
    expected = expected or {}
    ranges: list[list[str]] = []
    work = inf
    gap: list[str] = []
    for key in instance_keys:
        if key in wanted:
            more = expected.get(key, 0.0)
            longer = len(ranges[-1]) + len(gap) + 1 if ranges else 0
            if work + more > seconds or work == inf or (at_most and longer > at_most):
                ranges.append([])
                work, gap = 0.0, []
            ranges[-1] += [*gap, key]
            work, gap = work + more, []
        elif key in carried and len(gap) < _WORTH_CARRYING:
            gap.append(key)
        else:
            work = inf
    return ranges


@dataclass(frozen=True, slots=True)
class RangeLimits:
    """How much one run may carry: integrations, and expected seconds of work."""

    integrations: int | None = None
    seconds: float = inf

    @classmethod
    def of(cls, settings: Settings) -> RangeLimits:
        """The limits of this installation."""
        return cls(settings.range_integrations, settings.range_seconds)


def ranges_in_turn(
    instance_keys: Sequence[str],
    wanted: Collection[str],
    loads: Mapping[str, Load],
    limits: RangeLimits,
    *,
    longest_waiting_first: bool = False,
    carried: Container[str] = (),
) -> list[list[str]]:
    """The ranges that cover `wanted`, sized by expected work, in the order in which they queue.

    A range has its turn when the first of its integrations has (`workload.in_turn`), so that
    neither priority nor fairness ends where one run ends and the next begins.
    """
    ranges = contiguous_ranges(
        instance_keys,
        wanted,
        limits.integrations,
        carried=carried,
        expected={key: load.seconds for key, load in loads.items()},
        seconds=limits.seconds,
    )
    known = [loads[key] for key in wanted if key in loads]
    order = in_turn(known, longest_waiting_first=longest_waiting_first)
    turn = {load.partition: place for place, load in enumerate(order)}
    return sorted(ranges, key=lambda keys: min(turn.get(key, len(turn)) for key in keys))


def partition_tags(keys: Sequence[str]) -> dict[str, str]:
    """Run tags that make a run carry exactly `keys`, which are neighbours.

    A single key gets the tag by which Dagster's pages find the runs of a partition.
    """
    if len(keys) == 1:
        return {PARTITION_TAG: keys[0]}
    return {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]}


def keys_of_run(tags: Mapping[str, str], instance_keys: Sequence[str]) -> list[str]:
    """The partitions that a run with these tags carries, in the order of `instance_keys`.

    One whose partition is gone is still named if the run carries it alone.
    """
    if PARTITION_TAG in tags:
        return [tags[PARTITION_TAG]]
    first, last = tags.get(RANGE_START_TAG), tags.get(RANGE_END_TAG)
    if first not in instance_keys or last not in instance_keys:
        return []
    return list(instance_keys[instance_keys.index(first) : instance_keys.index(last) + 1])


def add_partition_keys(instance: dg.DagsterInstance, refs: Iterable[IntegrationRef]) -> None:
    """Make the integrations known to the instance, in this order; known ones stay in place."""
    instance.add_dynamic_partitions(PARTITIONS, [ref.partition_key for ref in refs])
