"""Open issues: problems that a person must know of, reported once and grouped by cause.

An issue is open until the ledger shows that it is resolved. `sensors.alert_sensor` sends alerts
about issues, and `signin_issues` finds those of sign-in events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from elt_assets.errors.foreign_text import inert
from elt_assets.sync.admin.completeness import incomplete_listings, needs_a_person
from elt_assets.sync.admin.fleet_state import cause_of, message_of
from elt_assets.sync.admin.freshness import Freshness, overdue
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import sync_history
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.state.listings import SettledListing
from elt_assets.sync.streams import STREAMS

_NAMED = 5
_LONGEST = 300
_TRIES_BEFORE_ALARM = 3
_LIST = "elt-assets quarantine list"


class Issue(msgspec.Struct, frozen=True):
    """An open problem of one integration, or of one day of sign-in events.

    `of` says what `partition` names: an integration, a day or a consumer. `key` identifies the
    issue and stays the same from one sync to the next: a sync that fails every day for one reason
    is one issue. `cause` leaves out what differs between partitions with the same problem;
    `example` is this partition's own message. An issue is reported again when its `state` differs
    from the reported one.
    """

    key: str
    kind: str
    partition: str
    cause: str
    example: str = ""
    of: str = "integration"
    state: str = ""


class Alert(msgspec.Struct, frozen=True):
    """One message about all integrations, or all days, of one kind and cause."""

    kind: str
    cause: str
    count: int
    partitions: tuple[str, ...]
    of: str = "integration"

    @property
    def text(self) -> str:
        """The message in one line, with the first few partitions."""
        named = ", ".join(self.partitions[:_NAMED])
        more = f" and {self.count - _NAMED} more" if self.count > _NAMED else ""
        noun = self.of if self.count == 1 else f"{self.of}s"
        return f"{self.kind}: {self.count} {noun} ({named}{more}): {self.cause}"


class OpenIssues(msgspec.Struct, frozen=True):
    """The issues that are open now, and the partitions whose state is not known yet.

    `late` and `incomplete` are all streams and listings of that kind, also those without an issue.
    """

    open: list[Issue]
    undecided: frozenset[str] = frozenset()
    late: list[Freshness] = []
    incomplete: list[SettledListing] = []

    def __add__(self, other: OpenIssues) -> OpenIssues:
        return OpenIssues(
            [*self.open, *other.open],
            self.undecided | other.undecided,
            [*self.late, *other.late],
            [*self.incomplete, *other.incomplete],
        )


def open_issues(platform: SyncService) -> OpenIssues:
    """Withheld changes, syncs and incomplete listings that need a person, and integrations that
    are stale without a cause.

    A retryable failure becomes an issue with its third attempt. Disabled integrations have no
    issues.
    """
    withheld = platform.quarantined()
    entries = platform.registry.all(enabled=True) if withheld else ()
    enabled = {entry.ref.partition_key for entry in entries}
    found = [
        _quarantine(row, sync_history.quarantined_since(platform.database, row))
        for row in withheld
        if row.partition in enabled
    ]
    undecided = set()
    unsettled = [status for status in Status if not status.settled]
    newest = (
        row for stream in STREAMS.values() for row in platform.newest_syncs(stream, unsettled)
    )
    for row in newest:
        if row.status is Status.FAILED and (
            not row.retryable or row.attempts >= _TRIES_BEFORE_ALARM
        ):
            found.append(_failure(row))
        else:
            undecided.add(row.partition)
    explained = {issue.partition for issue in found}
    late = overdue(platform)
    incomplete = [
        listing for stream in STREAMS.values() for listing in incomplete_listings(platform, stream)
    ]
    return OpenIssues(
        [*found, *_incomplete(incomplete), *_stale(late, explained)],
        frozenset(undecided),
        late,
        incomplete,
    )


def changes_since(reported: Iterable[Issue], now: OpenIssues) -> tuple[list[Issue], list[Issue]]:
    """The issues to report, and the reported ones that are resolved, with kind 'recovered'.

    A failed sync that is being retried is neither.
    """
    reported = list(reported)
    states = {issue.key: issue.state for issue in reported}
    open_keys = {issue.key for issue in now.open}
    new = [issue for issue in now.open if states.get(issue.key) != issue.state]
    resolved = [
        msgspec.structs.replace(issue, kind="recovered")
        for issue in reported
        if issue.key not in open_keys and issue.partition not in now.undecided
    ]
    return new, resolved


def reported_after(
    reported: Iterable[Issue], new: Iterable[Issue], resolved: Iterable[Issue]
) -> list[Issue]:
    """The reported issues after `new` and `resolved` have been sent."""
    new = list(new)
    gone = {issue.key for issue in (*resolved, *new)}
    return [*(issue for issue in reported if issue.key not in gone), *new]


def grouped(issues: Iterable[Issue]) -> list[Alert]:
    """One alert for each kind and cause, those with the most partitions first."""
    together: dict[tuple[str, str, str], list[Issue]] = {}
    for issue in issues:
        together.setdefault((issue.kind, issue.of, issue.cause), []).append(issue)
    alerts = []
    for (kind, of, cause), alike in together.items():
        partitions = tuple(sorted({issue.partition for issue in alike}))
        examples = {issue.example for issue in alike}
        # The message of the ledger, if it is the same for all partitions.
        text = examples.pop() if len(examples) == 1 else cause
        # Webhooks, Slack, mail and health show this text: nothing in it may be a link or a mention.
        alerts.append(Alert(kind, inert(text or cause), len(partitions), partitions, of))
    return sorted(alerts, key=lambda alert: (-alert.count, alert.kind, alert.cause))


def _quarantine(row: SyncRow, since: str) -> Issue:
    """The issue of withheld changes, reported daily and whenever the changes differ.

    From the second day on, the report says since when the same changes wait.
    """
    today = (row.finished_at or "")[:10]
    unchanged = f"unchanged since {since[:10]}: " if since[:10] < today else ""
    return Issue(
        f"quarantine/{row.partition}/{row.stream}",
        "quarantine",
        row.partition,
        f"{unchanged}changes wait for a decision ({_LIST})",
        f"{unchanged}{row.counts.waiting} ({_LIST})",
        state=f"{today} {row.withheld_digest}",
    )


def _incomplete(listings: Iterable[SettledListing]) -> list[Issue]:
    return [
        Issue(
            f"incomplete/{listing.partition}/{listing.stream}",
            "incomplete",
            listing.partition,
            "a listing is not complete: "
            + cause_of(listing.why, listing.organization_id, listing.connected_integration_id),
            inert(f"the listing of {listing.stream} is not complete: {listing.why}", _LONGEST),
        )
        for listing in listings
        if needs_a_person(listing)
    ]


def _failure(row: SyncRow) -> Issue:
    names = row.organization_id, row.connected_integration_id
    cause = cause_of(row.error, *names)
    return Issue(
        f"failure/{row.partition}/{row.stream}/{cause}",
        "failure",
        row.partition,
        cause,
        inert(message_of(row.error, *names), _LONGEST),
    )


def _stale(overdue: Iterable[Freshness], explained: Collection[str]) -> list[Issue]:
    late = {one.partition: one.stale_hours for one in overdue}
    return [
        Issue(
            f"stale/{partition}",
            "stale",
            partition,
            f"not brought up to date for more than {late[partition]:g} hours, without a failed "
            "sync: is the daemon running? (elt-assets health, elt-assets queues)",
        )
        for partition in sorted(late.keys() - set(explained))
    ]
