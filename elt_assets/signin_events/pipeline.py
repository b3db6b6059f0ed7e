"""The pipeline of sign-in events: an installation's days behind one object.

extract_api, extract_files → normalize (one source each) → load → summarize
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Self

from elt_assets.connectors import catalog
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.admin import erasure, event_checks, record_retention
from elt_assets.signin_events.admin.reports import EventReports
from elt_assets.signin_events.extract.api_extraction import STREAM, ApiExtraction, Period
from elt_assets.signin_events.extract.export_files import (
    STREAMING_MEMORY,
    STREAMING_THREADS,
    ExportFiles,
)
from elt_assets.signin_events.results import (
    Arrival,
    CheckResult,
    DayExtraction,
    EventSource,
    FileLoad,
    Loaded,
    Normalized,
    Summarized,
)
from elt_assets.signin_events.step_run import StepRun
from elt_assets.signin_events.transform.daily_summary import Summary
from elt_assets.signin_events.transform.load import Loading
from elt_assets.signin_events.transform.normalize import Normalization
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT
from elt_assets.signin_events.warehouse.pending_days import SUMMARIZE
from elt_assets.sync.admin.maintenance import MaintenanceReport
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration

SCHEMA = str(SIGNIN_EVENT)
"""Name and version of the schema that both sources are brought into."""


class EventPipeline:
    """Use as a context manager, or call `close`; the platform stays its owner's."""

    def __init__(self, platform: SyncService) -> None:
        settings = platform.settings
        self._platform = platform
        self._analytics = Analytics(settings)
        self.reports = EventReports(self._analytics)
        self._api = ApiExtraction(platform, self._analytics)
        self._streaming = Analytics(
            settings, memory_limit=STREAMING_MEMORY, threads=STREAMING_THREADS
        )
        self._files = ExportFiles(settings, self._streaming)
        self._normalization = Normalization(platform, self._analytics)
        self._loading = Loading(self._analytics)
        self._summary = Summary(platform, self._analytics)

    def close(self) -> None:
        """Give back connections and files."""
        self._analytics.close()
        self._streaming.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def integrations(self) -> list[IntegrationRef]:
        """The enabled integrations that offer events, in order of registration."""
        return [entry.ref for entry in self._offering()]

    def extract_api(
        self, day: date, refs: Sequence[IntegrationRef] | None = None, step: StepRun | None = None
    ) -> list[DayExtraction]:
        """Fetch the day of every integration that offers events, or of `refs` alone.

        Several at once; one's failure is its result (`failed`, `retryable`) and costs the
        others nothing. An interrupted extraction continues after its last committed page. A day
        that was fetched completely is fetched again, and replaced once that is complete.
        Raises `Stopped`.
        """
        periods = [(entry, Period.of(day)) for entry in self._chosen(refs)]
        return self._api.run(periods, step or StepRun())

    def extract_new(
        self, refs: Sequence[IntegrationRef] | None = None, step: StepRun | None = None
    ) -> list[DayExtraction]:
        """Fetch what happened since each integration's high-water mark, less the overlap.

        What comes is counted to today's partition; normalize and load that day afterwards.
        """
        moment = datetime.now(UTC).replace(microsecond=0)
        periods = self._api.since_watermarks(self._chosen(refs), moment)
        return self._api.run(periods, step or StepRun())

    def extract_files(self, day: date, step: StepRun | None = None) -> list[FileLoad]:
        """Load the export files in the day's folder; [] while there is none.

        A file that cannot be read is a result with `error`, and costs the others nothing.
        Raises `Stopped`.
        """
        return self._files.load(day, step or StepRun())

    def normalize(self, source: EventSource, day: date, step: StepRun | None = None) -> Normalized:
        """Bring what was extracted for the day into the schema; the rest to the dead letters."""
        return self._normalization.run(source, day, step or StepRun())

    def load(self, day: date, step: StepRun | None = None) -> Loaded:
        """Bring `signin_events` up to date with what was normalized for the day.

        One transaction, whatever days its events are of; `Loaded.days` says which changed.
        Summarize each of them afterwards.
        """
        return self._loading.run(day, step or StepRun())

    def summarize(self, day: date, step: StepRun | None = None) -> Summarized:
        """Write the day's summary by organization, and again those that depend on it."""
        return self._summary.run(day, step or StepRun())

    def waiting(self, step: str) -> list[date]:
        """Days whose `load` or `summarize` is due: what goes before was committed, this was not."""
        rows = self._analytics.rows(
            "SELECT day FROM waiting_days WHERE step = $step ORDER BY day", {"step": step}
        )
        return [row[0] for row in rows]

    def refresh(self, step: StepRun | None = None) -> int:
        """Rebuild `signin_events` and all summaries next to the old ones and swap them in.

        For changed precedences or schemas. Returns the number of events.
        """
        step = step or StepRun()
        events = self._loading.refresh(step)
        for day in self.waiting(SUMMARIZE):
            self._summary.run(day, step)
        return events

    def check(self, name: str, day: date | None = None) -> CheckResult:
        """One of `elt_assets.signin_events.admin.event_checks.CHECKS`: volume, conformance,
        duplicates, gaps, freshness. `day` for volume and conformance; all days if None. Passes
        while no event was ever loaded."""
        return event_checks.check(name, self._analytics, self._platform.settings, day)

    def retry_rejected(self, day: date) -> list[Normalized]:
        """Normalize the day's records again with today's configuration and registry, fetching
        nothing, and load them. Lines that were no records at all stay dead letters."""
        results = [self.normalize(source, day) for source in EventSource]
        for touched in self.load(day).days:
            self.summarize(touched)
        return results

    def arrivals(self, now: datetime | None = None) -> list[Arrival]:
        """Days with export files that no longer change."""
        return self._files.arrivals(now)

    def forget(self, ref: IntegrationRef) -> None:
        """Delete every event of an integration; of its organization if it has no other."""
        others = (entry.ref for entry in self._platform.registry.all())
        organizations = {other.organization_id for other in others if other != ref}
        erasure.forget(self._analytics, ref, organizations=organizations)

    def maintain(self, *, dry_run: bool) -> MaintenanceReport:
        """Forget the records of days that are older than the settings keep them."""
        return record_retention.maintain(self._analytics, self._platform.settings, dry_run=dry_run)

    def _offering(self) -> list[Integration]:
        return [
            entry
            for entry in self._platform.registry.all(enabled=True)
            if STREAM in catalog.streams(entry.provider_data)
        ]

    def _chosen(self, refs: Sequence[IntegrationRef] | None) -> list[Integration]:
        """The integrations meant. Raises `NotFound`, or `InvalidInput` for one without events."""
        if refs is None:
            return self._offering()
        offering = {entry.ref: entry for entry in self._offering()}
        for ref in refs:
            if ref not in offering:
                self._platform.registry.get(ref)
                raise InvalidInput(
                    f"{ref} offers no sign-in events, or is disabled; "
                    f"provider_data needs streams.{STREAM}"
                )
        return [offering[ref] for ref in dict.fromkeys(refs)]
