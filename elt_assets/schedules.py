"""Schedules: when enabled integrations are synced without anybody asking.

Belongs here: turning a tick into run requests. Does not: the arithmetic of ranges
(partitions) or which integrations exist (the registry says).
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterable, Iterator, Sequence

import dagster as dg

from elt_assets.assets.streams import SYNC_ID_TAG
from elt_assets.jobs import job_name, sync_jobs
from elt_assets.partitions import PARTITIONS, RANGE_LIMIT, contiguous_ranges, partition_tags
from elt_assets.sync.platform import Platform
from elt_assets.sync.stream import STREAMS, USERS, Stream

_FIRST_MINUTE = 20
_BETWEEN_STREAMS = 15
"""Minutes. Streams of one integration share a file and are synced one after the other; who
comes later finds it free."""


def daily_requests(
    instance_keys: Sequence[str], wanted_keys: Iterable[str], day: str, at_most: int
) -> Iterator[dg.RunRequest]:
    """Runs that sync every wanted integration once on `day` (an ISO date).

    The day is in the sync_id and in the run key: a tick that is repeated launches nothing
    twice, and a run that is launched all the same continues or repeats the day's sync.
    """
    for keys in contiguous_ranges(instance_keys, wanted_keys, at_most):
        yield dg.RunRequest(
            run_key=f"daily-{day}/{keys[0]}...{keys[-1]}",
            tags={SYNC_ID_TAG: f"daily-{day}", **partition_tags(keys)},
        )


def daily_sync(stream: Stream = USERS, *, range_limit: int = RANGE_LIMIT) -> dg.ScheduleDefinition:
    """The daily schedule of a stream, with at most `range_limit` integrations in a run.

    It runs unless stopped in the UI: keeping the copy current is what the platform is
    installed for, and with nothing registered a tick does nothing. Integrations that have
    no partition yet are left to the registry sensor, which requests their first sync.
    """
    minute = _FIRST_MINUTE + _BETWEEN_STREAMS * list(STREAMS).index(stream.name)

    @dg.schedule(
        name=f"daily_{job_name(stream)}",
        job=sync_jobs[stream.name],
        cron_schedule=f"{minute} 5 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Syncs {stream.name} of every enabled integration that offers them daily "
        f"at 05:{minute} UTC, in contiguous ranges.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        requests = list(
            daily_requests(
                context.instance.get_dynamic_partitions(PARTITIONS),
                [ref.partition_key for ref in platform.offering(stream)],
                context.scheduled_execution_time.date().isoformat(),
                range_limit,
            )
        )
        return requests or dg.SkipReason(
            "no enabled integration that offers them has a partition yet"
        )

    return schedule
