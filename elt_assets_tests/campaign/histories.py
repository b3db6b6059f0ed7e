"""Histories: what one provider holds day by day, what is asked for, and what must follow.

Belongs here: seeded worlds with changes, leavers, joiners, duplicates, hidden and unusable
records, and a dictionary that says what the latest table must hold after each step. Does
not: anything of the platform; what is expected is worked out without it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from elt_assets.connectors.expressions import Comparison
from elt_assets.connectors.expressions import Path as FieldPath
from elt_assets.connectors.source import Cursor, FieldMap, Page, Presence
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
}
MOST_DELETES = 0.20


@dataclass(frozen=True, slots=True)
class Day:
    """What the provider lists on one day, and who is really there."""

    listing: tuple[Record, ...]
    alive: frozenset[str]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing asked of the platform: sync a day, or what a person does about a sync."""

    act: Literal["sync", "approve", "undo", "rebuild"]
    day: int
    sync_id: str


@dataclass(frozen=True, slots=True)
class History:
    """A seeded world and the steps taken in it.

    `way` is how deletes are confirmed; None leaves it to the platform, which then trusts an
    uninterrupted extraction and waits for a second one after an interrupted one.
    """

    seed: int
    ref: IntegrationRef
    days: tuple[Day, ...]
    steps: tuple[Step, ...]
    page_size: int
    pages_per_batch: int
    way: Way | None
    soft: bool

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
                }
            },
            "safeguards": {
                "delete_mode": "soft" if self.soft else "hard",
                "max_reject_share": 0.5,
                **({"delete_confirmation": self.way} if self.way else {}),
            },
        }


def history(seed: int, *, days: int = 3, plain: bool = False) -> History:
    """The history of `seed`; a `plain` one only syncs, trusts listings and rejects nothing."""
    dice = random.Random(seed)
    ref = IntegrationRef(f"org-{seed % 7}", f"source-{seed}")
    way: Way | None = "none" if plain else dice.choice(("probe", "grace", "none", None))
    people = {f"u-{number:03}": _person(ref, number) for number in range(dice.randint(14, 30))}
    made: list[Day] = []
    steps: list[Step] = []
    for day in range(days):
        if day:
            # A mass leave is withheld and approved; unattended confirmation must stay below.
            mass = not plain and way in ("probe", "none") and dice.random() < 0.3
            mass = mass and len(people) > 16
            _live_a_day(dice, ref, people, day, leavers=6 if mass else 1)
        last = day == days - 1
        made.append(_listed(dice, ref, people, day, way, clean=plain or way is None or last))
        steps.append(Step("sync", day, f"day-{day}"))
        if day and not last and not plain and way is not None:
            extra = dice.choice(("approve", "undo", "rebuild", None))
            if extra is not None:
                steps.append(Step(extra, day, f"day-{day}"))
    for again in range(2):
        # Whatever waits for a second or third look gets it.
        steps.append(Step("sync", days - 1, f"closing-{again}"))
    return History(
        seed=seed,
        ref=ref,
        days=tuple(made),
        steps=tuple(steps),
        page_size=dice.randint(3, 9),
        pages_per_batch=dice.randint(1, 3),
        way=way,
        soft=not plain and dice.random() < 0.4,
    )


@dataclass
class Expectation:
    """The latest table as a dictionary, kept up to date step by step."""

    history: History
    users: Users = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    withheld: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: Users = field(default_factory=dict)

    def take(self, step: Step) -> bool:
        """Follow one step; False where the platform has nothing to do and says so."""
        if step.act == "sync":
            self.before = dict(self.users)
            self._sync(self.history.days[step.day])
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

    def _sync(self, day: Day) -> None:
        valid, rejected, unreadable = _usable(day.listing)
        gone = {key for key in self.users if key not in valid and key not in rejected}
        allowed = int(len(self.users) * MOST_DELETES)
        if len(self.users) <= 10:
            allowed = max(allowed, len(self.users) // 2, 1)
        withheld = bool(gone) and (unreadable or not valid or len(gone) > allowed)
        self.withheld = {key: self.users[key] for key in gone} if withheld else {}
        pending: set[str] = set()
        if withheld:
            gone = set()
        elif self.history.way == "probe":
            gone -= day.alive
        elif self.history.way == "grace":
            pending = gone - self.missing
            gone -= pending
        if not withheld and not unreadable:
            self.missing = pending
        kept = {key: content for key, content in self.users.items() if key not in gone}
        self.users = kept | valid


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
    def pages_can_shift(self) -> bool:
        return self.history.way == "probe"

    @property
    def answers_for_one(self) -> bool:
        return self.history.way == "probe"

    def presence(self, external_id: str) -> Presence:
        return Presence.PRESENT if external_id in self.day.alive else Presence.GONE

    @property
    def incremental(self) -> None:
        return None

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        number, size = 0 if cursor is None else cursor["page"], self.history.page_size
        while True:
            self.on_page(number)
            chunk = self.day.listing[number * size : (number + 1) * size]
            last = (number + 1) * size >= len(self.day.listing)
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
) -> None:
    for key in dice.sample(sorted(people), leavers):
        del people[key]
    for key in dice.sample(sorted(people), 3):
        people[key] = people[key] | {
            "name": f"Person {key} of day {day}",
            "status": dice.choice(("ACTIVE", "SUSPENDED")),
            "email": dice.choice((None, "", f"{key}.{day}@example.com")),
            "updated": f"2026-01-{day + 1:02}T00:00:00Z",
        }
    for joiner in range(dice.randint(0, 3)):
        record = _person(ref, 100 * day + joiner) | {"updated": f"2026-01-{day + 1:02}T00:00:00Z"}
        people[record["id"]] = record


def _listed(
    dice: random.Random,
    ref: IntegrationRef,
    people: dict[str, Record],
    day: int,
    way: Way | None,
    *,
    clean: bool,
) -> Day:
    listing = [dict(record) for record in people.values()]
    dice.shuffle(listing)
    for record in dice.sample(listing, 2):
        # The same person once more, older or with nothing to tell the two apart but order.
        older = record | {"name": "Formerly", "updated": "2025-12-31T00:00:00Z"}
        listing.insert(dice.randint(0, len(listing)), older)
    if not clean:
        if way in ("probe", "grace"):
            # Pages shifted while they were read: somebody who is there was not seen.
            hidden = dice.choice(listing)["id"]
            listing = [record for record in listing if record["id"] != hidden]
        if dice.random() < 0.6:
            unusable = dice.choice(listing)
            unusable["email"] = ["a", "list"]
        if dice.random() < 0.2:
            listing.insert(dice.randint(0, len(listing)), {"name": "Nobody"})
    return Day(tuple(listing), frozenset(people))


def _usable(listing: tuple[Record, ...]) -> tuple[Users, set[str], bool]:
    best: dict[str, Record] = {}
    rejected: set[str] = set()
    unreadable = False
    for record in listing:
        if "id" not in record:
            unreadable = True
        elif isinstance(record["email"], list):
            rejected.add(record["id"])
        elif record["id"] not in best or record["updated"] >= best[record["id"]]["updated"]:
            best[record["id"]] = record
    users = {
        key: {
            "name": record["name"],
            "email": record["email"],
            "active": record["status"] == "ACTIVE",
            "attributes": {"tenant": record["tenant"]},
        }
        for key, record in best.items()
    }
    return users, rejected, unreadable
