"""The events that one attempt of a run reports while integrations settle, and its failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.failed_partitions import failed_observation, failure_details
from elt_assets.orchestration.assets.materializations import failure, materializations, summary
from elt_assets.orchestration.assets.quarantine_details import quarantine_details
from elt_assets.orchestration.assets.run_budget import HANDED_ON_TAG, RunTime
from elt_assets.orchestration.assets.run_timings import RunTimings, timings_event
from elt_assets.orchestration.assets.step_retries import is_retried
from elt_assets.orchestration.placement import Placement
from elt_assets.orchestration.resources import RunListener
from elt_assets.sync.outcome import Outcome, Stage, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import Stream

_LAST = 3
"""Integrations at the end of a run whose events have the lineage of columns: API clients read the
newest event, and one of these integrations is likely to succeed."""


@dataclass(frozen=True, slots=True)
class RunWork:
    """The work of one run of a stream's assets, and the listener for its outcomes."""

    stream: Stream
    selected: Sequence[Stage]
    platform: SyncService
    listener: RunListener
    at: Placement


class RunReport:
    """The report of one attempt, with one event for each table and partition of the run."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        work: RunWork,
        time: RunTime,
    ) -> None:
        self._context = context
        self._stream = work.stream
        self._selected = work.selected
        self._platform = work.platform
        self._listener = work.listener
        self._at = work.at
        self.time = time
        self._handed_on: list[IntegrationRef] = []
        self._seconds = RunTimings()
        self._outcomes: list[Outcome] = []
        self._reported = _reported_before(context)
        partitioned = context.has_partition_key or context.has_partition_key_range
        self._left = len(context.partition_keys) if partitioned else 0

    def events(self, outcome: Outcome) -> Iterator[dg.AssetMaterialization]:
        """The new events of `outcome`; the listener gets the outcome unless it failed."""
        self._outcomes.append(outcome)
        self._left -= 1
        events = [
            event
            for event in materializations(
                self._stream,
                outcome,
                self._selected,
                lineage=self._left < _LAST,
                of_latest=self._marked(outcome),
                at=self._at,
            )
            if (event.asset_key, event.partition) not in self._reported
        ]
        self._seconds.add(outcome)
        for event in events:
            with self._seconds.dagster():
                yield event
        if events and outcome.status is not Status.FAILED:
            self._listener.settled(outcome)

    def _marked(self, outcome: Outcome) -> dict[str, Any]:
        if outcome.status is not Status.QUARANTINED:
            return {}
        return quarantine_details(self._platform, outcome, self._at, self._context.run)

    def left(self, ref: IntegrationRef) -> None:
        """Record an integration that the run's time budget left over."""
        self._handed_on.append(ref)

    def end(self) -> None:
        """Close the attempt: return if nothing failed, else fail it.

        Partitions without an event then show as failed; so do those that are handed on, until they
        are synced. Raises `Failure`, which allows a retry while one can help and there is time.
        """
        self._context.log.info(summary(self._outcomes, len(self._handed_on)))
        failed = failure(self._outcomes)
        may_retry = is_retried(self._context) and not (
            self.time.is_over or self._listener.stopped()
        )
        if failed is not None and failed.allow_retries and may_retry:
            raise failed
        self._hand_on()
        self._report_timings()
        if failed is None:
            return
        failed.allow_retries = False
        for outcome in self._outcomes:
            if outcome.status is Status.FAILED:
                self._context.log_event(self._observed(outcome))
                self._listener.settled(outcome)
        raise failed

    def _report_timings(self) -> None:
        record = self._context.instance.get_run_record_by_id(self._context.run.run_id)
        seconds = self._seconds.metadata(record)
        self._context.log_event(timings_event(self._stream, seconds, len(self._outcomes), self._at))

    def _hand_on(self) -> None:
        if self._handed_on:
            self._context.instance.add_run_tags(self._context.run.run_id, {HANDED_ON_TAG: "true"})

    def _observed(self, outcome: Outcome) -> dg.AssetObservation:
        """The failure details, for people and for clients without access to the stores."""
        details = failure_details(self._platform, self._stream, outcome)
        return failed_observation(self._stream, outcome, details, self._at)


def _reported_before(context: dg.AssetExecutionContext) -> set[tuple[dg.AssetKey, str | None]]:
    """The events that earlier attempts of this run have reported."""
    if context.retry_number == 0:
        return set()
    entries = context.instance.all_logs(
        context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    return {
        (entry.dagster_event.asset_key, entry.dagster_event.partition)
        for entry in entries
        if entry.dagster_event and entry.dagster_event.asset_key
    }
