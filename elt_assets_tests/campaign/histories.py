"""Histories: what one provider holds day by day, which syncs run, and the expected result.

Seeded worlds have changes, leavers, joiners, duplicates, tombstones, hidden and unusable records. A
dictionary holds what the latest table must contain after each step; it is computed without any code
of the platform.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from elt_assets.connectors.mapping.expressions import Alternatives, Comparison
from elt_assets.connectors.mapping.expressions import Path as FieldPath
from elt_assets.connectors.source import Cursor, FieldMap, Incremental, Page, Presence
from elt_assets.identifiers import IntegrationRef

Record = dict[str, Any]
Users = dict[str, dict[str, Any]]
Way = Literal["probe", "grace", "none"]

FIELDS: FieldMap = {
    "external_id": FieldPath(("id",)),
    "name": FieldPath(("name",)),
    "email": FieldPath(("email",)),
    "active": Comparison(FieldPath(("status",)), "ACTIVE"),
    "source_updated_at": FieldPath(("updated",)),
    "tenant": FieldPath(("tenant",)),
    "deleted": Comparison(FieldPath(("status",)), "DELETED"),
}
MENDED = FIELDS | {"email": Alternatives((FieldPath(("email", 0)), FieldPath(("email",))))}
"""The field map once somebody has seen why records were rejected."""
CHANGES = Incremental(full_every=timedelta(days=7), overlap=timedelta(hours=12))
MOST_DELETES = 0.20


@dataclass(frozen=True, slots=True)
class Day:
    """What the provider lists on one day, and who is really there."""

    listing: tuple[Record, ...]
    alive: frozenset[str]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing asked of the platform: sync a day, or what a person does about a sync.

    `full` asks for everybody where the provider could say what has changed.
    """

    act: Literal["sync", "retry", "approve", "undo", "rebuild"]
    day: int
    sync_id: str
    full: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """A seeded world and the steps taken in it.

    `way` is how deletes are confirmed; None leaves it to the platform, which then trusts an
    uninterrupted extraction and waits for a second one after an interrupted one. With
    `changes` the provider can say what changed since a moment.
    """

    seed: int
    ref: IntegrationRef
    days: tuple[Day, ...]
    steps: tuple[Step, ...]
    page_size: int
    pages_per_batch: int
    way: Way | None
    soft: bool
    changes: bool = False

    @property
    def slow(self) -> bool:
        """Whether the provider answers only once the sync has detached its file."""
        return self.seed % 2 == 0

    def alive(self) -> dict[str, frozenset[str]]:
        """Who was with the provider when each sync ran."""
        return {
            step.sync_id: self.days[step.day].alive for step in self.steps if step.act == "sync"
        }

    def provider_data(self) -> dict[str, Any]:
        """A configuration that passes; the source is opened by the test."""
        return {
            "permission_source_name": "In memory",
            "api_endpoint": "http://127.0.0.1:9/",
            "auth": {"type": "bearer", "token": {"env": "ELT_ASSETS_TEST_TOKEN"}},
            "streams": {
                "users": {
                    "path": "/users",
                    "records": "items",
                    "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
                    "fields": {"external_id": "id", "name": "name", "email": "email"},
                    "snapshot": self.way == "none",
                }
            },
            "safeguards": {
                "delete_mode": "soft" if self.soft else "hard",
                # One record of a listing of changes may be all there is.
                "max_reject_share": 1,
                # Only deletes are limited here; other harm has tests of its own.
                **{f"max_{harm}_share": 1 for harm in ("deactivate", "loss")},
                **{f"max_{harm}_count": 1_000_000 for harm in ("deactivate", "loss")},
                **({"delete_confirmation": self.way} if self.way else {}),
            },
        }


def history(seed: int, *, days: int = 3, plain: bool = False) -> History:
    """The history of `seed`; a `plain` one only syncs, trusts listings and rejects nothing."""
    dice = random.Random(seed)
    ref = IntegrationRef(f"org-{seed % 7}", f"source-{seed}")
    way: Way | None = "none" if plain else dice.choice(("probe", "grace", "none", None))
    changes = not plain and dice.random() < 0.5
    tombstones = not plain and dice.random() < (0.7 if changes else 0.3)
    people = {f"u-{number:03}": _person(ref, number) for number in range(dice.randint(14, 30))}
    gone: dict[str, Record] = {}
    made: list[Day] = []
    steps: list[Step] = []
    for day in range(days):
        mass = False
        if day:
            # A mass leave is withheld and approved; unattended confirmation must stay below.
            mass = not plain and way in ("probe", "none") and dice.random() < 0.7
            mass = mass and len(people) > 16
            left = _live_a_day(dice, ref, people, day, leavers=7 if mass else 1)
            for key, record in left.items():
                if tombstones and dice.random() < 0.7:
                    gone[key] = record | {"status": "DELETED", "updated": _on(day)}
        last = day == days - 1
        clean = plain or way is None or last
        made.append(_listed(dice, ref, people, gone, day, way, clean=clean))
        full = changes and (mass or dice.random() < 0.3)
        steps.append(Step("sync", day, f"day-{day}", full))
        if day and not last and not plain and way is not None:
            usual = ("approve", "undo", "rebuild", "retry", "retry", None)
            extra = dice.choice(("approve", "approve", "approve", "undo") if mass else usual)
            if extra is not None:
                steps.append(Step(extra, day, f"day-{day}"))
    for again in range(2):
        # Whatever waits for a second or third look gets it.
        steps.append(Step("sync", days - 1, f"closing-{again}", full=changes))
    return History(
        seed=seed,
        ref=ref,
        days=tuple(made),
        steps=tuple(steps),
        page_size=dice.randint(3, 9),
        pages_per_batch=dice.randint(1, 3),
        way=way,
        soft=not plain and dice.random() < 0.4,
        changes=changes,
    )


@dataclass
class Expectation:
    """The latest table as a dictionary, kept up to date step by step."""

    history: History
    users: Users = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    withheld: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: Users = field(default_factory=dict)
    missing_before: set[str] = field(default_factory=set)
    watermark: str = ""
    all_read: bool = False
    listed: tuple[Record, ...] = ()
    everybody: bool = True
    deleted: int = 0
    """By all syncs so far, which are within 24 hours; decisions do not count."""
    largest: int = 0
    """Most rows that stood before one of them."""

    def take(self, step: Step) -> bool:
        """Follow one step; False where the platform has nothing to do and says so."""
        day = self.history.days[step.day]
        if step.act == "sync":
            self.before, self.missing_before = dict(self.users), set(self.missing)
            changes = self.history.changes and self.all_read and self.watermark
            self.everybody = step.full or not changes
            since = None if self.everybody else _before(self.watermark)
            self.listed = _since(day.listing, since)
            self._settle(day, FIELDS)
        elif step.act == "retry":
            heard = _heard(self.listed, FIELDS)
            if not (heard.rejected or heard.unreadable):
                return False
            self._settle(day, MENDED)
        elif step.act == "approve":
            if not self.withheld:
                return False
            for key, content in self.withheld.items():
                if self.users.get(key) == content:
                    del self.users[key]
            self.withheld = {}
        elif step.act == "undo":
            if self.users == self.before:
                return False
            self.users, self.withheld = dict(self.before), {}
        return True

    def _settle(self, day: Day, fields: FieldMap) -> None:
        heard = _heard(self.listed, fields)
        known = heard.valid.keys() | heard.rejected | heard.deleted
        unseen = self.users.keys() - known if self.everybody else set()
        said = (self.users.keys() & heard.deleted) - heard.rejected
        rows = max(len(self.users), self.largest)
        allowed = int(rows * MOST_DELETES)
        if rows <= 10:
            allowed = max(allowed, rows // 2, 1)
        self.largest = rows
        nobody = self.everybody and not heard.valid
        incomplete = bool(heard.unreadable) or self._shifted()
        withheld = bool(unseen | said) and (
            incomplete or nobody or self.deleted + len(unseen | said) > allowed
        )
        self.withheld = {key: self.users[key] for key in unseen | said} if withheld else {}
        pending: set[str] = set()
        if withheld:
            unseen, said = set(), set()
        elif self.history.way == "probe":
            # A record that is there although it was not listed refutes the listing.
            incomplete = incomplete or bool(unseen & day.alive)
            unseen -= day.alive
        elif self.history.way == "grace":
            # Looking at the same records again is no second look.
            pending = unseen - self.missing_before
            unseen -= pending
        if self.everybody and not withheld and not incomplete:
            self.missing = pending
        else:
            self.missing -= heard.valid.keys()
        if self.everybody and not incomplete:
            # What was withheld must be said again before changes alone are enough, and what is
            # pending takes another listing of everybody.
            self.all_read = not withheld and not pending
        if not withheld and not incomplete:
            self.watermark = max(self.watermark, heard.newest)
        gone = unseen | said
        self.deleted += len(gone)
        kept = {key: content for key, content in self.users.items() if key not in gone}
        self.users = kept | heard.valid

    def _shifted(self) -> bool:
        """Whether a usable record came on more than one page of a listing that is no snapshot."""
        if self.history.way != "probe" or not self.everybody:
            return False
        size = self.history.page_size
        pages = [
            _heard(self.listed[start : start + size], FIELDS).valid.keys()
            for start in range(0, len(self.listed), size)
        ]
        return sum(map(len, pages)) > len(set().union(*pages))


@dataclass
class Telling:
    """A `Source` that lists one day of a history. `on_page` hears of each page's number."""

    history: History
    day: Day
    on_page: Callable[[int], None] = lambda _: None
    fields: FieldMap = field(default_factory=lambda: FIELDS)
    records: tuple[str, ...] = ("items",)

    @property
    def resumable(self) -> bool:
        return True

    @property
    def snapshot(self) -> bool:
        return self.history.way != "probe"

    @property
    def waits_for_provider(self) -> bool:
        return True

    @property
    def probes(self) -> bool:
        return self.history.way == "probe"

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        alive = self.day.alive
        return {key: Presence.PRESENT if key in alive else Presence.GONE for key in missing}

    @property
    def requests(self) -> int:
        return 0

    @property
    def incremental(self) -> Incremental | None:
        return CHANGES if self.history.changes else None

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        number, size = 0 if cursor is None else cursor["page"], self.history.page_size
        listing = _since(self.day.listing, since)
        while True:
            self.on_page(number)
            chunk = listing[number * size : (number + 1) * size]
            last = (number + 1) * size >= len(listing)
            yield Page(
                body=msgspec.json.encode({"items": chunk}),
                count=len(chunk),
                next=None if last else {"page": number + 1},
            )
            if last:
                return
            number += 1

    def close(self) -> None:
        return


def _person(ref: IntegrationRef, number: int) -> Record:
    return {
        "id": f"u-{number:03}",
        "name": f"Person {number}",
        "email": f"p{number}@{ref.organization_id}.example",
        "status": "ACTIVE",
        "updated": "2026-01-01T00:00:00Z",
        "tenant": ref.partition_key,
    }


def _live_a_day(
    dice: random.Random, ref: IntegrationRef, people: dict[str, Record], day: int, *, leavers: int
) -> dict[str, Record]:
    """Let a day pass; returns who left."""
    left = {key: people.pop(key) for key in dice.sample(sorted(people), leavers)}
    for key in dice.sample(sorted(people), 3):
        people[key] = people[key] | {
            "name": f"Person {key} of day {day}",
            "status": dice.choice(("ACTIVE", "SUSPENDED")),
            "email": dice.choice((None, "", f"{key}.{day}@example.com")),
            "updated": _on(day),
        }
    for joiner in range(dice.randint(0, 3)):
        record = _person(ref, 100 * day + joiner) | {"updated": _on(day)}
        people[record["id"]] = record
    return left


def _on(day: int) -> str:
    return f"2026-01-{day + 1:02}T00:00:00Z"


def _before(watermark: str) -> str:
    """Where a listing of changes begins."""
    moment = datetime.fromisoformat(watermark) - CHANGES.overlap
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _since(listing: tuple[Record, ...], since: str | None) -> tuple[Record, ...]:
    """What of a listing has changed since then; who cannot say when, always."""
    return tuple(r for r in listing if since is None or r.get("updated", "now") > since)


def _listed(
    dice: random.Random,
    ref: IntegrationRef,
    people: dict[str, Record],
    gone: dict[str, Record],
    day: int,
    way: Way | None,
    *,
    clean: bool,
) -> Day:
    listing = [dict(record) for record in people.values()]
    dice.shuffle(listing)
    for record in gone.values():
        listing.insert(dice.randint(0, len(listing)), dict(record))
    for record in dice.sample([r for r in listing if r["id"] in people], 2):
        # The same person once more, older or with nothing to tell the two apart but order.
        older = record | {"name": "Formerly", "updated": "2025-12-31T00:00:00Z"}
        listing.insert(dice.randint(0, len(listing)), older)
    if not clean:
        if way in ("probe", "grace"):
            # Pages shifted while they were read: somebody who is there was not seen.
            hidden = dice.choice(sorted(people))
            listing = [record for record in listing if record["id"] != hidden]
        if dice.random() < 0.6:
            # Somebody who has just changed, as new kinds of records come with changes.
            newest = max(record["updated"] for record in listing)
            unusable = dice.choice([r for r in listing if r["updated"] == newest])
            unusable["email"] = ["a@example.com", "list"]
        if dice.random() < 0.2:
            listing.insert(dice.randint(0, len(listing)), {"name": "Nobody"})
    return Day(tuple(listing), frozenset(people))


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a listing says: who is there, who is said to be gone, who cannot be used."""

    valid: Users
    deleted: set[str]
    rejected: set[str]
    unreadable: bool
    newest: str


def _heard(listing: tuple[Record, ...], fields: FieldMap) -> _Heard:
    best: dict[str, Record] = {}
    rejected: set[str] = set()
    unreadable = False
    for record in listing:
        if "id" not in record:
            unreadable = True
        elif isinstance(record["email"], list) and fields is not MENDED:
            rejected.add(record["id"])
        elif record["id"] not in best or record["updated"] >= best[record["id"]]["updated"]:
            best[record["id"]] = record
    valid = {
        key: {
            "name": record["name"],
            # An empty text is no value.
            "email": (record["email"][0] if isinstance(record["email"], list) else record["email"])
            or None,
            "active": record["status"] == "ACTIVE",
            "attributes": {"tenant": record["tenant"]},
        }
        for key, record in best.items()
        if record["status"] != "DELETED"
    }
    return _Heard(
        valid,
        best.keys() - valid.keys(),
        rejected,
        unreadable,
        max((record["updated"] for record in best.values()), default=""),
    )
