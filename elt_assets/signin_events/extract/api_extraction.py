"""Extract the events of one integration and one period from its provider, page by page.

Each extraction of a day has a number, its generation. A complete extraction replaces the previous
one; until then, the previous one remains in use. The analytics file is open only while a batch
is committed, never while the provider is awaited.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Cursor, Page, Source
from elt_assets.errors import (
    BooksUnbalanced,
    EltAssetsError,
    ProviderUnavailable,
    Stopped,
    SyncError,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.progress_meter import ProgressMeter
from elt_assets.signin_events.results import DayExtraction, ExtractionStatus
from elt_assets.signin_events.step_run import StepRun
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.load_strategies import insert_row, inserted
from elt_assets.storage.warehouse.warehouse import transaction
from elt_assets.sync.clock import ago, now
from elt_assets.sync.extract.batching import batched
from elt_assets.sync.extract.page_table import object_path, pages_table
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.worker_pool import WorkerPool
from elt_assets.telemetry import logs

STREAM = "signin_events"
"""The name of the stream of events in provider_data."""

_UNIT = """
    organization_id = $organization_id
    AND integration_id = $integration_id
    AND ingested_day = $day
"""


@dataclass(frozen=True, slots=True)
class Period:
    """The period of the events to fetch, and the day under which their records are stored."""

    day: date
    begin: datetime
    end: datetime
    incremental: bool = False

    @classmethod
    def of(cls, day: date) -> Period:
        """A whole day, UTC."""
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return cls(day, begin, begin + timedelta(days=1))


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """How far the extraction of a period has come."""

    generation: int
    attempt: int
    period: Period
    cursor: Cursor | None = None
    batches: int = 0
    pages: int = 0
    fetched: int = 0


@dataclass(frozen=True, slots=True)
class ApiExtraction:
    """Fetches integrations' periods, several at once."""

    platform: SyncService
    analytics: Analytics

    def run(
        self, periods: Sequence[tuple[Integration, Period]], step: StepRun
    ) -> list[DayExtraction]:
        """Extract the periods; return one result for each, in order. Raises only `Stopped`."""

        def numbered(task: tuple[int, tuple[Integration, Period]]) -> tuple[int, DayExtraction]:
            return task[0], self._extract(*task[1], step)

        pool = WorkerPool(
            numbered,
            enumerate(periods),
            slots=self.platform.settings.concurrency,
            at_once=self.platform.settings.fetches,
            stop=threading.Event(),
            may_begin=lambda: True,
        )
        with closing(pool.results(lambda: None)) as results:
            return [result for _, result in sorted(results, key=lambda found: found[0])]

    def since_watermarks(
        self, integrations: Sequence[Integration], moment: datetime
    ) -> list[tuple[Integration, Period]]:
        """The periods of an incremental extraction at `moment`.

        Each begins at the integration's watermark less the overlap, or at the beginning of the day
        if there is no watermark yet.
        """
        rows = self.analytics.rows(
            "SELECT organization_id, integration_id, occurred_at FROM event_watermarks"
        )
        newest = {IntegrationRef(*names): at.replace(tzinfo=UTC) for *names, at in rows}
        overlap = timedelta(minutes=self.platform.settings.events_overlap_minutes)
        today = Period.of(moment.date()).begin

        def begin(ref: IntegrationRef) -> datetime:
            return newest[ref] - overlap if ref in newest else today

        return [
            (one, Period(moment.date(), begin(one.ref), moment, incremental=True))
            for one in integrations
        ]

    def _extract(self, integration: Integration, period: Period, step: StepRun) -> DayExtraction:
        ref = integration.ref
        attempt = _Attempt(self.analytics, self.platform, integration, step, Secrets())
        meter = step.meter("api_events", ref.partition_key)
        with logs.bound(ref, f"events-{period.day}", STREAM, attempt.secrets):
            try:
                attempt.run(period, meter)
                return attempt.result(ExtractionStatus.COMPLETE, period, meter)
            except Stopped:
                raise
            except EltAssetsError as error:
                step.stop.check()
                retryable = isinstance(error, SyncError) and error.retryable
                text = ref.before(attempt.secrets.redact(str(error)))
                attempt.fail(text)
                failed = attempt.result(ExtractionStatus.FAILED, period, meter)
                return msgspec.structs.replace(failed, error=text, retryable=retryable)


@dataclass(slots=True)
class _Attempt:
    """One attempt at one period of one integration."""

    analytics: Analytics
    platform: SyncService
    integration: Integration
    step: StepRun
    secrets: Secrets
    checkpoint: _Checkpoint | None = None
    resumed_pages: int = 0

    def run(self, period: Period, meter: ProgressMeter) -> None:
        """Fetch and commit the remaining pages. Raises the errors of the source and warehouse."""
        with self.analytics.writing(self.step.stop) as connection, transaction(connection):
            point = self.checkpoint = self._begin(connection, period)
        self.resumed_pages = point.pages
        pages_per_batch = self.platform.settings.pages_per_batch
        with closing(self._open(point.period)) as source:
            # Closing the source aborts its waits and requests, and then waits for them to end. It
            # runs in a thread, so that the caller that requests a stop need not wait for that.
            closer = threading.Thread(target=source.close, daemon=True)
            with self.step.stop.reaching(closer.start):
                is_whole = False
                for batch in batched(source.pages(point.cursor), pages_per_batch):
                    point = self.checkpoint = self._land(point, batch, source)
                    is_whole = point.cursor is None
                    total = batch[-1].total
                    meter.at(point.fetched, point.fetched / total if total else None)
                    self.step.stop.check()
                if not is_whole:
                    raise ProviderUnavailable("the listing ended without its last page")
                meter.at(point.fetched, 1.0, last=True)

    def fail(self, error: str) -> None:
        """Record the error; committed pages stay, and the next attempt continues after them."""
        point = self.checkpoint
        if point is None:
            return
        values = self._values(point) | {"error": error}
        with self.analytics.writing(Interruption()) as connection, transaction(connection):
            connection.execute(
                f"UPDATE event_extractions SET status = 'failed', error = $error WHERE {_UNIT}"
                " AND generation = $generation",
                values,
            )
            values["ingested_day"] = values.pop("day")
            attempt = {"attempt": point.attempt, "failed_at": now()}
            insert_row(connection, "extraction_errors", values | attempt)

    def result(
        self, status: ExtractionStatus, period: Period, meter: ProgressMeter
    ) -> DayExtraction:
        point = self.checkpoint or _Checkpoint(1, 1, period)
        return DayExtraction(
            partition=self.integration.ref.partition_key,
            day=period.day,
            status=status,
            pages=point.pages,
            fetched=point.fetched,
            staged=point.fetched,
            resumed_pages=self.resumed_pages,
            generation=point.generation,
            attempt=point.attempt,
            seconds=meter.seconds,
        )

    def _begin(self, connection: duckdb.DuckDBPyConnection, period: Period) -> _Checkpoint:
        unit = _names(self.integration.ref) | {"day": period.day}
        oldest = ago(timedelta(hours=self.platform.settings.max_resume_hours))
        known = {"incremental": period.incremental, "fingerprint": self.integration.fingerprint}
        row = connection.execute(
            f"""
            SELECT generation, attempts, period_begin, period_end, cursor, batches, pages, fetched
            FROM event_extractions
            WHERE {_UNIT}
                AND incremental = $incremental
                AND status <> 'complete'
                AND fingerprint = $fingerprint
                AND started_at > $oldest::TIMESTAMP
            ORDER BY generation DESC
            LIMIT 1
            """,
            unit | known | {"oldest": oldest},
        ).fetchone()
        if row is not None:
            connection.execute(
                f"UPDATE event_extractions SET attempts = attempts + 1, status = 'running',"
                f" error = NULL, run_id = $run_id WHERE {_UNIT} AND generation = $generation",
                unit | {"generation": row[0], "run_id": self.step.run_id},
            )
            begin, end = (moment.replace(tzinfo=UTC) for moment in row[2:4])
            cursor = None if row[4] is None else msgspec.json.decode(row[4])
            period = replace(period, begin=begin, end=end)
            return _Checkpoint(row[0], row[1] + 1, period, cursor, *row[5:])
        self._drop(connection, unit, period.incremental, "status <> 'complete'")
        (generation,) = connection.execute(
            f"SELECT coalesce(max(generation), 0) + 1 FROM event_extractions WHERE {_UNIT}", unit
        ).fetchall()[0]
        insert_row(
            connection,
            "event_extractions",
            _names(self.integration.ref)
            | known
            | dict.fromkeys(("batches", "pages", "fetched", "staged"), 0)
            | {
                "ingested_day": period.day,
                "generation": generation,
                "period_begin": _text(period.begin),
                "period_end": _text(period.end),
                "status": "running",
                "attempts": 1,
                "run_id": self.step.run_id,
                "started_at": now(),
            },
        )
        return _Checkpoint(generation, 1, period)

    def _drop(
        self,
        connection: duckdb.DuckDBPyConnection,
        unit: dict[str, Any],
        incremental: bool,
        condition: str,
    ) -> None:
        """Delete the extractions of the unit that meet `condition`, with their records."""
        which = f"{_UNIT} AND incremental = $incremental AND {condition}"
        values = unit | {"incremental": incremental}
        for table in ("raw_api_events", "extraction_errors"):
            connection.execute(
                f"""
                DELETE FROM {table}
                WHERE {_UNIT} AND generation IN (
                    SELECT generation FROM event_extractions WHERE {which}
                )
                """,
                values,
            )
        connection.execute(f"DELETE FROM event_extractions WHERE {which}", values)

    def _open(self, period: Period) -> Source:
        return catalog.open_period(
            self.integration.provider,
            self.integration.provider_data,
            STREAM,
            begin=_text(period.begin),
            end=_text(period.end),
            secrets=self.secrets,
            limits=FetchLimits.of(self.platform.settings),
            ref=self.integration.ref,
        )

    def _land(self, point: _Checkpoint, pages: Sequence[Page], source: Source) -> _Checkpoint:
        """Commit a batch with its checkpoint; the last batch completes the extraction."""
        last, fetched = pages[-1], sum(page.count for page in pages)
        following = replace(
            point,
            cursor=last.next,
            batches=point.batches + 1,
            pages=point.pages + len(pages),
            fetched=point.fetched + fetched,
        )
        if last.cut_short is not None:
            raise ProviderUnavailable(f"the listing is incomplete: {last.cut_short}")
        if last.next is None:
            _refuse_short(last.total, following)
        values = self._values(following)
        with self.analytics.writing(self.step.stop) as connection:
            connection.register("event_pages", pages_table(self.integration.ref, pages))
            with transaction(connection):
                staged = inserted(
                    connection,
                    """
                    INSERT INTO raw_api_events BY NAME
                    SELECT
                        $organization_id AS organization_id, $integration_id AS integration_id,
                        $day::DATE AS ingested_day, $generation AS generation, $batch AS batch,
                        first_seq + generate_subscripts(records, 1) - 1 AS seq,
                        unnest(records) AS raw
                    FROM (
                        SELECT first_seq, json_extract(body, $list_path) AS records
                        FROM event_pages
                    )
                    """,
                    values
                    | {"batch": point.batches, "list_path": f"{object_path(source.records)}[*]"},
                )
                if staged != fetched:
                    raise BooksUnbalanced(
                        f"batch {point.batches} holds {fetched} events by its pages and "
                        f"{staged} by the warehouse; nothing of it was kept"
                    )
                self._advance(connection, following, values)
            connection.unregister("event_pages")
        return following

    def _advance(
        self, connection: duckdb.DuckDBPyConnection, point: _Checkpoint, values: dict[str, Any]
    ) -> None:
        cursor = None if point.cursor is None else msgspec.json.encode(point.cursor).decode()
        done = {"batches": point.batches, "pages": point.pages, "fetched": point.fetched}
        connection.execute(
            f"""
            UPDATE event_extractions
            SET cursor = $cursor, batches = $batches, pages = $pages,
                fetched = $fetched, staged = $fetched
            WHERE {_UNIT} AND generation = $generation
            """,
            values | done | {"cursor": cursor},
        )
        if point.cursor is not None:
            return
        if not point.period.incremental:
            unit = {name: value for name, value in values.items() if name != "generation"}
            self._drop(connection, unit, False, f"generation < {point.generation}")
        connection.execute(
            f"UPDATE event_extractions SET status = 'complete', completed_at = $now::TIMESTAMP"
            f" WHERE {_UNIT} AND generation = $generation",
            values | {"now": now()},
        )

    def _values(self, point: _Checkpoint) -> dict[str, Any]:
        unit = {"day": point.period.day, "generation": point.generation}
        return _names(self.integration.ref) | unit


def _refuse_short(total: int | None, point: _Checkpoint) -> None:
    """Raise `ProviderUnavailable` if a past period lists fewer events than its declared total."""
    closed = point.period.end <= datetime.now(UTC)
    if total is not None and closed and point.fetched < total:
        raise ProviderUnavailable(
            f"the provider counts {total:,} events of the period and listed {point.fetched:,}"
        )


def _names(ref: IntegrationRef) -> dict[str, Any]:
    return {"organization_id": ref.organization_id, "integration_id": ref.integration_id}


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
