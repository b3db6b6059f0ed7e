"""The report sensor: renews the fleet report once syncs have settled and none is running.

It is no schedule: the duration of the daily sync depends on the fleet and its providers, and a
report in the middle of it would call half of them stale. It is no automation condition on the
tables either: each of hundreds of runs would request a report.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg

from elt_assets.orchestration.jobs.sync_jobs import NOT_ENDED, sync_jobs
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import sync_history

report_job = dg.define_asset_job(
    "report",
    selection=["fleet_report"],
    executor_def=dg.in_process_executor,
    description="Makes the fleet report anew.",
)


def report_sensor() -> dg.SensorDefinition:
    """The sensor that keeps the report current; it runs unless stopped in the UI."""

    @dg.sensor(
        name="report_sensor",
        job=report_job,
        minimum_interval_seconds=600,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes fleet_report anew after syncs have settled and none is under way.",
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
            return dg.SkipReason(f"{under_way} runs of syncs are under way")
        context.update_cursor(newest)
        return dg.RunRequest(run_key=newest)

    return sensor
