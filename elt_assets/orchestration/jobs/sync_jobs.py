"""The sync jobs, one for each stream, and the tags of their runs."""

from __future__ import annotations

from enum import IntEnum

import dagster as dg

from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import STREAMS, USERS, Stream

ENDED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)
"""Statuses of runs that have ended."""

NOT_ENDED = tuple(status for status in dg.DagsterRunStatus if status not in ENDED)


QUIET_CONSOLE = {"console": {"config": {"log_level": "CRITICAL"}}}
"""Loggers of runs inside a command: by default Dagster prints every event to standard error, where
the command shows progress. All events are stored in the instance."""

LANE_TAG = "elt_assets/lane"
"""Run tag: runs of one lane run one after the other (`tag_concurrency_limits` in dagster.yaml)."""

PRIORITY_TAG = "dagster/priority"

WORKER_TAG = "elt_assets/worker"
"""Run tag: the worker that carries out the run. Dagster checks such runs, and another worker
continues a run whose worker is gone."""


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


def job_name(stream: Stream) -> str:
    """`sync` for users, which every integration offers, else `<stream>_sync`."""
    return "sync" if stream is USERS else f"{stream.name}_sync"


def _sync_job(stream: Stream) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        job_name(stream),
        # A selection of assets includes their checks. Planned with every run and skipped, they
        # would hide the result of the last real check.
        selection=dg.AssetSelection.assets(
            *(asset_key(stream, stage) for stage in Stage)
        ).without_checks(),
        # A process for the step would cost seconds without a benefit: the run itself works on
        # several integrations at a time.
        executor_def=dg.in_process_executor,
        tags=STANDALONE.tags,
        description=f"Bring {stream.name} of every integration of the run's partition, or range "
        "of partitions, up to date. A repeated run continues the same sync.",
    )


# A job for each stream, because a run is planned for every asset and partition in it: in a common
# run, an integration without groups would be planned for them, and fail with the others.
sync_jobs = {stream.name: _sync_job(stream) for stream in STREAMS.values()}
