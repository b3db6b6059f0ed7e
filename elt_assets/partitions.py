"""Partitions: one for every connected integration, and the arithmetic of ranges of them.

Belongs here: the partitions definition, which contiguous ranges cover a set of keys, and
the run tags that name a range. Does not: deciding which integrations are due (schedules,
sensors) or starting a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from elt_assets.identifiers import IntegrationRef

RANGE_LIMIT = 100
"""Integrations in one run unless told otherwise: enough to make a run's fixed cost small,
few enough that a lost worker takes little with it and runs spread over workers."""

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

PARTITIONS = "connected_integrations"

connected_integrations = dg.DynamicPartitionsDefinition(name=PARTITIONS)


def contiguous_ranges(
    instance_keys: Sequence[str], wanted_keys: Iterable[str], at_most: int | None = None
) -> list[list[str]]:
    """`wanted_keys` as runs of neighbours in the order of `instance_keys`, `at_most` long each.

    A range stands for every key between its ends, in the order in which the instance
    learned them, so a key that is not wanted splits it. Wanted keys that the instance does
    not know are left out: no run could carry them.
    """
    wanted = set(wanted_keys)
    ranges: list[list[str]] = []
    open_range = False
    for key in instance_keys:
        if key not in wanted:
            open_range = False
            continue
        if not open_range or len(ranges[-1]) == at_most:
            ranges.append([])
        ranges[-1].append(key)
        open_range = True
    return ranges


def partition_tags(keys: Sequence[str]) -> dict[str, str]:
    """Run tags that make a run carry exactly `keys`, which are neighbours.

    A single key gets the tag by which Dagster's pages find the runs of a partition.
    """
    if len(keys) == 1:
        return {PARTITION_TAG: keys[0]}
    return {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]}


def add_partition_keys(instance: dg.DagsterInstance, refs: Iterable[IntegrationRef]) -> None:
    """Make the integrations known to the instance, in this order; known ones stay in place."""
    instance.add_dynamic_partitions(PARTITIONS, [ref.partition_key for ref in refs])
