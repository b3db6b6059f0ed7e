"""The assets of sign-in events: two sources, normalized, loaded once and summarized.

    api_events → normalized_api_events ─┐
                                        ├→ signin_events → daily_signin_summary
    csv_events → normalized_csv_events ─┘

A failed API does not stop the branch of the files before both meet.

There are no automation conditions. The graph runs by day, as a whole, at one time (`signin_jobs`).
Only two things start parts of it, and a condition could know neither: files that arrive
(`signin_file_sensor`), and late events, whose days the load itself knows. The load records these
days in its transaction, and the summary follows in the same run. Conditions would launch a run for
each day, minutes later, and the tables would disagree until then. For an asset that is derived
from these, conditions would be simpler.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterator, Sequence

import dagster as dg
from pydantic import Field

from elt_assets.orchestration.assets.signin.signin_guard import guard_spec, guarded
from elt_assets.orchestration.assets.signin.signin_metadata import (
    named,
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
from elt_assets.orchestration.assets.signin.signin_step import end, tell_skipped, worked
from elt_assets.orchestration.day_partitions import day_of, has_day
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.signin_events.results import (
    DayExtraction,
    EventListener,
    EventSource,
    ExtractionStatus,
    FileStatus,
    Summarized,
)
from elt_assets.signin_events.step_run import StepRun
from elt_assets.sync.service import SyncService

_LISTED = 5


class StepConfig(dg.Config):
    """What a step of a run may be told; everything else comes from settings."""

    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Seconds after which the step is interrupted; from settings when unset.",
    )


class ApiConfig(StepConfig):
    """The same for the step that asks APIs."""

    new_only: bool = Field(
        default=False,
        description="Fetch what happened since the newest event that is known, less the overlap, "
        "instead of the whole day; for runs of today.",
    )


def event_assets(days: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The six assets, by `days`."""

    @API_EVENTS.declared(days)
    def api_events(
        context: dg.AssetExecutionContext,
        config: ApiConfig,
        platform: dg.ResourceParam[SyncService],
    ) -> dg.MaterializeResult[None]:
        day = day_of(context.partition_key)
        run_id = context.run.run_id
        with EventPipeline(platform) as events:

            def fetch(stop: Interruption, heard: EventListener) -> list[DayExtraction]:
                if config.new_only:
                    return events.extract_new(step=StepRun(run_id, heard, stop))
                # What an earlier attempt of this run has read in full is not asked for again.
                done = events.reports.fetched(day, run_id) if context.retry_number else []
                names = {one.partition for one in done}
                left = [ref for ref in events.integrations() if ref.partition_key not in names]
                return done + events.extract_api(day, left, StepRun(run_id, heard, stop))

            found = worked(context, API_EVENTS, _timeout(config, platform), fetch)
        failed = [one for one in found if one.status is ExtractionStatus.FAILED]
        errors = [named(one.partition, one.error) for one in failed]
        can_pass = any(one.retryable for one in failed)
        is_last = context.retry_number >= API_EVENTS.retries.max_retries
        too_many = len(failed) > platform.settings.events_failed_share * len(found)
        if too_many or (can_pass and not is_last):
            raise end(context, API_EVENTS, _told(errors, len(found)), retryable=can_pass)
        for error in errors:
            context.log.warning("the day goes on without %s", error)
        return dg.MaterializeResult(metadata=of_extractions(API_EVENTS, found))

    @CSV_EVENTS.declared(days)
    def csv_events(
        context: dg.AssetExecutionContext,
        config: StepConfig,
        platform: dg.ResourceParam[SyncService],
    ) -> dg.MaterializeResult[None]:
        day, run_id = day_of(context.partition_key), context.run.run_id
        with EventPipeline(platform) as events:
            found = worked(
                context,
                CSV_EVENTS,
                _timeout(config, platform),
                lambda stop, heard: events.extract_files(day, StepRun(run_id, heard, stop)),
            )
        failed = [one for one in found if one.status is FileStatus.FAILED]
        if failed:
            errors = [named(one.file, one.error) for one in failed]
            can_pass = any(one.retryable for one in failed)
            raise end(context, CSV_EVENTS, _told(errors, len(found)), retryable=can_pass)
        return dg.MaterializeResult(metadata=of_files(CSV_EVENTS, found))

    @SIGNIN_EVENTS.declared(days)
    def signin_events(
        context: dg.AssetExecutionContext,
        config: StepConfig,
        platform: dg.ResourceParam[SyncService],
    ) -> dg.MaterializeResult[None]:
        day = day_of(context.partition_key)
        with EventPipeline(platform) as events:
            found = worked(
                context,
                SIGNIN_EVENTS,
                _timeout(config, platform),
                lambda stop, heard: events.load(day, StepRun(None, heard, stop)),
            )
        for reopened in found.days:
            if reopened != day and has_day(days, reopened):
                context.log_event(
                    dg.AssetMaterialization(
                        SIGNIN_EVENTS.key,
                        partition=reopened.isoformat(),
                        description=f"late events that came with {day}",
                        metadata={"reopened_by": day.isoformat()},
                    )
                )
        return dg.MaterializeResult(metadata=of_loaded(SIGNIN_EVENTS, found))

    @SUMMARY.declared(days)
    def daily_signin_summary(
        context: dg.AssetExecutionContext,
        config: StepConfig,
        platform: dg.ResourceParam[SyncService],
    ) -> dg.MaterializeResult[None]:
        day = day_of(context.partition_key)
        with EventPipeline(platform) as events:

            def sum_up(stop: Interruption, _: EventListener) -> list[Summarized]:
                # Days that late events have reopened wait too, also those of a run that died
                # before it came to them.
                due = sorted({day, *events.waiting("summarize")})
                return [events.summarize(one, StepRun(stop=stop)) for one in due]

            found = worked(context, SUMMARY, _timeout(config, platform), sum_up)
        for one in found:
            if one.day != day and has_day(days, one.day):
                context.log_event(
                    dg.AssetMaterialization(
                        SUMMARY.key,
                        partition=one.day.isoformat(),
                        metadata=of_summary(SUMMARY, one),
                    )
                )
        (own,) = (one for one in found if one.day == day)
        return dg.MaterializeResult(metadata=of_summary(SUMMARY, own))

    return [
        api_events,
        csv_events,
        _normalizing(NORMALIZED_API_EVENTS, EventSource.API, days),
        _normalizing(NORMALIZED_CSV_EVENTS, EventSource.CSV, days),
        signin_events,
        daily_signin_summary,
    ]


def _normalizing(
    asset: EventAsset, source: EventSource, days: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    """The asset of one source's records in the declared schema."""

    @asset.declared(days, check_specs=[guard_spec(asset)])
    def normalized(
        context: dg.AssetExecutionContext,
        config: StepConfig,
        platform: dg.ResourceParam[SyncService],
    ) -> Iterator[dg.MaterializeResult[None]]:
        day = day_of(context.partition_key)
        with EventPipeline(platform) as events:
            found = worked(
                context,
                asset,
                _timeout(config, platform),
                lambda stop, heard: events.normalize(source, day, StepRun(None, heard, stop)),
            )
        usable = guarded(found)
        if not usable.passed:
            tell_skipped(context, asset, usable.message)
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


def _timeout(config: StepConfig, platform: SyncService) -> float:
    return config.timeout_seconds or platform.settings.step_timeout


def _told(errors: Sequence[str], of: int) -> str:
    rest = f"; and {len(errors) - _LISTED} more" if len(errors) > _LISTED else ""
    return f"{len(errors)} of {of} failed: {'; '.join(errors[:_LISTED])}{rest}"
