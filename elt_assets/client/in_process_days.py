"""Run days of sign-in events in this process, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date

import dagster as dg
import msgspec

from elt_assets.config.settings import Settings
from elt_assets.definitions import assembled
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.assets.signin.signin_specs import CSV_EVENTS, following
from elt_assets.orchestration.assets.signin.signin_step import SKIPPED_BY
from elt_assets.orchestration.day_partitions import event_days, has_day
from elt_assets.orchestration.jobs.sync_jobs import QUIET_CONSOLE
from elt_assets.orchestration.names import SIGNIN_JOB
from elt_assets.sync.service import SyncService


class DayRun(msgspec.Struct, frozen=True):
    """The result of one day's run: the failed assets with their errors, and the skipped ones."""

    day: date
    run_id: str
    success: bool
    failed: dict[str, str] = {}
    skipped: tuple[str, ...] = ()


def run_days(
    days: Iterable[date],
    *,
    settings: Settings,
    instance: dg.DagsterInstance,
    files_only: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Iterator[DayRun]:
    """Run the job for each day, one after the other, and yield each result.

    A failed run raises nothing. Raises `InvalidInput` before any run for a day that is not a
    partition.
    """
    days = list(days)
    known = event_days(settings.events_start)
    for day in days:
        if not has_day(known, day):
            raise InvalidInput(
                f"{day} is not between ELT_ASSETS_EVENTS_START ({settings.events_start}) and today"
            )
    selection = [CSV_EVENTS, *following(CSV_EVENTS.name)] if files_only else []
    with SyncService.open(settings) as platform:
        definitions = assembled(platform=platform, first=settings)
        job = definitions.resolve_job_def(SIGNIN_JOB)
        for day in days:
            result = job.execute_in_process(
                instance=instance,
                partition_key=day.isoformat(),
                asset_selection=[asset.key for asset in selection] or None,
                run_config={"loggers": QUIET_CONSOLE},
                tags=dict(tags or {}),
                raise_on_error=False,
            )
            yield _result(day, result, instance)


def _result(day: date, result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> DayRun:
    guards = {
        evaluation.asset_key.to_user_string(): evaluation.description
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }
    failed = {}
    for event in result.filter_events(lambda event: event.is_step_failure):
        data = event.step_failure_data
        described = data.user_failure_data and data.user_failure_data.description
        name = event.step_key or SIGNIN_JOB
        failed[name] = described or guards.get(name) or (data.error.message if data.error else "?")
    run_id = result.dagster_run.run_id
    return DayRun(day, run_id, result.success, failed, tuple(_skipped(instance, run_id)))


def _skipped(instance: dg.DagsterInstance, run_id: str) -> Iterator[str]:
    """The assets that the run reports as skipped, each once."""
    found = set()
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION):
        event = entry.dagster_event
        if event is None or event.asset_key is None:
            continue
        observation = event.asset_observation_data.asset_observation
        name = event.asset_key.to_user_string()
        if SKIPPED_BY in observation.metadata and name not in found:
            found.add(name)
            yield name
