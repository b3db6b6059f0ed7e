"""The maintenance job and its weekly schedule. `sync.admin.maintenance` does the work."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg

from elt_assets.feed.retention import trim_feed
from elt_assets.orchestration.instance.run_retention import forget_runs
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.sync.admin.maintenance import MaintenanceReport, maintain
from elt_assets.sync.service import SyncService


class MaintenanceConfig(dg.Config):
    """What one run may be told; how much is kept is in the settings."""

    dry_run: bool = False


@dg.op(description="Forgets what the settings no longer keep, and gives the space back.")
def keep_house(
    context: dg.OpExecutionContext,
    config: MaintenanceConfig,
    platform: dg.ResourceParam[SyncService],
) -> None:
    """Do the maintenance of both stores and of Dagster's history; the log says what was done."""
    report = everything(context.instance, platform, dry_run=config.dry_run)
    for work in report.works:
        freed = "" if work.freed_bytes is None else f", {work.freed_bytes:,} bytes given back"
        context.log.info(f"{work.what}: {work.count:,}{freed}")  # noqa: G004
    for line in report.left:
        context.log.warning(f"left for the next time: {line}")  # noqa: G004


@dg.job(
    name="maintenance",
    executor_def=dg.in_process_executor,
    description="Forgets old records, changes, syncs and runs by the settings ELT_ASSETS_KEEP_…, "
    "rewrites files without gaps, archives dropped files.",
)
def maintenance_job() -> None:
    """One op."""
    keep_house()


def weekly_maintenance() -> dg.ScheduleDefinition:
    """The weekly maintenance; it runs unless stopped.

    Sunday night, before the daily sync: each integration's file is taken for a moment.
    """
    return dg.ScheduleDefinition(
        name="weekly_maintenance",
        job=maintenance_job,
        cron_schedule="40 3 * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Forgets what is no longer kept and compacts, Sundays at 03:40 UTC.",
    )


def everything(
    instance: dg.DagsterInstance, platform: SyncService, *, dry_run: bool
) -> MaintenanceReport:
    """Maintain the stores, sign-in events, the change feed and Dagster's history."""
    done = maintain(platform, dry_run=dry_run)
    with EventPipeline(platform) as pipeline:
        events = pipeline.maintain(dry_run=dry_run)
    runs = forget_runs(instance, platform.settings.keep_runs_days, dry_run=dry_run)
    feed = trim_feed(platform, dry_run=dry_run)
    return MaintenanceReport((*done.works, *events.works, feed, runs), (*done.left, *events.left))
