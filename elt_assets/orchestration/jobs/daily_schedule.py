"""The daily schedule: it turns a tick into run requests for all enabled integrations."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Collection

import dagster as dg

from elt_assets.orchestration.jobs.sync_jobs import Urgency, sync_job
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.orchestration.partitions import (
    RangeLimits,
    RangePlan,
    partition_tags,
)
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.streams import STREAMS, USERS, Stream
from elt_assets.sync.workload import loads

_FIRST_MINUTE = 20
_BETWEEN_STREAMS = 15
"""Minutes. Streams of one integration share a file and are synced one after the other; the delay
lets the later stream find the file free."""


def daily_requests(plan: RangePlan, wanted: Collection[str], day: str) -> list[dg.RunRequest]:
    """Runs that sync every wanted integration once on `day` (an ISO date), in queue order.

    The day is in the sync id and in the run key, so a repeated tick launches nothing twice, and a
    run that is launched anyway continues the day's sync.
    """
    return [
        dg.RunRequest(
            run_key=f"daily-{day}/{keys[0]}...{keys[-1]}",
            tags={SYNC_ID_TAG: f"daily-{day}", **Urgency.NIGHTLY.tags, **partition_tags(keys)},
        )
        for keys in plan.in_turn(wanted)
    ]


def daily_sync(
    stream: Stream = USERS, at: Placement = STANDALONE, *, limits: RangeLimits | None = None
) -> dg.ScheduleDefinition:
    """The daily schedule of a stream; `limits` of a run default to the settings.

    Integrations that have no partition yet are left to the registry sensor, which requests their
    first sync.
    """
    minute = _FIRST_MINUTE + _BETWEEN_STREAMS * list(STREAMS).index(stream.name)

    @dg.schedule(
        name=at.name(f"daily_{STANDALONE.job(stream)}"),
        job=sync_job(stream, at),
        cron_schedule=f"{minute} 5 * * *",
        execution_timezone="UTC",
        default_status=at.schedules_are,
        required_resource_keys=at.required,
        description=f"Syncs {stream.name} of every enabled integration that offers them daily "
        f"at 05:{minute} UTC, in contiguous ranges.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        platform = at.platform(context)
        plan = RangePlan(
            context.instance.get_dynamic_partitions(at.partitions),
            loads(platform, stream),
            limits or RangeLimits.of(platform.settings),
        )
        requests = daily_requests(
            plan,
            [ref.partition_key for ref in platform.offering(stream)],
            context.scheduled_execution_time.date().isoformat(),
        )
        return requests or dg.SkipReason(
            "no enabled integration that offers them has a partition yet"
        )

    return schedule
