"""Run the sync jobs in this process, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from textwrap import shorten

import dagster as dg

from elt_assets.client.sync_command import SyncCommand
from elt_assets.config.settings import Settings
from elt_assets.definitions import assembled
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.run_budget import NO_BUDGET, RUN_BUDGET_TAG
from elt_assets.orchestration.assets.stream_assets import SyncConfig, step_name
from elt_assets.orchestration.jobs.sync_jobs import QUIET_CONSOLE
from elt_assets.orchestration.mode_choice import ModeChoice
from elt_assets.orchestration.names import PARTITIONS, SYNC_ID_TAG, job_name
from elt_assets.orchestration.partitions import (
    add_partition_keys,
    contiguous_ranges,
    partition_tags,
)
from elt_assets.orchestration.resources import NO_LISTENER, RunListener
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.streams import STREAMS, Stream

_LONGEST_CAUSE = 300


def run_sync(
    refs: Iterable[IntegrationRef],
    command: SyncCommand,
    *,
    settings: Settings,
    instance: dg.DagsterInstance,
    listener: RunListener = NO_LISTENER,
) -> list[Outcome]:
    """Run the sync jobs over `refs` and return their outcomes, in the order of `refs`.

    A disabled integration has no outcome. Contiguous integrations share a run. A failed run raises
    nothing: its error is in the outcomes. The listener's `progress` is called from many threads;
    `settled` from this thread, once for each outcome that no retry will change.
    """
    refs = list(refs)
    outcomes: dict[tuple[str, str], Outcome] = {}

    def settle(outcome: Outcome) -> None:
        outcomes[outcome.partition, outcome.stream] = outcome
        listener.settled(outcome)

    add_partition_keys(instance, refs)
    with SyncService.open(settings, faults=command.faults) as platform:
        definitions = assembled(platform=platform, listener=replace(listener, settled=settle))
        mode = ModeChoice(command.mode or "configured")
        config = SyncConfig(batch_size=command.pages_per_batch, mode=mode)
        known = {entry.ref: entry for entry in platform.registry.all()}
        for stream in STREAMS.values():
            if stream not in command.streams:
                continue
            job = definitions.resolve_job_def(job_name(stream))
            for keys in contiguous_ranges(
                instance.get_dynamic_partitions(PARTITIONS),
                _offering(known, stream, refs),
                settings.range_integrations,
            ):
                # The caller waits for the whole command, so the run has no time budget.
                tags = {SYNC_ID_TAG: command.sync_id, RUN_BUDGET_TAG: NO_BUDGET}
                result = job.execute_in_process(
                    instance=instance,
                    tags=tags | partition_tags(keys),
                    run_config=_run_config(stream, config),
                    raise_on_error=False,
                )
                for outcome in _unexplained(result, stream, keys, command.sync_id, outcomes):
                    settle(outcome)
    position = {ref.partition_key: index for index, ref in enumerate(refs)}
    turn = list(STREAMS)
    return sorted(
        outcomes.values(),
        key=lambda outcome: (position[outcome.partition], turn.index(outcome.stream)),
    )


def _offering(
    known: Mapping[IntegrationRef, Integration], stream: Stream, refs: Iterable[IntegrationRef]
) -> list[str]:
    """The keys of the integrations that offer `stream`, or are not registered.

    The run reports an error for those that are not registered.
    """
    return [ref.partition_key for ref in refs if ref not in known or known[ref].offers(stream)]


def _run_config(stream: Stream, config: SyncConfig) -> dg.RunConfig:
    return dg.RunConfig(ops={step_name(stream): config}, loggers=QUIET_CONSOLE)


def _unexplained(
    result: dg.ExecuteInProcessResult,
    stream: Stream,
    keys: Sequence[str],
    sync_id: str,
    outcomes: Mapping[tuple[str, str], Outcome],
) -> list[Outcome]:
    """Return failed outcomes for unsettled integrations if the run failed without reporting any."""
    explained = any(
        outcome.status is Status.FAILED
        for (partition, name), outcome in outcomes.items()
        if name == stream.name and partition in keys
    )
    if result.success or explained:
        return []
    run_id = result.dagster_run.run_id
    return [
        Outcome(
            partition=key,
            stream=stream.name,
            sync_id=sync_id,
            status=Status.FAILED,
            retryable=True,
            run_id=run_id,
            error=f"{key}: run {run_id} stopped before this integration was settled "
            f"({_cause(result)}); sync again to continue",
        )
        for key in keys
        if (key, stream.name) not in outcomes
    ]


def _cause(result: dg.ExecuteInProcessResult) -> str:
    for event in result.filter_events(lambda event: event.is_step_failure or event.is_run_failure):
        data = event.event_specific_data
        error = getattr(data, "error", None)
        if error is not None:
            while error.cause is not None:
                error = error.cause
            return shorten(error.message, _LONGEST_CAUSE, placeholder=" …")
    return "see its log"
