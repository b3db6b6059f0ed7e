"""The daily summary: events of a day by organization, and sign-ins of unknown or inactive users.

A day's rows are replaced as a whole (delete-then-insert). A country is new on the first day on
which it occurs, so a late event can mean that it was not new on a later day. The counts of new
countries of that later day are then corrected, and nothing else of that day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb

from elt_assets.signin_events.results import Summarized
from elt_assets.signin_events.step_run import StepRun
from elt_assets.signin_events.transform.known_users import users_as_of
from elt_assets.signin_events.warehouse.analytics import Analytics, in_any_order
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT
from elt_assets.signin_events.warehouse.load_strategies import delete_then_insert
from elt_assets.signin_events.warehouse.pending_days import SUMMARIZE, done
from elt_assets.storage.warehouse.warehouse import one_row, transaction
from elt_assets.sync.service import SyncService

_CONCERNED = """
    SELECT organization_id FROM signin_events WHERE event_day = $day
    UNION
    SELECT organization_id FROM daily_signin_summary WHERE event_day = $day
"""

_FIRST_SEEN = f"""
    CREATE OR REPLACE TEMP TABLE first_seen AS
    SELECT organization_id, user_external_id, country, min(event_day) AS first_day
    FROM signin_events
    WHERE NOT deleted AND country IS NOT NULL AND organization_id IN ({_CONCERNED})
    GROUP BY organization_id, user_external_id, country
"""

_NEW_COUNTRIES = """
    SELECT
        first_day AS event_day,
        organization_id,
        count(*) AS new_user_countries,
        count(DISTINCT country) FILTER (first_day = first_of_all) AS new_countries
    FROM (
        SELECT
            *,
            min(first_day) OVER (PARTITION BY organization_id, country) AS first_of_all
        FROM first_seen
    )
    GROUP BY first_day, organization_id
"""

_SUMMARY = f"""
    SELECT
        $day::DATE AS event_day,
        organization_id,
        count(*) FILTER (NOT deleted) AS events,
        count(*) FILTER (NOT deleted AND result = 'failure') AS failures,
        count(DISTINCT user_external_id) FILTER (NOT deleted) AS users,
        coalesce(any_value(new_countries), 0) AS new_countries,
        coalesce(any_value(new_user_countries), 0) AS new_user_countries,
        count(DISTINCT user_external_id) FILTER (NOT deleted AND active IS NULL) AS unknown_users,
        count(DISTINCT user_external_id) FILTER (NOT deleted AND NOT active) AS inactive_users,
        count(*) FILTER (deleted) AS deleted_events,
        {SIGNIN_EVENT.version} AS schema_version
    FROM (
        SELECT
            e.organization_id, e.user_external_id, e.result, e.deleted,
            -- A user who is active with one provider may sign in.
            bool_or(coalesce(p.active, true)) FILTER (p.external_id IS NOT NULL) AS active
        FROM (SELECT *, rowid AS place FROM signin_events WHERE event_day = $day) AS e
        LEFT JOIN known_people AS p
            ON p.organization_id = e.organization_id
            AND p.external_id = e.user_external_id
            AND p.integration_id = coalesce(e.integration_id, p.integration_id)
        GROUP BY e.place, e.organization_id, e.user_external_id, e.result, e.deleted
    )
    LEFT JOIN (FROM new_countries WHERE event_day = $day) AS fresh USING (organization_id)
    GROUP BY organization_id
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """Summarizes days of one installation."""

    platform: SyncService
    analytics: Analytics

    def run(self, day: date, step: StepRun) -> Summarized:
        """Replace the day's rows, and correct later days' counts of new countries."""
        organizations = self.analytics.rows(_CONCERNED, {"day": day})
        people = users_as_of(self.platform, {row[0] for row in organizations}, day)
        step.stop.check()
        with self.analytics.writing(step.stop) as connection, in_any_order(connection):
            connection.register("known_people", people)
            with transaction(connection):
                connection.execute(_FIRST_SEEN, {"day": day})
                connection.execute(
                    f"CREATE OR REPLACE TEMP TABLE new_countries AS {_NEW_COUNTRIES}"
                )
                delete_then_insert(
                    connection, "daily_signin_summary", {"event_day": day}, _SUMMARY, {"day": day}
                )
                also = _correct_later(connection, day)
                done(connection, SUMMARIZE, day)
            connection.unregister("known_people")
            summarized, events, failures, unknown, inactive = one_row(
                connection,
                """
                SELECT
                    count(*), coalesce(sum(events), 0)::BIGINT,
                    coalesce(sum(failures), 0)::BIGINT, coalesce(sum(unknown_users), 0)::BIGINT,
                    coalesce(sum(inactive_users), 0)::BIGINT
                FROM daily_signin_summary
                WHERE event_day = $day
                """,
                {"day": day},
            )
        return Summarized(day, summarized, events, failures, unknown, inactive, also)


def _correct_later(connection: duckdb.DuckDBPyConnection, day: date) -> tuple[date, ...]:
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE corrections AS
        SELECT
            s.event_day, s.organization_id,
            coalesce(n.new_countries, 0) AS new_countries,
            coalesce(n.new_user_countries, 0) AS new_user_countries
        FROM daily_signin_summary AS s
        LEFT JOIN new_countries AS n USING (event_day, organization_id)
        WHERE s.event_day > $day
            AND s.organization_id IN ({_CONCERNED})
            AND (
                s.new_countries <> coalesce(n.new_countries, 0)
                OR s.new_user_countries <> coalesce(n.new_user_countries, 0)
            )
        """,
        {"day": day},
    )
    connection.execute(
        """
        UPDATE daily_signin_summary AS s
        SET new_countries = c.new_countries, new_user_countries = c.new_user_countries
        FROM corrections AS c
        WHERE s.event_day = c.event_day AND s.organization_id = c.organization_id
        """
    )
    rows = connection.execute(
        "SELECT DISTINCT event_day FROM corrections ORDER BY event_day"
    ).fetchall()
    return tuple(row[0] for row in rows)
