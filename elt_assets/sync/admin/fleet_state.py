"""The state of all integrations in counts and top tens, however many there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from heapq import nlargest

import msgspec

from elt_assets.storage.operational.database import OperationalDatabase, Row
from elt_assets.sync.clock import ago
from elt_assets.sync.outcome import Status
from elt_assets.sync.state.listings import SettledListing, newest_listings
from elt_assets.sync.state.sync_history import NEWEST_SETTLED, SETTLED, sql_list
from elt_assets.sync.streams import STREAMS

TOP = 10
DAYS = 30
"""The number of days for which changes are counted."""
_FEWEST_DAYS = 7

_LAGS = (
    ("under 1 h", 1),
    ("1 to 6 h", 6),
    ("6 to 12 h", 12),
    ("12 to 26 h", 26),
    ("1 to 2 days", 48),
    ("2 to 7 days", 168),
)
_LONGER = "over 7 days"
_NEVER = "never"


class DayOfChanges(msgspec.Struct, frozen=True):
    """What all syncs begun on one day (UTC) changed."""

    day: str
    inserted: int
    updated: int
    deleted: int


class Cause(msgspec.Struct, frozen=True):
    """A text that several failures share, their number, and one integration as an example.

    A failure that is the only one of its kind has its full message as text.
    """

    text: str
    count: int
    example: str
    stream: str


class Ranked(msgspec.Struct, frozen=True):
    """One integration's stream in a top ten, with the number that ranks it and a remark."""

    partition: str
    stream: str
    number: float
    remark: str = ""


class FleetState(msgspec.Struct, frozen=True):
    """The state of all integrations, as of `moment` (UTC)."""

    moment: str
    enabled: int
    disabled: int
    stale: int
    records: dict[str, int]
    statuses: dict[str, dict[str, int]]
    lags: dict[str, int]
    changes: tuple[DayOfChanges, ...]
    causes: tuple[Cause, ...]
    slowest: tuple[Ranked, ...]
    largest: tuple[Ranked, ...]
    rejecting: tuple[Ranked, ...]
    quarantined: int
    quarantines: tuple[Ranked, ...]
    incomplete: int
    incompletes: tuple[Ranked, ...]

    @property
    def failed(self) -> int:
        """Streams of integrations whose newest sync failed."""
        return sum(by_status.get(Status.FAILED, 0) for by_status in self.statuses.values())


def message_of(error: str | None, organization_id: str, integration_id: str) -> str:
    """The error without the name of its integration, which is shown next to it."""
    return (error or "failed without a reason").removeprefix(
        f"{organization_id}:{integration_id}: "
    )


def cause_of(error: str | None, organization_id: str, integration_id: str) -> str:
    """The error without the parts that differ between integrations with the same problem."""
    text = message_of(error, organization_id, integration_id)
    text = text.replace(organization_id, "…").replace(integration_id, "…")
    # The status code after "answered" is part of the cause; all other numbers are pages, ports and
    # counts.
    return re.sub(r"(?<!answered )(?<!\d)\d+", "…", text.splitlines()[0])


def fleet_state(database: OperationalDatabase, stale_hours: float) -> FleetState:
    """Query the whole state.

    `stale_hours` is the age in hours from which an integration counts as not up to date, unless
    its own configuration has another limit.
    """
    now = datetime.now(UTC)
    newest = _newest(database)
    lags = _hours_since_settled(database, now, stale_hours)
    quarantined = _quarantined(database)
    incomplete = [
        listing
        for stream in STREAMS.values()
        for listing in newest_listings(database, stream, incomplete=True)
    ]
    (registered,) = database.rows(
        "SELECT count(*) FILTER (WHERE enabled = 1) AS enabled, count(*) AS n"
        " FROM connected_integrations"
    )
    return FleetState(
        moment=now.strftime("%Y-%m-%d %H:%M"),
        enabled=registered["enabled"],
        disabled=registered["n"] - registered["enabled"],
        stale=sum(1 for lag, limit in lags if lag is None or lag > limit),
        records=_records(database),
        statuses=_statuses(newest),
        lags=_lags([lag for lag, _ in lags]),
        changes=_changes(database),
        causes=_causes(newest),
        slowest=_slowest(newest),
        largest=_largest(newest),
        rejecting=_rejecting(newest),
        quarantined=len(quarantined),
        quarantines=tuple(
            Ranked(_partition(row), row["stream"], row["withheld"], f"of {row['latest']:,}")
            for row in quarantined[:TOP]
        ),
        incomplete=len(incomplete),
        incompletes=tuple(
            Ranked(one.partition, one.stream, one.certificate.records, one.why)
            for one in nlargest(TOP, incomplete, key=_lacking)
        ),
    )


def _hours_since_settled(
    database: OperationalDatabase, now: datetime, stale_hours: float
) -> list[tuple[float | None, float]]:
    """(hours since the last settled sync, limit) for every enabled integration.

    The hours are those of its stream that is furthest behind, None if no sync ever settled. The
    limit is the number of hours after which the integration counts as not up to date.
    """
    own = database.dialect.number_at("c.provider_data", "safeguards", "stale_hours")
    rows = database.rows(
        f"""
        SELECT
            coalesce(min(v.settled_at), '') AS settled_at,
            coalesce({own}, ?) AS stale_hours
        FROM connected_integrations AS c
        LEFT JOIN integration_versions AS v
            ON v.organization_id = c.organization_id AND v.connected_integration_id = c.id
        WHERE c.enabled = 1
        GROUP BY c.organization_id, c.id, c.provider_data
        """,
        (stale_hours,),
    )
    return [
        (
            (now - datetime.fromisoformat(row["settled_at"])) / timedelta(hours=1)
            if row["settled_at"]
            else None,
            row["stale_hours"],
        )
        for row in rows
    ]


def _lags(hours: list[float | None]) -> dict[str, int]:
    counted = Counter(
        _NEVER if lag is None else next((label for label, limit in _LAGS if lag <= limit), _LONGER)
        for lag in hours
    )
    return {label: counted[label] for label in (*(label for label, _ in _LAGS), _LONGER, _NEVER)}


def _records(database: OperationalDatabase) -> dict[str, int]:
    """Rows in the latest tables, as the newest settled syncs counted them."""
    rows = database.rows(
        f"""
        SELECT s.stream, CAST(sum(s.latest) AS BIGINT) AS n
        {NEWEST_SETTLED}
        GROUP BY s.stream
        ORDER BY n DESC
        """
    )
    return {row["stream"]: row["n"] for row in rows}


def _newest(database: OperationalDatabase) -> list[Row]:
    """The newest sync of every stream of every enabled integration: the columns for the report."""
    return database.rows(
        """
        SELECT
            s.organization_id, s.connected_integration_id, s.stream, s.status,
            s.fetched, s.rejected, s.latest, s.started_at,
            coalesce(s.finished_at, '') AS finished_at, coalesce(s.error, '') AS error
        FROM syncs AS s
        JOIN (
            SELECT organization_id, connected_integration_id, stream, max(ordinal) AS ordinal
            FROM syncs
            GROUP BY organization_id, connected_integration_id, stream
        ) AS newest USING (organization_id, connected_integration_id, stream, ordinal)
        JOIN connected_integrations AS c
            ON c.organization_id = s.organization_id
            AND c.id = s.connected_integration_id
            AND c.enabled = 1
        """
    )


def _statuses(newest: Sequence[Row]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in newest:
        counts = found.setdefault(row["stream"], {})
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    return found


def _changes(database: OperationalDatabase) -> tuple[DayOfChanges, ...]:
    rows = database.rows(
        f"""
        SELECT
            substr(started_at, 1, 10) AS day,
            CAST(sum(inserts) AS BIGINT) AS inserted,
            CAST(sum(updates) AS BIGINT) AS updated,
            CAST(sum(deletes) AS BIGINT) AS deleted
        FROM syncs
        WHERE started_at >= ?
            AND status IN ({sql_list(SETTLED)})
        GROUP BY day
        ORDER BY day
        """,
        (ago(timedelta(days=DAYS))[:10],),
    )
    by_day = {row["day"]: row for row in rows}
    if not by_day:
        return ()
    today = datetime.now(UTC).date()
    first = min(date.fromisoformat(min(by_day)), today - timedelta(days=_FEWEST_DAYS - 1))
    days = [str(first + timedelta(days=n)) for n in range((today - first).days + 1)]
    nothing = {"inserted": 0, "updated": 0, "deleted": 0}
    return tuple(DayOfChanges(**{"day": day, **nothing, **by_day.get(day, {})}) for day in days)


def _causes(newest: Sequence[Row]) -> tuple[Cause, ...]:
    by_cause: dict[str, list[Row]] = {}
    for row in newest:
        if row["status"] == Status.FAILED:
            by_cause.setdefault(cause_of(row["error"], *_names(row)), []).append(row)
    found = nlargest(TOP, by_cause.items(), key=lambda item: len(item[1]))
    return tuple(
        Cause(
            message_of(rows[0]["error"], *_names(rows[0])) if len(rows) == 1 else cause,
            len(rows),
            _partition(rows[0]),
            rows[0]["stream"],
        )
        for cause, rows in found
    )


def _slowest(newest: Sequence[Row]) -> tuple[Ranked, ...]:
    ended = [
        Ranked(_partition(row), row["stream"], _seconds(row), f"{row['fetched']:,} fetched")
        for row in newest
        if row["finished_at"] and row["status"] != Status.FAILED
    ]
    return tuple(nlargest(TOP, ended, key=lambda ranked: ranked.number))


def _seconds(row: Row) -> float:
    begun, ended = map(datetime.fromisoformat, (row["started_at"], row["finished_at"]))
    return round((ended - begun) / timedelta(seconds=1), 1)


def _largest(newest: Sequence[Row]) -> tuple[Ranked, ...]:
    rows = nlargest(TOP, newest, key=lambda row: int(row["latest"]))
    return tuple(
        Ranked(_partition(row), row["stream"], row["latest"]) for row in rows if row["latest"]
    )


def _rejecting(newest: Sequence[Row]) -> tuple[Ranked, ...]:
    rejecting = [row for row in newest if row["rejected"]]
    rows = nlargest(TOP, rejecting, key=lambda row: float(row["rejected"] / row["fetched"]))
    return tuple(
        Ranked(_partition(row), row["stream"], row["rejected"], f"of {row['fetched']:,}")
        for row in rows
    )


def _quarantined(database: OperationalDatabase) -> list[Row]:
    """Newest settled syncs whose withheld changes wait for a decision, the most changes first."""
    return database.rows(
        f"""
        SELECT
            s.organization_id, s.connected_integration_id, s.stream, s.latest,
            s.withheld_deletes + s.withheld_updates + s.withheld_inserts AS withheld
        {NEWEST_SETTLED}
        WHERE s.status = '{Status.QUARANTINED}' AND s.decision IS NULL
        ORDER BY withheld DESC
        """
    )


def _lacking(listing: SettledListing) -> tuple[bool, int]:
    """The rank of an incomplete listing: whether it was cut, then how many records it lacks."""
    certificate = listing.certificate
    lacking = (certificate.declared_total or 0) - (certificate.distinct or 0)
    return not certificate.terminal_page, max(lacking, certificate.repeated or 0)


def _names(row: Row) -> tuple[str, str]:
    return row["organization_id"], row["connected_integration_id"]


def _partition(row: Row) -> str:
    return f"{row['organization_id']}:{row['connected_integration_id']}"
