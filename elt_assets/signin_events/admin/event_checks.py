"""Checks of the events' tables: pure functions that judge counts, and the queries for the counts.

Each check passes while no event was ever loaded: an installation without events is healthy.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import median

from elt_assets.config.settings import Settings
from elt_assets.errors import InvalidInput
from elt_assets.signin_events.results import CheckResult
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT, violations

CHECKS = ("volume", "conformance", "duplicates", "gaps", "freshness")

WEEKS = 8
"""The number of weeks back for which the same weekday is compared."""

FEWEST_WEEKS = 3
"""With fewer earlier weeks, the volume of a day is not judged."""

_LEAST, _MOST = 0.5, 2.0
_SAMPLE = 5


def volume(day: date, events: int, history: Sequence[int]) -> CheckResult:
    """Whether a day has about as many events as the same weekday had before."""
    if len(history) < FEWEST_WEEKS:
        return CheckResult(
            "volume",
            True,
            f"{day} has {events:,} events; {len(history)} earlier weeks are too few to compare",
            events,
        )
    usual = median(history)
    passed = _LEAST * usual <= events <= _MOST * usual
    return CheckResult(
        "volume",
        passed,
        f"{day} has {events:,} events; the same weekday has {usual:,.0f} as a rule",
        events,
        () if passed else ({"day": day.isoformat(), "events": events, "usual": usual},),
    )


def conformance(rows: int, rejected: int, broken: int, limit: float) -> CheckResult:
    """Whether all loaded events conform to the schema, and few enough records were rejected."""
    total = rows + rejected
    share = rejected / total if total else 0.0
    if broken:
        return CheckResult("conformance", False, f"{broken:,} events break {SIGNIN_EVENT}", broken)
    return CheckResult(
        "conformance",
        share <= limit,
        f"{rejected:,} of {total:,} records were rejected ({share:.1%}; at most {limit:.0%} "
        "are taken for usual)",
        rejected,
    )


def duplicates(count: int, sample: Sequence[tuple[str, str]]) -> CheckResult:
    """Whether each event is in the table only once."""
    return CheckResult(
        "duplicates",
        count == 0,
        f"{count:,} events stand in signin_events more than once",
        count,
        tuple({"organization_id": org, "event_id": event} for org, event in sample),
    )


def gaps(covered: Sequence[date]) -> CheckResult:
    """Whether every day between the first and the last extracted day was extracted."""
    known = set(covered)
    missing = []
    if known:
        first, last = min(known), max(known)
        days = (first + timedelta(days=number) for number in range((last - first).days))
        missing = [day for day in days if day not in known]
    return CheckResult(
        "gaps",
        not missing,
        f"{len(missing):,} days between the first and the last have nothing that was extracted",
        len(missing),
        tuple({"day": day.isoformat()} for day in missing[:_SAMPLE]),
    )


def freshness(newest: datetime | None, moment: datetime, limit: timedelta) -> CheckResult:
    """Whether the newest event is at most `limit` old at `moment`."""
    if newest is None:
        return CheckResult("freshness", True, "no event was ever loaded")
    age = moment - newest
    return CheckResult(
        "freshness",
        age <= limit,
        f"the newest event is {age / timedelta(hours=1):,.1f} hours old; "
        f"{limit / timedelta(hours=1):,.0f} are allowed",
    )


def check(name: str, analytics: Analytics, settings: Settings, day: date | None) -> CheckResult:
    """Run the check `name`; `day` restricts volume, conformance and duplicates to one day.

    Raises `InvalidInput` for an unknown name.
    """
    match name:
        case "volume":
            return _volume(analytics, day)
        case "conformance":
            return _conformance(analytics, day, settings.max_reject_share)
        case "duplicates":
            return _duplicates(analytics, day)
        case "gaps":
            return _gaps(analytics)
        case "freshness":
            return _freshness(analytics, timedelta(hours=settings.stale_hours))
    raise InvalidInput(f"there is no check {name!r} of events; there is {', '.join(CHECKS)}")


def _volume(analytics: Analytics, day: date | None) -> CheckResult:
    """`volume` of a day; None means the newest day that is over and has events."""
    today = datetime.now(UTC).date()
    counts = dict(
        analytics.rows(
            """
            SELECT event_day, count(*)
            FROM signin_events
            WHERE NOT deleted AND event_day < $today
            GROUP BY event_day
            """,
            {"today": today},
        )
    )
    if day is None:
        day = max(counts, default=None)
    if day is None or not counts:
        return CheckResult("volume", True, "no event was ever loaded")
    weeks = (day - timedelta(weeks=number) for number in range(1, WEEKS + 1))
    return volume(day, counts.get(day, 0), [counts[week] for week in weeks if week in counts])


def _conformance(analytics: Analytics, day: date | None, limit: float) -> CheckResult:
    """`conformance` of the events and dead letters of one partition, or of all."""
    which = {"day": day}
    rows = analytics.rows(
        f"""
        SELECT
            (
                SELECT count(*) FROM signin_events
                WHERE ingested_day = coalesce($day, ingested_day)
            ),
            (
                SELECT count(*) FROM rejected_events
                WHERE ingested_day = coalesce($day, ingested_day)
            ),
            (
                SELECT count(*) FROM signin_events
                WHERE ingested_day = coalesce($day, ingested_day)
                    AND ({violations(SIGNIN_EVENT)})
            )
        """,
        which,
    )
    total, rejected, broken = rows[0] if rows else (0, 0, 0)
    return conformance(total, rejected, broken, limit)


def _duplicates(analytics: Analytics, day: date | None) -> CheckResult:
    """`duplicates` of a day, or of all days."""
    rows = analytics.rows(
        f"""
        WITH twice AS (
            SELECT organization_id, event_id
            FROM signin_events
            GROUP BY organization_id, event_id
            HAVING count(*) > 1
                AND coalesce(bool_or(event_day = $day), $day IS NULL)
        )
        SELECT organization_id, event_id, (SELECT count(*) FROM twice)
        FROM twice
        ORDER BY organization_id, event_id
        LIMIT {_SAMPLE}
        """,
        {"day": day},
    )
    return duplicates(rows[0][2] if rows else 0, [(row[0], row[1]) for row in rows])


def _gaps(analytics: Analytics) -> CheckResult:
    """`gaps` between all days that were extracted from either source."""
    rows = analytics.rows(
        """
        SELECT ingested_day FROM event_extractions WHERE status = 'complete'
        UNION
        SELECT ingested_day FROM event_files WHERE status <> 'failed'
        """
    )
    return gaps([row[0] for row in rows])


def _freshness(analytics: Analytics, limit: timedelta) -> CheckResult:
    """`freshness` of the newest event."""
    rows = analytics.rows("SELECT max(occurred_at) FROM signin_events WHERE NOT deleted")
    newest = rows[0][0] if rows else None
    return freshness(
        None if newest is None else newest.replace(tzinfo=UTC),
        datetime.now(UTC),
        limit,
    )
