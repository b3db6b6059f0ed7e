"""The report sensor: renews the fleet report once syncs have settled and none is running.

A schedule would not do: the duration of the daily sync varies, and a report in the middle of it
would show half of the integrations as stale. An automation condition on the tables would request a
report for each of hundreds of runs.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg

from elt_assets.orchestration.jobs.sync_jobs import NOT_ENDED, sync_jobs
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import sync_history

report_job = dg.define_asset_job(
    "report",
    selection=["fleet_report"],
    executor_def=dg.in_process_executor,
    tags=STANDALONE.tags,
    description="Renews the fleet report.",
)


def report_sensor() -> dg.SensorDefinition:
    """The sensor that keeps the report current; on by default."""

    @dg.sensor(
        name="report_sensor",
        job=report_job,
        minimum_interval_seconds=600,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Renews fleet_report after syncs have settled, while none is running.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[SyncService]
    ) -> dg.RunRequest | dg.SkipReason:
        newest = sync_history.last_finished(platform.database)
        if newest is None or newest == context.cursor:
            return dg.SkipReason("nothing has settled since the last report")
        under_way = sum(
            context.instance.get_runs_count(dg.RunsFilter(job_name=job.name, statuses=NOT_ENDED))
            for job in sync_jobs.values()
        )
        if under_way:
            return dg.SkipReason(f"{under_way} sync runs are active")
        context.update_cursor(newest)
        return dg.RunRequest(run_key=newest)

    return sensor
