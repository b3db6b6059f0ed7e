"""The job and the schedules of sign-in events. A run loads one day."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Mapping
from functools import cache
from typing import Any

import dagster as dg

from elt_assets.orchestration.assets.signin.signin_guard import guards
from elt_assets.orchestration.assets.signin.signin_specs import API_EVENTS, EVENT_ASSETS
from elt_assets.orchestration.day_partitions import event_days, has_day, yesterday
from elt_assets.orchestration.jobs.sync_jobs import Job, Urgency
from elt_assets.orchestration.names import SIGNIN_JOB
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.signin_events.pipeline import EventPipeline

SIDE_BY_SIDE: Mapping[str, Any] = {"execution": {"config": {"side_by_side": True}}}
"""Run configuration in which both extracts run at the same time."""


def _processes(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"multiprocess": {"max_concurrent": 2}} if config["side_by_side"] else {"in_process": {}}


# A process for each step costs seconds, more than most days' events. Days of a backfill run at the
# same time, each in one process. The nightly run has only one day; its extracts, which wait for
# providers, run at the same time in two processes.
_executor = dg.multi_or_in_process_executor.configured(
    _processes,
    name="one_process_or_side_by_side",
    config_schema={"side_by_side": dg.Field(bool, default_value=False)},
)


@cache
def event_job(at: Placement = STANDALONE) -> Job:
    """The job that loads a day."""
    keys = [at.key(asset.name) for asset in EVENT_ASSETS]
    return dg.define_asset_job(
        at.name(SIGNIN_JOB),
        # The selection has only the blocking checks. The others would be planned with every run and
        # skipped, which would hide the results of the daily checks.
        selection=dg.AssetSelection.assets(*keys).without_checks()
        | dg.AssetSelection.checks(*guards(at)),
        executor_def=_executor,
        tags=at.job_tags,
        description="Loads the sign-in events of a day from all APIs and files. A repeated run "
        "changes only what its sources changed.",
    )


def daily_events(at: Placement = STANDALONE) -> dg.ScheduleDefinition:
    """The daily schedule for yesterday; skipped without sources."""

    @dg.schedule(
        name=at.name("daily_signin_events"),
        job=event_job(at),
        cron_schedule="5 6 * * *",
        execution_timezone="UTC",
        default_status=at.schedules_are,
        required_resource_keys=at.required,
        description="Loads yesterday's sign-in events daily at 06:05 UTC, after the users.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        platform = at.platform(context)
        day = yesterday(context.scheduled_execution_time)
        with EventPipeline(platform) as events:
            if not events.integrations() and not platform.settings.events_folder.exists():
                return dg.SkipReason("no integration and no folder of files has sign-in events")
        if not has_day(event_days(platform.settings.events_start), day):
            return dg.SkipReason(f"{day} is before ELT_ASSETS_EVENTS_START")
        return dg.RunRequest(
            run_key=f"daily-{day}",
            partition_key=day.isoformat(),
            run_config=SIDE_BY_SIDE,
            tags=Urgency.NIGHTLY.tags,
        )

    return schedule


def hourly_events(at: Placement = STANDALONE) -> dg.ScheduleDefinition:
    """The hourly schedule for today's new events; off by default."""

    @dg.schedule(
        name=at.name("hourly_signin_events"),
        job=event_job(at),
        cron_schedule="35 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        required_resource_keys=at.required,
        description="Loads the sign-in events since the newest known one, less the overlap, "
        "into today's partition.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with EventPipeline(at.platform(context)) as events:
            if not events.integrations():
                return dg.SkipReason("no integration offers sign-in events")
        moment = context.scheduled_execution_time
        return dg.RunRequest(
            run_key=f"new-{moment:%Y-%m-%dT%H}",
            partition_key=f"{moment:%Y-%m-%d}",
            run_config={"ops": {at.step(API_EVENTS.name): {"config": {"new_only": True}}}},
            tags=Urgency.NIGHTLY.tags,
        )

    return schedule
