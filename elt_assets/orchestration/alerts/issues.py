"""Alerts: what a person must know, said once, for many integrations together.

Belongs here: which matters are open, what has become of those that were said, and grouping
them by cause. Does not: saying it (channels), when to look (alert_sensor) or what is
wrong (the ledger knows; of days of events, event_alerts).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from elt_assets.sync.admin.fleet_state import cause_of
from elt_assets.sync.admin.freshness import overdue
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import Platform
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.streams import STREAMS

_NAMED = 5
_LONGEST = 300
_TRIES_BEFORE_ALARM = 3


class Matter(msgspec.Struct, frozen=True):
    """Something about one integration, or one day of events, that is open.

    `of` says which of them `partition` is. `key` tells it from others of its kind, and stays
    the same from one sync to the next: what fails every day for one reason is one matter.
    `cause` is without what differs between those that suffer the same; `example` is how this
    one puts it.
    """

    key: str
    kind: str
    partition: str
    cause: str
    example: str = ""
    of: str = "integration"


class Alert(msgspec.Struct, frozen=True):
    """One message about all integrations, or all days, of one kind and cause."""

    kind: str
    cause: str
    count: int
    partitions: tuple[str, ...]
    of: str = "integration"

    @property
    def text(self) -> str:
        """The message in one line, naming a few of them."""
        named = ", ".join(self.partitions[:_NAMED])
        more = f" and {self.count - _NAMED} more" if self.count > _NAMED else ""
        noun = self.of if self.count == 1 else f"{self.of}s"
        return f"{self.kind}: {self.count} {noun} ({named}{more}): {self.cause}"


class Matters(msgspec.Struct, frozen=True):
    """What is open now, and about whose failures nothing can be said yet."""

    open: list[Matter]
    undecided: frozenset[str] = frozenset()

    def __add__(self, other: Matters) -> Matters:
        """Both together."""
        return Matters([*self.open, *other.open], self.undecided | other.undecided)


def open_matters(platform: Platform) -> Matters:
    """What waits for a person: withheld deletes, syncs that will not mend by themselves, and
    integrations that fell behind for no such reason.

    A failure that may pass counts after its third attempt. A disabled integration waits for
    nobody.
    """
    withheld = platform.quarantined()
    entries = platform.registry.all(enabled=True) if withheld else ()
    enabled = {entry.ref.partition_key for entry in entries}
    found = [
        Matter(
            f"quarantine/{row.partition}/{row.stream}",
            "quarantine",
            row.partition,
            "deletes wait for a decision (elt-assets quarantine list)",
        )
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
    explained = {matter.partition for matter in found}
    return Matters(
        [*found, *_stale(platform, explained)],
        frozenset(undecided),
    )


def changes_since(said: Iterable[Matter], now: Matters) -> tuple[list[Matter], list[Matter]]:
    """What is newly open, and what was said and is over, as matters of kind 'recovered'.

    A failed sync that is being tried again is neither over nor new.
    """
    said = list(said)
    said_keys = {matter.key for matter in said}
    open_keys = {matter.key for matter in now.open}
    new = [matter for matter in now.open if matter.key not in said_keys]
    over = [
        msgspec.structs.replace(matter, kind="recovered")
        for matter in said
        if matter.key not in open_keys and matter.partition not in now.undecided
    ]
    return new, over


def still_said(
    said: Iterable[Matter], new: Iterable[Matter], over: Iterable[Matter]
) -> list[Matter]:
    """What counts as said once `new` and `over` have been."""
    gone = {matter.key for matter in over}
    return [*(matter for matter in said if matter.key not in gone), *new]


def grouped(matters: Iterable[Matter]) -> list[Alert]:
    """One alert for each kind and cause, the widest first."""
    together: dict[tuple[str, str, str], list[Matter]] = {}
    for matter in matters:
        together.setdefault((matter.kind, matter.of, matter.cause), []).append(matter)
    alerts = []
    for (kind, of, cause), alike in together.items():
        partitions = tuple(sorted({matter.partition for matter in alike}))
        examples = {matter.example for matter in alike}
        # As somebody would read it in the ledger, if all say it in the same words.
        said = examples.pop() if len(examples) == 1 else cause
        alerts.append(Alert(kind, said or cause, len(partitions), partitions, of))
    return sorted(alerts, key=lambda alert: (-alert.count, alert.kind, alert.cause))


def _failure(row: SyncRow) -> Matter:
    error = (row.error or "failed without a reason").removeprefix(f"{row.partition}: ")
    cause = cause_of(row.error, row.organization_id, row.connected_integration_id)
    return Matter(
        f"failure/{row.partition}/{row.stream}/{cause}",
        "failure",
        row.partition,
        cause,
        " ".join(error.split())[:_LONGEST],
    )


def _stale(platform: Platform, explained: Collection[str]) -> list[Matter]:
    late = {one.partition: one.stale_hours for one in overdue(platform)}
    return [
        Matter(
            f"stale/{partition}",
            "stale",
            partition,
            f"not brought up to date for more than {late[partition]:g} hours, and no sync says "
            "why: is the daemon running? (elt-assets health, elt-assets queues)",
        )
        for partition in sorted(late.keys() - set(explained))
    ]
