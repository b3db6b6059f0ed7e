"""The maintenance job and its weekly schedule. `sync.admin.maintenance` does the work."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg

from elt_assets.feed.feed_retention import trim_feed
from elt_assets.orchestration.assets.step_retries import REPORT_RETRIES, ended_by_interruption
from elt_assets.orchestration.instance.run_retention import OwnRuns, delete_old_runs
from elt_assets.orchestration.jobs.sync_jobs import Urgency
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.sync.admin.maintenance import MaintenanceReport, maintain
from elt_assets.sync.service import SyncService


class MaintenanceConfig(dg.Config):
    """The configuration of one run; the settings have the retention policy."""

    dry_run: bool = False


def maintenance_job(own: OwnRuns, at: Placement = STANDALONE) -> dg.JobDefinition:
    """The maintenance job; in Dagster's history it deletes only `own` runs."""

    @dg.op(
        name=at.step("keep_house"),
        description="Applies the retention policy and reclaims disk space.",
        retry_policy=at.retries_or(REPORT_RETRIES),
        required_resource_keys=at.required,
    )
    def keep_house(context: dg.OpExecutionContext, config: MaintenanceConfig) -> None:
        with ended_by_interruption(context):
            report = everything(context.instance, at.platform(context), own, dry_run=config.dry_run)
        for work in report.works:
            freed = "" if work.freed_bytes is None else f", {work.freed_bytes:,} bytes reclaimed"
            context.log.info(f"{work.what}: {work.count:,}{freed}")  # noqa: G004
        for line in report.left:
            context.log.warning(f"skipped until the next time: {line}")  # noqa: G004

    @dg.job(
        name=at.name("maintenance"),
        executor_def=dg.in_process_executor,
        tags=at.job_tags,
        description="Deletes old records, changes, syncs and runs by the settings "
        "ELT_ASSETS_KEEP_…, compacts files, archives dropped files. Runs of other jobs and assets "
        "stay.",
    )
    def maintenance() -> None:
        keep_house()

    return maintenance


def weekly_maintenance(job: dg.JobDefinition, at: Placement = STANDALONE) -> dg.ScheduleDefinition:
    """The weekly maintenance: Sunday night, before the daily sync.

    It locks each integration's file for a moment.
    """
    return dg.ScheduleDefinition(
        name=at.name("weekly_maintenance"),
        job=job,
        cron_schedule="40 3 * * 0",
        execution_timezone="UTC",
        default_status=at.schedules_are,
        tags=Urgency.NIGHTLY.tags,
        description="Applies the retention policy and compacts files, Sundays at 03:40 UTC.",
    )


def everything(
    instance: dg.DagsterInstance, platform: SyncService, own: OwnRuns, *, dry_run: bool
) -> MaintenanceReport:
    """Maintain the stores, sign-in events, the change feed and `own` runs in Dagster's history."""
    done = maintain(platform, dry_run=dry_run)
    with EventPipeline(platform) as pipeline:
        events = pipeline.maintain(dry_run=dry_run)
    runs = delete_old_runs(instance, platform.settings.keep_runs_days, own, dry_run=dry_run)
    feed = trim_feed(platform, dry_run=dry_run)
    return MaintenanceReport((*done.works, *events.works, feed, runs), (*done.left, *events.left))
