"""The pipeline of sign-in events: an installation's days behind one object.

extract_api, extract_files → normalize (one source each) → load → summarize
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from elt_assets.connectors import catalog
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.admin import erasure, event_checks, record_retention, reports
from elt_assets.signin_events.extract.api_extraction import STREAM, ApiExtraction, Period
from elt_assets.signin_events.extract.export_files import (
    STREAMING_MEMORY,
    STREAMING_THREADS,
    ExportFiles,
)
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.results import (
    Arrival,
    DayStatus,
    EventListener,
    EventSource,
    Extraction,
    FileLoad,
    Finding,
    Loaded,
    Normalized,
    Summarized,
    unheard,
)
from elt_assets.signin_events.transform.daily_summary import Summary
from elt_assets.signin_events.transform.load import Loading
from elt_assets.signin_events.transform.normalize import Normalization
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT
from elt_assets.signin_events.warehouse.pending_days import SUMMARIZE
from elt_assets.sync.admin.maintenance import Report
from elt_assets.sync.service import Platform
from elt_assets.sync.state.registry import Integration

SCHEMA = str(SIGNIN_EVENT)
"""Name and version of the schema that both sources are brought into."""


class EventPipeline:
    """Use as a context manager, or call `close`; the platform stays its owner's."""

    def __init__(self, platform: Platform) -> None:
        settings = platform.settings
        self._platform = platform
        self._analytics = Analytics(settings)
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def integrations(self) -> list[IntegrationRef]:
        """The enabled integrations that offer events, in order of registration."""
        return [entry.ref for entry in self._offering()]

    def extract_api(
        self,
        day: date,
        refs: Sequence[IntegrationRef] | None = None,
        *,
        run_id: str | None = None,
        progress: EventListener = unheard,
        stop: Interruption | None = None,
    ) -> list[Extraction]:
        """Fetch the day of every integration that offers events, or of `refs` alone.

        Several at once; one's failure is its result (`failed`, `retryable`) and costs the
        others nothing. An interrupted reading goes on after its last committed page; one of
        a day that was read in full begins again, and replaces it once it is complete.
        Raises `Stopped`.
        """
        periods = [(entry, Period.of(day)) for entry in self._chosen(refs)]
        return self._api.run(periods, run_id=run_id, progress=progress, stop=stop or Interruption())

    def extract_new(
        self,
        refs: Sequence[IntegrationRef] | None = None,
        *,
        run_id: str | None = None,
        progress: EventListener = unheard,
        stop: Interruption | None = None,
    ) -> list[Extraction]:
        """Fetch what happened since each integration's high-water mark, less the overlap.

        What comes is counted to today's partition; normalize and load that day afterwards.
        """
        moment = datetime.now(UTC).replace(microsecond=0)
        periods = self._api.since_watermarks(self._chosen(refs), moment)
        return self._api.run(periods, run_id=run_id, progress=progress, stop=stop or Interruption())

    def extract_files(
        self,
        day: date,
        *,
        run_id: str | None = None,
        progress: EventListener = unheard,
        stop: Interruption | None = None,
    ) -> list[FileLoad]:
        """Load the export files in the day's folder; [] while there is none.

        A file that cannot be read is a result with `error`, and costs the others nothing.
        Raises `Stopped`.
        """
        return self._files.load(day, run_id=run_id, progress=progress, stop=stop or Interruption())

    def normalize(
        self,
        source: EventSource,
        day: date,
        *,
        progress: EventListener = unheard,
        stop: Interruption | None = None,
    ) -> Normalized:
        """Bring what was extracted for the day into the schema; the rest to the dead letters."""
        return self._normalization.run(source, day, progress=progress, stop=stop or Interruption())

    def load(
        self, day: date, *, progress: EventListener = unheard, stop: Interruption | None = None
    ) -> Loaded:
        """Bring `signin_events` up to date with what was normalized for the day.

        One transaction, whatever days its events are of; `Loaded.days` says which changed.
        Summarize each of them afterwards.
        """
        return self._loading.run(day, progress=progress, stop=stop or Interruption())

    def summarize(self, day: date, *, stop: Interruption | None = None) -> Summarized:
        """Write the day's summary by organization, and again those that depend on it."""
        return self._summary.run(day, stop=stop or Interruption())

    def waiting(self, step: str) -> list[date]:
        """Days whose `load` or `summarize` is due: what goes before was committed, this was not."""
        rows = self._analytics.rows(
            "SELECT day FROM waiting_days WHERE step = $step ORDER BY day", {"step": step}
        )
        return [row[0] for row in rows]

    def refresh(self, *, stop: Interruption | None = None) -> int:
        """Rebuild `signin_events` and all summaries next to the old ones and swap them in.

        For changed precedences or schemas. Returns the number of events.
        """
        stop = stop or Interruption()
        events = self._loading.refresh(stop=stop)
        for day in self.waiting(SUMMARIZE):
            self._summary.run(day, stop=stop)
        return events

    def check(self, name: str, day: date | None = None) -> Finding:
        """One of `elt_assets.signin_events.admin.event_checks.CHECKS`: volume, conformance,
        duplicates, gaps, freshness. `day` for volume and conformance; all days if None. Passes
        while no event was ever loaded."""
        return event_checks.check(name, self._analytics, self._platform.settings, day)

    def days(self, begin: date | None = None, end: date | None = None) -> list[DayStatus]:
        """What is known of every day from `begin` to `end`, newest first."""
        return reports.days(self._analytics, begin, end)

    def fetched(self, day: date, run_id: str) -> list[Extraction]:
        """The integrations whose day the run has read in full, for a further attempt of it."""
        return reports.fetched(self._analytics, day, run_id)

    def errors(self, day: date | None = None) -> list[dict[str, Any]]:
        """Errors of extractions, for days that were not read in full since."""
        return reports.errors(self._analytics, day)

    def events(
        self, *, day: date | None = None, organization: str | None = None, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Loaded events, newest first, as `events list --json` shows them."""
        return reports.events(self._analytics, day=day, organization=organization, limit=limit)

    def summary(self, *, day: date | None = None) -> list[dict[str, Any]]:
        """Rows of `daily_signin_summary`, newest day first."""
        return reports.summary(self._analytics, day=day)

    def rejected(
        self, *, day: date | None = None, organization: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Dead letters: source, day, partition, file, line, key, reason, raw, created_at."""
        return reports.rejected(self._analytics, day=day, organization=organization, limit=limit)

    def rejected_counts(self) -> list[dict[str, Any]]:
        """How many dead letters there are by day, source and reason."""
        return reports.rejected_counts(self._analytics)

    def retry_rejected(self, day: date) -> list[Normalized]:
        """Normalize the day's records again with today's configuration and registry, fetching
        nothing, and load them. Lines that were no records at all stay dead letters."""
        results = [self.normalize(source, day) for source in EventSource]
        for touched in self.load(day).days:
            self.summarize(touched)
        return results

    def expire_rejected(self, before: date) -> int:
        """Delete the dead letters of days before `before`; return how many they were."""
        return reports.expire_rejected(self._analytics, before)

    def export_rejected(self, target: Path) -> int:
        """Write all dead letters to one new Parquet file; return how many they are."""
        return reports.export_rejected(self._analytics, target)

    def arrivals(self, now: datetime | None = None) -> list[Arrival]:
        """Days with export files that no longer change."""
        return self._files.arrivals(now)

    def forget(self, ref: IntegrationRef) -> None:
        """Delete every event of an integration; of its organization if it has no other."""
        others = (entry.ref for entry in self._platform.registry.all())
        organizations = {other.organization_id for other in others if other != ref}
        erasure.forget(self._analytics, ref, organizations=organizations)

    def maintain(self, *, dry_run: bool) -> Report:
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
