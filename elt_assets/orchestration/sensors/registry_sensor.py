"""The registry sensor: makes partitions follow the registry, and requests first syncs."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Collection, Iterable, Mapping, Sequence

import dagster as dg

from elt_assets.orchestration.jobs.sync_jobs import NOT_ENDED, job_name, sync_jobs
from elt_assets.orchestration.partitions import (
    PARTITION_TAG,
    PARTITIONS,
    RANGE_END_TAG,
    RANGE_START_TAG,
    RangeLimits,
    connected_integrations,
    partition_tags,
    ranges_in_turn,
)
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.streams import STREAMS, USERS, Stream
from elt_assets.sync.workload import Load, loads


def first_syncs(
    partitions: Sequence[str],
    added: Sequence[str],
    wanted: Collection[str],
    loads: Mapping[str, Load],
    limits: RangeLimits,
    stream: Stream = USERS,
) -> list[dg.RunRequest]:
    """Runs that sync `stream` of the `wanted` keys; `added` keys come after `partitions`."""
    return [
        dg.RunRequest(job_name=job_name(stream), tags=partition_tags(keys))
        for keys in ranges_in_turn([*partitions, *added], wanted, loads, limits)
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
    partitions: Sequence[str],
    added: Sequence[str],
    limits: RangeLimits,
) -> list[dg.RunRequest]:
    offering = [entry.ref for entry in new if entry.offers(stream)]
    if not offering:
        return []
    wanted = [ref.partition_key for ref in platform.never_synced(stream, offering)]
    return first_syncs(partitions, added, wanted, loads(platform, stream), limits, stream)


def registry_sensor(*, limits: RangeLimits | None = None) -> dg.SensorDefinition:
    """The sensor that makes the partitions equal to the registry; on by default.

    A quiet tick costs one query of the registry and one of the partitions. Runs are read only when
    a partition must be deleted.
    """

    @dg.sensor(
        name="registry_sensor",
        jobs=list(sync_jobs.values()),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Adds a partition for every registered integration and requests its first "
        "sync; removes the partitions of integrations that are gone once no run is on them.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[SyncService]
    ) -> dg.SensorResult | dg.SkipReason:
        entries = platform.registry.all()
        enabled = {entry.ref.partition_key: entry.enabled for entry in entries}
        partitions = context.instance.get_dynamic_partitions(PARTITIONS)
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
            for stream in STREAMS.values()
            for request in _first_syncs(
                platform,
                stream,
                new,
                partitions,
                added,
                limits or RangeLimits.of(platform.settings),
            )
        ]
        if not added and not surplus and not new:
            return dg.SkipReason("the partitions equal the registry, or wait for a run to end")
        requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        if added:
            requests.append(connected_integrations.build_add_request(added))
        if surplus:
            requests.append(connected_integrations.build_delete_request(surplus))
        return dg.SensorResult(
            run_requests=requested,
            dynamic_partitions_requests=requests,
            cursor=max((entry.created_at for entry in entries), default=since),
        )

    return sensor
