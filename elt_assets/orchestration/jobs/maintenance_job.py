"""The maintenance job and its weekly schedule. `sync.admin.maintenance` does the work."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg

from elt_assets.feed.retention import trim_feed
from elt_assets.orchestration.instance.run_retention import delete_old_runs
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.sync.admin.maintenance import MaintenanceReport, maintain
from elt_assets.sync.service import SyncService


class MaintenanceConfig(dg.Config):
    """The configuration of one run; the settings have the retention policy."""

    dry_run: bool = False


@dg.op(description="Applies the retention policy and reclaims disk space.")
def keep_house(
    context: dg.OpExecutionContext,
    config: MaintenanceConfig,
    platform: dg.ResourceParam[SyncService],
) -> None:
    """Maintain both stores and Dagster's history, and log the result."""
    report = everything(context.instance, platform, dry_run=config.dry_run)
    for work in report.works:
        freed = "" if work.freed_bytes is None else f", {work.freed_bytes:,} bytes reclaimed"
        context.log.info(f"{work.what}: {work.count:,}{freed}")  # noqa: G004
    for line in report.left:
        context.log.warning(f"skipped until the next time: {line}")  # noqa: G004


@dg.job(
    name="maintenance",
    executor_def=dg.in_process_executor,
    description="Deletes old records, changes, syncs and runs by the settings ELT_ASSETS_KEEP_…, "
    "compacts files, archives dropped files.",
)
def maintenance_job() -> None:
    """One op."""
    keep_house()


def weekly_maintenance() -> dg.ScheduleDefinition:
    """The weekly maintenance, on by default: Sunday night, before the daily sync.

    It locks each integration's file for a moment.
    """
    return dg.ScheduleDefinition(
        name="weekly_maintenance",
        job=maintenance_job,
        cron_schedule="40 3 * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Applies the retention policy and compacts files, Sundays at 03:40 UTC.",
    )


def everything(
    instance: dg.DagsterInstance, platform: SyncService, *, dry_run: bool
) -> MaintenanceReport:
    """Maintain the stores, sign-in events, the change feed and Dagster's history."""
    done = maintain(platform, dry_run=dry_run)
    with EventPipeline(platform) as pipeline:
        events = pipeline.maintain(dry_run=dry_run)
    runs = delete_old_runs(instance, platform.settings.keep_runs_days, dry_run=dry_run)
    feed = trim_feed(platform, dry_run=dry_run)
    return MaintenanceReport((*done.works, *events.works, feed, runs), (*done.left, *events.left))
