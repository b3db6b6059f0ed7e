"""Normalize a day's stored records, of either source, to the declared schema.

Records that violate the schema become dead letters. The records themselves are stored, so that a
corrected configuration can be applied without fetching again. A day's normalized rows are replaced
as a whole (delete-then-insert), because all records that they come from are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expressions import Expression
from elt_assets.errors import BooksUnbalanced, InvalidInput, PermanentError
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.extract.api_extraction import STREAM
from elt_assets.signin_events.progress_meter import watching
from elt_assets.signin_events.results import EventSource, Normalized
from elt_assets.signin_events.step_run import StepRun
from elt_assets.signin_events.warehouse.analytics import Analytics, in_any_order
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT, conforming
from elt_assets.signin_events.warehouse.load_strategies import delete_then_insert, inserted
from elt_assets.signin_events.warehouse.pending_days import LOAD, add_waiting
from elt_assets.storage.warehouse.warehouse import one_row, transaction
from elt_assets.sync.clock import now
from elt_assets.sync.extract.record_mapping import mapping_query
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.streams import Column, Stream

_LONGEST_RAW = 2_000
_MAPPED = ("user_external_id", "occurred_at", "result", "country", "ip", "user_agent")

EVENTS = Stream(
    name=STREAM,
    description="Sign-ins that happened.",
    key=(Column("event_id", "The provider's own id of the event."),),
    content=tuple(Column(name, "") for name in (*_MAPPED, "application")),
)
"""The columns that an integration's field map fills; this stream is not kept in sync."""

_IS_SIGNIN = "is_signin"
"""The mapped field that is missing or false in records which are not sign-ins."""

_NO_LIMITS = FetchLimits(attempts=1, first_wait=0, timeout=1, page_bytes=1, max_pages=1)
"""Nothing is fetched; only the field map of the source is read."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """Normalizes days of one installation."""

    platform: SyncService
    analytics: Analytics

    def run(self, source: EventSource, day: date, step: StepRun) -> Normalized:
        """Replace the day's normalized rows. Raises the errors of the registry and warehouse."""
        meter = step.meter(f"normalized_{source}_events", day.isoformat())
        integrations = {entry.ref: entry for entry in self.platform.registry.all()}
        organizations = sorted({ref.organization_id for ref in integrations})
        with self.analytics.writing(step.stop) as connection, in_any_order(connection):
            # Outside the transaction: temporary tables need none.
            if source is EventSource.API:
                read = _map_api(connection, integrations, day)
            else:
                read = _count_csv(connection, day)
            with transaction(connection), watching(connection, meter, lambda: read):
                result = _judge(connection, source, day, organizations, read)
                add_waiting(connection, LOAD, day)
                if source is EventSource.API:
                    _raise_watermarks(connection, day)
        meter.at(read, 1.0, last=True)
        return result


def _map_api(
    connection: duckdb.DuckDBPyConnection,
    integrations: Mapping[IntegrationRef, Integration],
    day: date,
) -> int:
    """Map the day's complete extractions into a temporary table; return the number of records.

    Records of integrations that are no longer registered are left out.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE mapped_events (
            {", ".join(f"{name} VARCHAR" for name in SIGNIN_EVENT.names)},
            damage VARCHAR, raw VARCHAR, file VARCHAR, position BIGINT
        )
        """
    )
    refs = connection.execute(
        """
        SELECT DISTINCT organization_id, integration_id
        FROM event_extractions
        WHERE ingested_day = $day AND status = 'complete'
        ORDER BY ALL
        """,
        {"day": day},
    ).fetchall()
    known = (integrations.get(IntegrationRef(*names)) for names in refs)
    return sum(_map_one(connection, one.ref, _fields(one), day) for one in known if one is not None)


def _fields(integration: Integration) -> Mapping[str, Expression]:
    """The integration's current field map. Raises `PermanentError` if it no longer has one."""
    try:
        source = catalog.open_period(
            integration.provider,
            integration.provider_data,
            STREAM,
            begin="",
            end="",
            secrets=Secrets(),
            limits=_NO_LIMITS,
            ref=integration.ref,
        )
    except InvalidInput as error:
        raise PermanentError(
            f"{integration.ref}: its stored events can no longer be mapped ({error}); put "
            f"streams.{STREAM} back into its provider_data, or remove the integration"
        ) from error
    source.close()
    return source.fields


def _map_one(
    connection: duckdb.DuckDBPyConnection,
    ref: IntegrationRef,
    fields: Mapping[str, Expression],
    day: date,
) -> int:
    names = {
        "organization_id": ref.organization_id,
        "integration_id": ref.integration_id,
        "day": day,
    }
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE fetched_events AS
        SELECT
            (row_number() OVER (ORDER BY generation, batch, seq))::INTEGER AS seq,
            raw, NULL::VARCHAR AS parent, organization_id,
            integration_id AS connected_integration_id
        FROM raw_api_events
        SEMI JOIN (
            SELECT organization_id, integration_id, ingested_day, generation
            FROM event_extractions
            WHERE organization_id = $organization_id
                AND integration_id = $integration_id
                AND ingested_day = $day
                AND status = 'complete'
        ) USING (organization_id, integration_id, ingested_day, generation)
        """,
        names,
    )
    content = ", ".join(column.name for column in EVENTS.content)
    return inserted(
        connection,
        f"""
        INSERT INTO mapped_events BY NAME
        SELECT
            organization_id, connected_integration_id AS integration_id, event_id, {content},
            source_updated_at::VARCHAR AS source_updated_at,
            CASE WHEN tombstone THEN 'DELETE' END AS op,
            -- The schema reports missing fields, in the same words for either source.
            CASE WHEN event_id IS NOT NULL OR json_type(raw) <> 'OBJECT' THEN reason END AS damage,
            raw::VARCHAR AS raw, seq AS position
        FROM ({mapping_query(EVENTS, fields, "FROM fetched_events")})
        WHERE {_counts(fields)}
        """,
    )


def _counts(fields: Mapping[str, Expression]) -> str:
    """The SQL condition that a mapped record is a sign-in, for providers that list other events.

    Mapped fields that are not in the schema, such as `is_signin`, are in `attributes`.
    """
    if _IS_SIGNIN not in fields:
        return "true"
    said = f"json_extract_string(attributes, '/{_IS_SIGNIN}')"
    return f"json_type(raw) <> 'OBJECT' OR coalesce({said}, 'false') <> 'false'"


def _count_csv(connection: duckdb.DuckDBPyConnection, day: date) -> int:
    (count,) = one_row(
        connection, "SELECT count(*) FROM raw_csv_events WHERE ingested_day = $day", {"day": day}
    )
    return int(count)


def _judge(
    connection: duckdb.DuckDBPyConnection,
    source: EventSource,
    day: date,
    organizations: list[str],
    read: int,
) -> Normalized:
    judged = conforming(SIGNIN_EVENT, _STORED[source])
    parameters: dict[str, Any] = {"organizations": organizations}
    if source is EventSource.CSV:
        parameters["day"] = day
    table = f"normalized_{source}_events"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE former_events AS"
        f" SELECT DISTINCT organization_id, event_id FROM {table} WHERE ingested_day = $day",
        {"day": day},
    )
    normalized = delete_then_insert(
        connection,
        table,
        {"ingested_day": day},
        f"""
        SELECT
            {", ".join(SIGNIN_EVENT.names)}, occurred_at::DATE AS event_day,
            DATE '{day.isoformat()}' AS ingested_day, file, position,
            {SIGNIN_EVENT.version} AS schema_version
        FROM ({judged})
        WHERE reason IS NULL
        """,
        parameters,
    )
    connection.execute(
        f"""
        INSERT INTO dropped_events
        SELECT organization_id, event_id, $day::DATE
        FROM former_events
        ANTI JOIN (FROM {table} WHERE ingested_day = $day) USING (organization_id, event_id)
        """,
        {"day": day},
    )
    connection.execute("DROP TABLE former_events")
    # Validate the records a second time only if some were rejected.
    rejected = _reject(connection, source, day, judged, parameters if normalized < read else None)
    if normalized + rejected != read:
        raise BooksUnbalanced(
            f"{day} has {read:,} {source} records, of which {normalized:,} were normalized and "
            f"{rejected:,} rejected; nothing of it was kept. This is a defect of the platform"
        )
    days = _event_days(connection, table, day)
    return Normalized(
        source=source,
        day=day,
        schema=str(SIGNIN_EVENT),
        read=read,
        normalized=normalized,
        rejected=rejected,
        late=sum(count for event_day, count in days if event_day < day),
        event_days=tuple(event_day for event_day, _ in days),
    )


def _reject(
    connection: duckdb.DuckDBPyConnection,
    source: EventSource,
    day: date,
    judged: str,
    parameters: dict[str, Any] | None,
) -> int:
    """Replace the day's dead letters by the violations in `judged`, or by none without parameters.

    Returns their number.
    """
    return delete_then_insert(
        connection,
        "rejected_events",
        {"source": str(source), "stage": "normalize", "ingested_day": day},
        "FROM rejected_events LIMIT 0"
        if parameters is None
        else f"""
        SELECT
            '{source}' AS source, 'normalize' AS stage, DATE '{day.isoformat()}' AS ingested_day,
            organization_id, integration_id, file, {_LINE[source]} AS line, event_id AS key,
            reason, left(raw, {_LONGEST_RAW}) AS raw, $now::TIMESTAMP AS created_at
        FROM ({judged}) AS judged
        WHERE reason IS NOT NULL
        """,
        parameters and parameters | {"now": now()},
    )


def _event_days(
    connection: duckdb.DuckDBPyConnection, table: str, day: date
) -> list[tuple[date, int]]:
    """The days on which the day's normalized events happened, with the numbers of events."""
    return connection.execute(
        f"""
        SELECT event_day, count(*)
        FROM {table}
        WHERE ingested_day = $day AND event_day IS NOT NULL
        GROUP BY event_day
        ORDER BY event_day
        """,
        {"day": day},
    ).fetchall()


_STORED = {
    EventSource.API: "FROM mapped_events",
    # Rows of a part are stored in the order of its lines, so that their row numbers, counted from
    # the part's first row, give their places.
    EventSource.CSV: f"""
        SELECT
            {", ".join(f"raw_csv_events.{name}" for name in SIGNIN_EVENT.names)},
            NULL::VARCHAR AS damage, file,
            raw_csv_events.rowid - first_row + 1 + rows_before AS position,
            to_json({{{", ".join(f"'{n}': raw_csv_events.{n}" for n in SIGNIN_EVENT.names)}}})
                ::VARCHAR AS raw
        FROM raw_csv_events
        JOIN (
            SELECT
                file, part, min(rowid) AS first_row,
                coalesce(
                    sum(max(rowid) - min(rowid) + 1) OVER (
                        PARTITION BY file ORDER BY part
                        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                    ),
                    0
                )::BIGINT AS rows_before
            FROM raw_csv_events
            WHERE ingested_day = $day
            GROUP BY file, part
        ) USING (file, part)
        WHERE ingested_day = $day
    """,
}

_LINE = {
    EventSource.API: "NULL",
    # A record's line is its place plus the header and the rejected lines before the record. If
    # records are not single lines, the line is unknown.
    EventSource.CSV: """(
        SELECT CASE
            WHEN NOT any_value(plain_lines) THEN NULL
            ELSE judged.position + any_value(above) + count(*) FILTER (
                place <= judged.position - 1
            )
        END
        FROM (
            SELECT
                event_files.file,
                plain_lines,
                (event_files.file NOT LIKE '%.jsonl%')::INTEGER AS above,
                line - 1 - above
                    - row_number() OVER (PARTITION BY event_files.file ORDER BY line) + 1 AS place
            FROM event_files
            LEFT JOIN rejected_events
                ON rejected_events.file = event_files.file
                AND rejected_events.ingested_day = event_files.ingested_day
                AND rejected_events.stage = 'extract'
            WHERE event_files.ingested_day = $day
        ) AS lines
        WHERE lines.file = judged.file
    )""",
}


def _raise_watermarks(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Raise each integration's watermark to its newest event; a watermark never goes back.

    It goes no further than the end of the period that was requested: otherwise one event from a
    clock that runs ahead would hide all events until that time.
    """
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE raised AS
        SELECT organization_id, integration_id, max(occurred_at) AS occurred_at
        FROM (
            SELECT
                n.organization_id, n.integration_id,
                least(max(n.occurred_at), max(e.period_end)) AS occurred_at
            FROM normalized_api_events AS n
            JOIN event_extractions AS e USING (organization_id, integration_id, ingested_day)
            WHERE n.ingested_day = $day AND e.status = 'complete'
            GROUP BY n.organization_id, n.integration_id
            UNION ALL
            SELECT organization_id, integration_id, occurred_at FROM event_watermarks
        )
        WHERE occurred_at IS NOT NULL
        GROUP BY organization_id, integration_id
        """,
        {"day": day},
    )
    connection.execute("DELETE FROM event_watermarks")
    connection.execute("INSERT INTO event_watermarks BY NAME FROM raised")
