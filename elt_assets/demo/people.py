"""The people of an integration in a round, and how the platform should map them.

Pure functions of (seed, organization, integration, number, round).
"""

from __future__ import annotations

import importlib
import random
import struct
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b
from typing import Any

import msgspec

from elt_assets.identifiers import IntegrationRef

ACTIVE, SUSPENDED = "ACTIVE", "SUSPENDED"

FIRST_ROUND = datetime(2026, 1, 1, tzinfo=UTC)
ROUND = timedelta(days=1)
# Changes of a round happen in its morning, so that an edit made while the round lasts can
# be newer than all of them and older than the next round's.
MORNING = 12 * 60 * 60
_TWO_YEARS = 2 * 365 * 24 * 60 * 60

# Below this nobody leaves: one of five is a fifth of the integration, which a guard against
# mass deletion is right to question.
_SMALLEST_TO_LEAVE = 10

# A sixteenth each; most of a directory's names are plain ASCII, and none of the rest may break.
_LOCALES = ("en_US",) * 11 + ("cs_CZ", "es_ES", "fr_FR", "ja_JP", "sv_SE")
_DEPARTMENTS = (
    "Engineering",
    "Sales",
    "Finance",
    "Marketing",
    "Support",
    "Legal & Compliance",
    "Operations",
    "Café & Facilities",
)
_TITLES = ("Analyst", "Assistant", "Consultant", "Director", "Engineer", "Manager", "Specialist")


class Profile(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The part of a person that people read."""

    display_name: str
    first_name: str
    last_name: str
    email: str
    department: str
    title: str


class Person(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """One user as the provider sends it."""

    id: str
    profile: Profile
    status: str
    last_updated: datetime


@dataclass(frozen=True, slots=True)
class Churn:
    """What share of an integration's people changes, leaves and joins in a round."""

    changed: float = 0.05
    left: float = 0.02
    joined: float = 0.02


@dataclass(frozen=True, slots=True)
class Population:
    """Who is in one integration at one round.

    `numbers` are the people present, ascending; numbers are given out once and never
    again. `changes` are the rounds in which a person changed. `given` are, for each round
    up to this one, the highest number given out by then.
    """

    ref: IntegrationRef
    round: int
    numbers: Sequence[int]
    changes: Mapping[int, tuple[int, ...]]
    given: tuple[int, ...]
    churn: Churn
    key: bytes = field(repr=False)

    def person(self, number: int) -> Person:
        """What `number` is at this round, whether present or not."""
        digest = blake2b(self.key + number.to_bytes(8, "big"), digest_size=16).digest()
        locale, first, last, department, title, status, instant = _TRAITS.unpack(digest)
        firsts, lasts = _names()[locale % len(_LOCALES)]
        first_name, first_folded = firsts[first % len(firsts)]
        last %= len(lasts)
        last_folded = lasts[last][1]
        department %= len(_DEPARTMENTS)
        suspended = status % 20 == 0
        joined = bisect_left(self.given, number) + 1
        if joined == 1:
            updated = FIRST_ROUND - timedelta(seconds=instant % _TWO_YEARS + 1)
        else:
            updated = start_of(joined) + timedelta(seconds=instant % MORNING)
        for round_ in self.changes.get(number, ()):
            digest = blake2b(self.key + _CHANGED.pack(number, round_), digest_size=8).digest()
            what, pick = _CHANGE.unpack(digest)
            match what % 3:
                case 0:
                    last = _another(last, pick, len(lasts))
                case 1:
                    department = _another(department, pick, len(_DEPARTMENTS))
                case _:
                    suspended = not suspended
            updated = start_of(round_) + timedelta(seconds=pick % MORNING)
        last_name = lasts[last][0]
        return Person(
            id=person_id(number),
            profile=Profile(
                display_name=f"{first_name} {last_name}",
                first_name=first_name,
                last_name=last_name,
                # Unique by the number, and kept through a change of name.
                email=f"{first_folded}{last_folded}{number}@{_domain(self.ref.organization_id)}",
                department=_DEPARTMENTS[department],
                title=_TITLES[title % len(_TITLES)],
            ),
            status=SUSPENDED if suspended else ACTIVE,
            last_updated=updated,
        )

    def records(self) -> Iterator[dict[str, Any]]:
        """Everybody present as decoded JSON, in the order of their numbers."""
        for number in self.numbers:
            yield msgspec.to_builtins(self.person(number))

    def next(self) -> Population:
        """The same integration one round later."""
        round_ = self.round + 1
        present = len(self.numbers)
        leaving = _share(self.churn.left, present) if present >= _SMALLEST_TO_LEAVE else 0
        changing = min(_share(self.churn.changed, present), present - leaving)
        chance = random.Random(self.key + round_.to_bytes(4, "big"))
        picked = chance.sample(range(present), leaving + changing)
        left = {self.numbers[index] for index in picked[:leaving]}
        changes = {number: rounds for number, rounds in self.changes.items() if number not in left}
        for index in picked[leaving:]:
            number = self.numbers[index]
            changes[number] = (*changes.get(number, ()), round_)
        highest = self.given[-1]
        joining = range(highest + 1, highest + 1 + _share(self.churn.joined, present))
        numbers = array("q", (number for number in self.numbers if number not in left))
        numbers.extend(joining)
        return replace(
            self,
            round=round_,
            numbers=numbers,
            changes=changes,
            given=(*self.given, highest + len(joining)),
        )


def population(
    seed: int,
    organization_id: str,
    integration_id: str,
    users: int,
    at_round: int = 1,
    churn: Churn = Churn(),
) -> Population:
    """Who is in the integration at `at_round`, having begun with `users` people in round 1."""
    ref = IntegrationRef(organization_id, integration_id)
    origin = f"{seed}\0{organization_id}\0{integration_id}".encode()
    now = Population(
        ref=ref,
        round=1,
        numbers=range(1, users + 1),
        changes={},
        given=(users,),
        churn=churn,
        key=blake2b(origin, digest_size=32).digest(),
    )
    for _ in range(at_round - 1):
        now = now.next()
    return now


def person_id(number: int) -> str:
    """The provider's own id of person `number`, the same in every integration."""
    return f"u-{number:06d}"


def number_of(identity: str) -> int | None:
    """The number of the person with this id, or None if no number gives it."""
    digits = identity.removeprefix("u-")
    if not (digits.isascii() and digits.isdecimal()) or person_id(int(digits)) != identity:
        return None
    return int(digits)


def rfc3339(moment: datetime) -> str:
    """`moment` as people's `lastUpdated` has it."""
    return moment.isoformat().replace("+00:00", "Z")


def start_of(round_: int) -> datetime:
    """When a round begins, on the provider's own calendar: no clock is read anywhere."""
    return FIRST_ROUND + (round_ - 1) * ROUND


def truth(records: Iterable[object]) -> list[dict[str, Any]]:
    """What the platform should hold after reading these records, ordered by external_id.

    Of records with the same id the one updated last counts, then the one that comes last.
    A record without an id is nobody. Whether a record lacking something else is accepted
    is the platform's decision: here it is mapped with None for what it lacks.
    """
    newest: dict[str, tuple[str, dict[str, Any]]] = {}
    for record in records:
        user = mapped(record)
        if user is None:
            continue
        updated = str(_at(record, "lastUpdated") or "")
        known = newest.get(user["external_id"])
        if known is None or updated >= known[0]:
            newest[user["external_id"]] = (updated, user)
    return [user for _, (_, user) in sorted(newest.items())]


def mapped(record: object) -> dict[str, Any] | None:
    """One record as the platform should map it, or None if it has no id."""
    identity = _at(record, "id")
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        return None
    return {
        "external_id": str(identity),
        "name": _at(record, "profile", "displayName"),
        "email": _at(record, "profile", "email"),
        "active": _at(record, "status") == ACTIVE,
        "attributes": {
            "department": _at(record, "profile", "department"),
            "title": _at(record, "profile", "title"),
        },
    }


_TRAITS = struct.Struct(">6HI")
_CHANGED = struct.Struct(">QI")
_CHANGE = struct.Struct(">II")

# Each name with what it adds to an e-mail address, which is ASCII.
_Names = tuple[tuple[str, str], ...]


@cache
def _names() -> tuple[tuple[_Names, _Names], ...]:
    """First and last names of each locale.

    Taken from Faker's lists and picked by a hash of the person: a million people through
    Faker's generator would take minutes, and each would depend on those made before.
    Imported on first use, because importing Faker lists folders.
    """
    lists = {}
    for locale in set(_LOCALES):
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        lists[locale] = (
            _folded(provider.first_names, otherwise="user."),
            _folded(provider.last_names, otherwise=""),
        )
    return tuple(lists[locale] for locale in _LOCALES)


def _folded(names: Iterable[str], *, otherwise: str) -> _Names:
    pairs = []
    for name in dict.fromkeys(names):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        letters = "".join(filter(str.isalnum, plain))
        pairs.append((name, f"{letters}." if letters else otherwise))
    return tuple(pairs)


@cache
def _domain(organization_id: str) -> str:
    return organization_id.lower().replace("_", "-") + ".example"


def _another(place: int, pick: int, places: int) -> int:
    return (place + 1 + pick % (places - 1)) % places


def _share(share: float, people: int) -> int:
    """`share` of `people`, at least one so that a small world shows every kind of change."""
    return max(1, round(share * people)) if share and people else 0


def _at(record: object, *path: str) -> Any:
    for key in path:
        if not isinstance(record, dict):
            return None
        record = record.get(key)
    return record
