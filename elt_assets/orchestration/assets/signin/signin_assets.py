"""The assets of sign-in events: two sources, normalized, loaded once and summarized.

    api_events → normalized_api_events ─┐
                                        ├→ signin_events → daily_signin_summary
    csv_events → normalized_csv_events ─┘

A failed API does not stop the branch of the files before both meet.

There are no automation conditions. The graph runs by day, as a whole, at one time (`signin_jobs`).
Only new files (`signin_file_sensor`) and late events start parts of it. The load records the days
of late events in its transaction, and the summary follows in the same run. Conditions would launch
a run for each day, minutes later, and the tables would disagree until then.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import dagster as dg
from pydantic import Field

from elt_assets.orchestration.assets.signin.signin_guard import guard_spec, guarded
from elt_assets.orchestration.assets.signin.signin_metadata import (
    of_extractions,
    of_files,
    of_finding,
    of_loaded,
    of_normalized,
    of_summary,
)
from elt_assets.orchestration.assets.signin.signin_specs import (
    API_EVENTS,
    CSV_EVENTS,
    NORMALIZED_API_EVENTS,
    NORMALIZED_CSV_EVENTS,
    SIGNIN_EVENTS,
    SUMMARY,
    EventAsset,
)
from elt_assets.orchestration.assets.signin.signin_step import end, report_skipped, worked
from elt_assets.orchestration.assets.step_retries import ended_by_interruption, is_retried
from elt_assets.orchestration.day_partitions import day_of, has_day
from elt_assets.orchestration.markdown import named
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.signin_events.results import (
    DayExtraction,
    EventSource,
    ExtractionStatus,
    FileStatus,
    Summarized,
)
from elt_assets.signin_events.step_run import StepRun

T = TypeVar("T")

_LISTED = 5


class StepConfig(dg.Config):
    """The run configuration of a step; everything else comes from settings."""

    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Seconds after which the step is interrupted; from settings when unset.",
    )


class ApiConfig(StepConfig):
    """The run configuration of the step that reads APIs."""

    new_only: bool = Field(
        default=False,
        description="Fetch the events since the newest known one, less the overlap, instead of the "
        "whole day; for runs of today.",
    )


def event_assets(
    days: dg.DailyPartitionsDefinition, at: Placement = STANDALONE
) -> list[dg.AssetsDefinition]:
    """The six assets, partitioned by `days`."""
    return [
        _reading_apis(days, at),
        _reading_files(days, at),
        _normalizing(NORMALIZED_API_EVENTS, EventSource.API, days, at),
        _normalizing(NORMALIZED_CSV_EVENTS, EventSource.CSV, days, at),
        _loading(days, at),
        _summarizing(days, at),
    ]


def _reading_apis(days: dg.DailyPartitionsDefinition, at: Placement) -> dg.AssetsDefinition:
    """The asset of the day's records from all APIs."""

    @API_EVENTS.declared(days, at)
    def api_events(
        context: dg.AssetExecutionContext,
        config: ApiConfig,
    ) -> dg.MaterializeResult[None]:
        day = day_of(context.partition_key)
        run_id = context.run.run_id

        def fetch(events: EventPipeline, step: StepRun) -> list[DayExtraction]:
            if config.new_only:
                return events.extract_new(step=step)
            # Integrations that an earlier attempt of this run has read in full are skipped.
            done = events.reports.fetched(day, run_id) if context.retry_number else []
            names = {one.partition for one in done}
            left = [ref for ref in events.integrations() if ref.partition_key not in names]
            return done + events.extract_api(day, left, step)

        found = _step(context, API_EVENTS, config, at, fetch)
        failed = [one for one in found if one.status is ExtractionStatus.FAILED]
        errors = [named(one.partition, one.error) for one in failed]
        can_pass = any(one.retryable for one in failed)
        settings = at.platform(context).settings
        too_many = len(failed) > settings.events_failed_share * len(found)
        if too_many or (can_pass and is_retried(context)):
            raise end(context, API_EVENTS, _failures(errors, len(found)), at, retryable=can_pass)
        for error in errors:
            context.log.warning("the day continues without %s", error)
        return dg.MaterializeResult(metadata=of_extractions(API_EVENTS, found))

    return api_events


def _reading_files(days: dg.DailyPartitionsDefinition, at: Placement) -> dg.AssetsDefinition:
    """The asset of the records in the day's files."""

    @CSV_EVENTS.declared(days, at)
    def csv_events(
        context: dg.AssetExecutionContext,
        config: StepConfig,
    ) -> dg.MaterializeResult[None]:
        day = day_of(context.partition_key)
        found = _step(
            context,
            CSV_EVENTS,
            config,
            at,
            lambda events, step: events.extract_files(day, step),
        )
        failed = [one for one in found if one.status is FileStatus.FAILED]
        if failed:
            errors = [named(one.file, one.error) for one in failed]
            can_pass = any(one.retryable for one in failed)
            raise end(context, CSV_EVENTS, _failures(errors, len(found)), at, retryable=can_pass)
        return dg.MaterializeResult(metadata=of_files(CSV_EVENTS, found))

    return csv_events


def _normalizing(
    asset: EventAsset, source: EventSource, days: dg.DailyPartitionsDefinition, at: Placement
) -> dg.AssetsDefinition:
    """The asset of one source's records in the declared schema."""

    @asset.declared(days, at, check_specs=[guard_spec(asset, at)])
    def normalized(
        context: dg.AssetExecutionContext,
        config: StepConfig,
    ) -> Iterator[dg.MaterializeResult[None]]:
        day = day_of(context.partition_key)
        found = _step(
            context,
            asset,
            config,
            at,
            lambda events, step: events.normalize(source, day, step),
        )
        usable = guarded(found)
        if not usable.passed:
            report_skipped(context, asset, usable.message, at)
        yield dg.MaterializeResult(
            metadata=of_normalized(asset, found),
            check_results=[
                dg.AssetCheckResult(
                    check_name=usable.check,
                    passed=usable.passed,
                    description=usable.message,
                    metadata=of_finding(usable),
                )
            ],
        )

    return normalized


def _loading(days: dg.DailyPartitionsDefinition, at: Placement) -> dg.AssetsDefinition:
    """The asset of events loaded once; it records the days that late events reopen."""

    @SIGNIN_EVENTS.declared(days, at)
    def signin_events(
        context: dg.AssetExecutionContext,
        config: StepConfig,
    ) -> dg.MaterializeResult[None]:
        day = day_of(context.partition_key)
        found = _step(
            context, SIGNIN_EVENTS, config, at, lambda events, step: events.load(day, step)
        )
        for reopened in found.days:
            if reopened != day and has_day(days, reopened):
                context.log_event(
                    dg.AssetMaterialization(
                        at.key(SIGNIN_EVENTS.name),
                        partition=reopened.isoformat(),
                        description=f"late events that were loaded with {day}",
                        metadata={"reopened_by": day.isoformat()},
                    )
                )
        return dg.MaterializeResult(metadata=of_loaded(SIGNIN_EVENTS, found))

    return signin_events


def _summarizing(days: dg.DailyPartitionsDefinition, at: Placement) -> dg.AssetsDefinition:
    """The asset of summaries: of the day, and of the days that late events reopened."""

    @SUMMARY.declared(days, at)
    def daily_signin_summary(
        context: dg.AssetExecutionContext,
        config: StepConfig,
    ) -> dg.MaterializeResult[None]:
        day = day_of(context.partition_key)

        def sum_up(events: EventPipeline, step: StepRun) -> list[Summarized]:
            # Also due are days that late events reopened, in this run or in one that failed.
            due = sorted({day, *events.waiting("summarize")})
            return [events.summarize(one, step) for one in due]

        found = _step(context, SUMMARY, config, at, sum_up)
        for one in found:
            if one.day != day and has_day(days, one.day):
                context.log_event(
                    dg.AssetMaterialization(
                        at.key(SUMMARY.name),
                        partition=one.day.isoformat(),
                        metadata=of_summary(SUMMARY, one),
                    )
                )
        (own,) = (one for one in found if one.day == day)
        return dg.MaterializeResult(metadata=of_summary(SUMMARY, own))

    return daily_signin_summary


def _step(
    context: dg.AssetExecutionContext,
    asset: EventAsset,
    config: StepConfig,
    at: Placement,
    work: Callable[[EventPipeline, StepRun], T],
) -> T:
    """The result of `work` on the open pipeline, within the time limit of the step."""
    platform = at.platform(context)
    timeout = config.timeout_seconds or platform.settings.step_timeout
    run_id = context.run.run_id
    with ended_by_interruption(context), EventPipeline(platform) as events:
        return worked(
            context,
            asset,
            timeout,
            lambda stop, heard: work(events, StepRun(run_id, heard, stop)),
            at,
        )


def _failures(errors: Sequence[str], of: int) -> str:
    rest = f"; and {len(errors) - _LISTED} more" if len(errors) > _LISTED else ""
    return f"{len(errors)} of {of} failed: {'; '.join(errors[:_LISTED])}{rest}"
