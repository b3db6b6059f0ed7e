"""Recovery: syncs that were interrupted are continued without anybody asking.

Belongs here: when an interrupted sync is due, as a pure decision, and the sensor around it.
Does not: finding interrupted syncs (the platform) or continuing one (the engine does, when
it is asked for a sync_id it knows).
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from elt_assets.assets.streams import SYNC_ID_TAG
from elt_assets.jobs import job_name, sync_jobs
from elt_assets.partitions import PARTITIONS, RANGE_LIMIT, contiguous_ranges, partition_tags
from elt_assets.sync.ledger import SyncRow
from elt_assets.sync.outcome import Status
from elt_assets.sync.platform import Platform
from elt_assets.sync.stream import STREAMS

# A run that ends writes its ledger row a moment after it lets go of the file.
SETTLING = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)


def is_due(row: SyncRow, now: datetime) -> bool:
    """Whether to continue the interrupted sync `row` at `now`.

    One whose process died goes on at once. One that failed waits a minute, then two, four …
    up to an hour: a provider that is away does not come back faster for being asked.
    """
    if row.status is Status.EXTRACTING:
        return now - datetime.fromisoformat(row.started_at) > SETTLING
    failed_at = datetime.fromisoformat(row.finished_at or row.started_at)
    doublings = min(row.attempts - 1, 10)
    return now - failed_at > min(timedelta(minutes=2**doublings), LONGEST_WAIT)


def recovery_requests(
    instance_keys: Sequence[str], rows: Iterable[SyncRow], at_most: int
) -> list[dg.RunRequest]:
    """Runs that continue `rows`: neighbours of one sync of one stream share a run.

    The run key counts attempts, so that each is continued once however often it is seen.
    """
    by_sync: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        by_sync.setdefault((row.stream, row.sync_id), {})[row.partition] = row.attempts
    return [
        dg.RunRequest(
            run_key=f"recover/{stream}/{sync_id}/{keys[0]}...{keys[-1]}"
            f"/{max(attempts[k] for k in keys)}",
            job_name=job_name(STREAMS[stream]),
            tags={SYNC_ID_TAG: sync_id, **partition_tags(keys)},
        )
        for (stream, sync_id), attempts in by_sync.items()
        for keys in contiguous_ranges(instance_keys, attempts, at_most)
    ]


def recovery_sensor(*, range_limit: int = RANGE_LIMIT) -> dg.SensorDefinition:
    """The sensor that continues interrupted syncs, up to ELT_ASSETS_MAX_RECOVERIES times each.

    It runs unless stopped in the UI: Dagster takes a killed worker for running until its
    run's time is over, hours later.
    """

    @dg.sensor(
        name="recovery_sensor",
        jobs=list(sync_jobs.values()),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Continues syncs whose process died, and those that failed for a reason "
        "that may have passed, from their last checkpoint.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = datetime.now(UTC)
        due = [row for row in platform.interrupted() if is_due(row, now)]
        requests = recovery_requests(
            context.instance.get_dynamic_partitions(PARTITIONS), due, range_limit
        )
        return requests or dg.SkipReason("nothing interrupted is due")

    return sensor
