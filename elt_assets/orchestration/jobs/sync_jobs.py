"""The sync jobs, one for each stream, and the tags of their runs."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import TypeAlias

import dagster as dg

from elt_assets.orchestration.dagster_internals import UnresolvedAssetJobDefinition
from elt_assets.orchestration.names import PRIORITY_TAG
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import Stream

Job: TypeAlias = UnresolvedAssetJobDefinition
"""A job of selected assets."""

ENDED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)
"""Statuses of runs that have ended."""

NOT_ENDED = tuple(status for status in dg.DagsterRunStatus if status not in ENDED)


SHARED_JOB = "__ASSET_JOB"
"""Dagster's job for runs that select assets. All assets of a code location share it, and every
code location has one."""

QUIET_CONSOLE = {"console": {"config": {"log_level": "CRITICAL"}}}
"""Loggers of runs inside a command: by default Dagster prints every event to standard error, where
the command shows progress. All events are stored in the instance."""

WORKER_TAG = "elt_assets/worker"
"""Run tag: the worker that carries out the run. Dagster checks such runs, and another worker
continues a run whose worker is gone."""

LEFT = "none any more"
"""Value of the worker tag for a run whose worker was stopped."""


class Urgency(IntEnum):
    """The priority of a run in the queue: runs that a person waits for go first."""

    NIGHTLY = -10
    BACKFILL = -5
    CONFIRMATION = 0
    RECOVERY = 5
    INTERACTIVE = 10

    @property
    def tags(self) -> dict[str, str]:
        """The run tag for Dagster's queue."""
        return {PRIORITY_TAG: str(int(self))}


# Each stream has a job, because a run is planned for every asset and partition in it: in a common
# run, an integration without groups would be planned for groups, and would show as failed whenever
# the run fails.
@cache
def sync_job(stream: Stream, at: Placement = STANDALONE) -> Job:
    """The job that syncs a stream."""
    return dg.define_asset_job(
        at.job(stream),
        # A selection of assets includes their checks. These would be planned with every run and
        # skipped, which would hide the result of the last real check.
        selection=dg.AssetSelection.assets(
            *(at.table(stream, stage) for stage in Stage)
        ).without_checks(),
        # A process for the step would cost seconds without a benefit: the run itself works on
        # several integrations at a time.
        executor_def=dg.in_process_executor,
        tags=at.job_tags,
        description=f"Bring {stream.name} of every integration of the run's partition, or range "
        "of partitions, up to date. A repeated run continues the same sync.",
    )


def sync_jobs(at: Placement = STANDALONE) -> list[Job]:
    """The sync jobs of all streams."""
    return [sync_job(stream, at) for stream in at.streams]
