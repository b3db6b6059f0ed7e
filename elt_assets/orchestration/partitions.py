"""Partitions: one for each connected integration, and the contiguous ranges that runs cover."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from elt_assets.config.settings import Settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.names import PARTITIONS
from elt_assets.sync.workload import Load, in_turn

if TYPE_CHECKING:
    import dagster as dg

RANGE_LIMIT = 100
"""Integrations in a run that a client starts: enough to make the fixed cost of a run small, few
enough that a lost worker loses little and runs spread over workers."""

_WORTH_CARRYING = 100
"""Consecutive unwanted keys that a range may include: starting another run costs as much as
storing some hundreds of their events."""

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def contiguous_ranges(
    instance_keys: Sequence[str],
    wanted_keys: Iterable[str],
    at_most: int | None = None,
    *,
    carried: Container[str] = (),
    expected: Mapping[str, float] | None = None,
    seconds: float = inf,
) -> list[list[str]]:
    """Contiguous ranges of `instance_keys` that cover `wanted_keys`, each at most `at_most` long.

    A range includes every key between its ends, in the instance's order. An unwanted key therefore
    splits it, unless the key is in `carried`: such a key costs almost nothing, and a few of them
    cost less than another run. Wanted keys that the instance does not know are left out.

    With `expected` seconds of work by key, a range also ends before its sum exceeds `seconds`; a
    key that alone exceeds them has a range of its own.
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
    """The limits of one run: integrations, and expected seconds of work."""

    integrations: int | None = None
    seconds: float = inf

    @classmethod
    def of(cls, settings: Settings) -> RangeLimits:
        return cls(settings.range_integrations, settings.range_seconds)


@dataclass(frozen=True, slots=True)
class RangePlan:
    """How partitions are cut into runs: the instance's keys, expected work by key, and limits."""

    keys: Sequence[str]
    loads: Mapping[str, Load] = field(default_factory=dict)
    limits: RangeLimits = RangeLimits()

    def in_turn(
        self,
        wanted: Collection[str],
        *,
        longest_waiting_first: bool = False,
        carried: Container[str] = (),
    ) -> list[list[str]]:
        """The ranges that cover `wanted`, sized by expected work, in the order in which they queue.

        The first integration of a range by `workload.in_turn` decides the place of the range, so
        that priority and fairness hold across runs.
        """
        loads = self.loads
        ranges = contiguous_ranges(
            self.keys,
            wanted,
            self.limits.integrations,
            carried=carried,
            expected={key: load.seconds for key, load in loads.items()},
            seconds=self.limits.seconds,
        )
        known = [loads[key] for key in wanted if key in loads]
        order = in_turn(known, longest_waiting_first=longest_waiting_first)
        turn = {load.partition: place for place, load in enumerate(order)}
        return sorted(ranges, key=lambda keys: min(turn.get(key, len(turn)) for key in keys))


def partition_tags(keys: Sequence[str]) -> dict[str, str]:
    """Run tags for exactly the contiguous `keys`.

    A single key gets the tag by which Dagster's pages find the runs of a partition.
    """
    if len(keys) == 1:
        return {PARTITION_TAG: keys[0]}
    return {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]}


def keys_of_run(tags: Mapping[str, str], instance_keys: Sequence[str]) -> list[str]:
    """The partitions of a run with these tags, in the order of `instance_keys`.

    The only partition of a run is returned even if it no longer exists.
    """
    if PARTITION_TAG in tags:
        return [tags[PARTITION_TAG]]
    first, last = tags.get(RANGE_START_TAG), tags.get(RANGE_END_TAG)
    if first not in instance_keys or last not in instance_keys:
        return []
    return list(instance_keys[instance_keys.index(first) : instance_keys.index(last) + 1])


def add_partition_keys(instance: dg.DagsterInstance, refs: Iterable[IntegrationRef]) -> None:
    """Add partitions for the integrations, in this order; existing ones stay in place."""
    instance.add_dynamic_partitions(PARTITIONS, [ref.partition_key for ref in refs])
