"""The registry sensor: makes partitions follow the registry, and requests first syncs."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Collection, Iterable, Mapping, Sequence

import dagster as dg

from elt_assets.orchestration.jobs.sync_jobs import NOT_ENDED, sync_jobs
from elt_assets.orchestration.partitions import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    RangeLimits,
    RangePlan,
    partition_tags,
)
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.streams import USERS, Stream
from elt_assets.sync.workload import loads


def first_syncs(
    plan: RangePlan, wanted: Collection[str], stream: Stream = USERS, at: Placement = STANDALONE
) -> list[dg.RunRequest]:
    """Runs that sync `stream` of the `wanted` keys."""
    return [
        dg.RunRequest(job_name=at.job(stream), tags=partition_tags(keys))
        for keys in plan.in_turn(wanted)
    ]


def deletable(
    partitions: Sequence[str], surplus: Sequence[str], run_tags: Iterable[Mapping[str, str]]
) -> list[str]:
    """The keys of `surplus` that are in no unfinished run.

    Deleting a key that a run has in its range fails the whole run.
    """
    position = {key: index for index, key in enumerate(partitions)}
    spans = []
    for tags in run_tags:
        first = position.get(tags.get(RANGE_START_TAG, tags.get(PARTITION_TAG, "")))
        last = position.get(tags.get(RANGE_END_TAG, tags.get(PARTITION_TAG, "")))
        if first is not None and last is not None:
            spans.append((first, last))
    return [
        key for key in surplus if not any(first <= position[key] <= last for first, last in spans)
    ]


def _first_syncs(
    platform: SyncService,
    stream: Stream,
    new: Sequence[Integration],
    keys: Sequence[str],
    limits: RangeLimits,
    at: Placement,
) -> list[dg.RunRequest]:
    offering = [entry.ref for entry in new if entry.offers(stream)]
    if not offering:
        return []
    wanted = [ref.partition_key for ref in platform.never_synced(stream, offering)]
    return first_syncs(RangePlan(keys, loads(platform, stream), limits), wanted, stream, at)


def registry_sensor(
    at: Placement = STANDALONE, *, limits: RangeLimits | None = None
) -> dg.SensorDefinition:
    """The sensor that makes the partitions equal to the registry.

    A quiet tick costs one query of the registry and one of the partitions. Runs are read only when
    a partition must be deleted.
    """

    @at.sensor(
        "registry_sensor",
        seconds=30,
        jobs=sync_jobs(at),
        description="Adds a partition for every registered integration and requests its first "
        "sync; removes the partitions of integrations that are gone once no run is on them.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        platform = at.platform(context)
        entries = platform.registry.all()
        enabled = {entry.ref.partition_key: entry.enabled for entry in entries}
        partitions = context.instance.get_dynamic_partitions(at.partitions)
        known = set(partitions)
        added = [key for key in enabled if key not in known]
        surplus = [key for key in partitions if key not in enabled]
        if surplus:
            running = context.instance.get_runs(dg.RunsFilter(statuses=NOT_ENDED))
            surplus = deletable(partitions, surplus, [run.tags for run in running])
        # The cursor is the registration time of the newest known integration, so the first sync is
        # requested once, whether a command or this sensor adds the partition.
        since = context.cursor or ""
        new = [entry for entry in entries if entry.enabled and entry.created_at > since]
        requested = [
            request
            for stream in at.streams
            for request in _first_syncs(
                platform,
                stream,
                new,
                [*partitions, *added],
                limits or RangeLimits.of(platform.settings),
                at,
            )
        ]
        if not added and not surplus and not new:
            return dg.SkipReason("the partitions equal the registry, or wait for a run to end")
        requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        if added:
            requests.append(at.integrations.build_add_request(added))
        if surplus:
            requests.append(at.integrations.build_delete_request(surplus))
        return dg.SensorResult(
            run_requests=requested,
            dynamic_partitions_requests=requests,
            cursor=max((entry.created_at for entry in entries), default=since),
        )

    return sensor
