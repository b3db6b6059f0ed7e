"""Load a day's records into `signin_events`, and decide which record of an event counts.

An event is identified by its organization and its id, whichever source reports it. Rows are
upserted by that key: a day's records may concern events of other days, and the rest of those days
must not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb

from elt_assets.signin_events.progress_meter import ProgressMeter, watching
from elt_assets.signin_events.results import Loaded
from elt_assets.signin_events.step_run import StepRun
from elt_assets.signin_events.warehouse.analytics import Analytics, in_any_order
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT
from elt_assets.signin_events.warehouse.load_strategies import refresh, upsert
from elt_assets.signin_events.warehouse.pending_days import LOAD, SUMMARIZE, add_waiting, done
from elt_assets.storage.warehouse.warehouse import one_row, transaction

KEY = ("organization_id", "event_id")

_NAMES = ", ".join(name for name in SIGNIN_EVENT.names if name != "op")


def winners(contested: str) -> str:
    """The rows of `signin_events` for the events that several records describe.

    `contested` is SQL for those records: normalized rows with their `source`. Among records of
    files, the last one in the order of days, files and lines wins; among those of providers, the
    newest version wins. Between the two, a file's correction (UPDATE or DELETE) takes precedence
    over a provider's record, and that over a file's plain insertion. A deleted event keeps the
    content it had.
    """
    last = "ingested_day DESC, file DESC, position DESC, integration_id"
    newest = f"CASE WHEN source = 'api' THEN source_updated_at END DESC NULLS LAST, {last}"
    return f"""
    WITH ranked AS (
        SELECT
            *,
            row_number() OVER (
                PARTITION BY organization_id, event_id, source ORDER BY {newest}
            ) AS place,
            row_number() OVER (
                PARTITION BY organization_id, event_id, source, op IS NOT DISTINCT FROM 'DELETE'
                ORDER BY {newest}
            ) AS place_of_kind
        FROM ({contested})
    ),
    decided AS (
        SELECT
            organization_id,
            event_id,
            coalesce(
                CASE WHEN file_op IN ('UPDATE', 'DELETE') THEN file_op = 'DELETE' END,
                provider_op = 'DELETE',
                false
            ) AS deleted
        FROM (
            SELECT
                organization_id,
                event_id,
                any_value(op) FILTER (source = 'csv' AND place = 1) AS file_op,
                any_value(op) FILTER (source = 'api' AND place = 1) AS provider_op
            FROM ranked
            GROUP BY organization_id, event_id
        )
    ),
    contents AS (
        SELECT * EXCLUDE (place, place_of_kind)
        FROM ranked
        WHERE place_of_kind = 1
            -- A mere deletion has none.
            AND event_day IS NOT NULL AND user_external_id IS NOT NULL AND result IS NOT NULL
        QUALIFY row_number() OVER (
            PARTITION BY organization_id, event_id
            ORDER BY CASE
                WHEN op = 'DELETE' THEN 3
                WHEN source = 'csv' AND op = 'UPDATE' THEN 0
                WHEN source = 'api' THEN 1
                ELSE 2
            END
        ) = 1
    )
    SELECT
        {_NAMES},
        CASE WHEN deleted THEN 'DELETE' ELSE op END AS op,
        event_day, deleted, source, ingested_day, file, schema_version
    FROM contents
    JOIN decided USING (organization_id, event_id)
    """


def undisputed(records: str) -> str:
    """The rows of `signin_events` for events with one record: most events, needing no sorting."""
    return f"""
    SELECT
        {_NAMES}, op, event_day, op IS NOT DISTINCT FROM 'DELETE' AS deleted, source,
        ingested_day, file, schema_version
    FROM ({records})
    WHERE event_day IS NOT NULL AND user_external_id IS NOT NULL AND result IS NOT NULL
    """


EVERY_RECORD = """
    SELECT *, 'api' AS source FROM normalized_api_events
    UNION ALL
    SELECT *, 'csv' AS source FROM normalized_csv_events
    UNION ALL BY NAME
    -- What deleted records said.
    SELECT * EXCLUDE (deleted), 0 AS position
    FROM signin_events
    WHERE ingested_day IN (FROM forgotten_days)
"""


@dataclass(frozen=True, slots=True)
class Loading:
    """Loads days of one installation."""

    analytics: Analytics

    def run(self, day: date, step: StepRun) -> Loaded:
        """Apply the day's records to `signin_events`, in one transaction."""
        meter = step.meter("signin_events", day.isoformat())
        with (
            self.analytics.writing(step.stop) as connection,
            in_any_order(connection),
            transaction(connection),
        ):
            _gather(connection, day, meter)
            changes = upsert(
                connection,
                "signin_events",
                key=KEY,
                incoming="winning_events",
                among="affected_events",
                observed="event_day",
            )
            for table in ("winning_events", "affected_events", "contested_events"):
                connection.execute(f"DROP TABLE {table}")
            connection.execute("DELETE FROM dropped_events WHERE ingested_day = $day", {"day": day})
            done(connection, LOAD, day)
            for touched in changes.touched:
                add_waiting(connection, SUMMARIZE, touched)
            rows, deleted, fingerprint = day_state(connection, day)
            duplicates = _duplicates(connection, day)
        meter.at(rows, 1.0, last=True)
        return Loaded(
            day=day,
            rows=rows,
            inserted=changes.inserted,
            updated=changes.updated,
            deleted=deleted,
            removed=changes.removed,
            unchanged=changes.unchanged,
            duplicates=duplicates,
            days=changes.touched,
            fingerprint=fingerprint,
        )

    def refresh(self, step: StepRun) -> int:
        """Rebuild the table from all normalized records; return the number of events."""
        with self.analytics.writing(step.stop) as connection, in_any_order(connection):
            days = _days(connection)
            _contest(connection, EVERY_RECORD)
            rows = refresh(connection, "signin_events", _all_winners(EVERY_RECORD))
            with transaction(connection):
                for day in days | _days(connection):
                    add_waiting(connection, SUMMARIZE, day)
        return rows


def _gather(connection: duckdb.DuckDBPyConnection, day: date, meter: ProgressMeter) -> None:
    """Find the events that the day's records concern or concerned, and the rows they get now."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE affected_events AS
        SELECT DISTINCT organization_id, event_id
        FROM (
            SELECT organization_id, event_id, ingested_day FROM ({EVERY_RECORD})
            UNION ALL
            SELECT organization_id, event_id, ingested_day FROM dropped_events
        )
        WHERE ingested_day = $day
        """,
        {"day": day},
    )
    records = f"""
        SELECT * FROM ({EVERY_RECORD}) SEMI JOIN affected_events USING (organization_id, event_id)
    """
    _contest(connection, records)
    (count,) = one_row(connection, "SELECT count(*) FROM affected_events", {})
    with watching(connection, meter, lambda: count):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE winning_events AS {_all_winners(records)}"
        )


def _contest(connection: duckdb.DuckDBPyConnection, records: str) -> None:
    """Find the events that several of `records` describe."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE contested_events AS
        SELECT organization_id, event_id
        FROM ({records})
        GROUP BY organization_id, event_id
        HAVING count(*) > 1
        """
    )


def _all_winners(records: str) -> str:
    key = ", ".join(KEY)
    contested = f"SELECT * FROM ({records}) SEMI JOIN contested_events USING ({key})"
    alone = f"SELECT * FROM ({records}) ANTI JOIN contested_events USING ({key})"
    return f"({winners(contested)}) UNION ALL BY NAME ({undisputed(alone)})"


def day_state(connection: duckdb.DuckDBPyConnection, day: date) -> tuple[int, int, str]:
    """The number of events of a day, the number of deleted ones, and a fingerprint of all.

    The fingerprint depends only on the events, not on their order nor on when or how often they
    were loaded.
    """
    rows, deleted, fingerprint = one_row(
        connection,
        f"""
        SELECT
            count(*),
            count(*) FILTER (deleted),
            coalesce(sum(hash({_NAMES}, deleted, source)::HUGEINT), 0)
        FROM signin_events
        WHERE event_day = $day
        """,
        {"day": day},
    )
    return rows, deleted, f"{int(fingerprint) % 2**64:016x}"


def _duplicates(connection: duckdb.DuckDBPyConnection, day: date) -> int:
    """The number of the day's records whose content is not in the table."""
    (count,) = one_row(
        connection,
        f"""
        SELECT
            (SELECT count(*) FROM ({EVERY_RECORD}) WHERE ingested_day = $day)
            - (SELECT count(*) FROM signin_events WHERE ingested_day = $day)
        """,
        {"day": day},
    )
    return int(count)


def _days(connection: duckdb.DuckDBPyConnection) -> set[date]:
    rows = connection.execute("SELECT DISTINCT event_day FROM signin_events").fetchall()
    return {row[0] for row in rows}
