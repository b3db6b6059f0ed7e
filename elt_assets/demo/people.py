"""The people of an integration in a round, and the records that the platform should make of them.

All functions are pure functions of (seed, organization, integration, number, round).
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
# Changes of a round happen in its morning, so that an edit during the round is newer than all of
# them and older than those of the next round.
MORNING = 12 * 60 * 60
_TWO_YEARS = 2 * 365 * 24 * 60 * 60

# In a smaller integration nobody leaves: one of five would be a fifth, which the limits on deletes
# withhold.
_SMALLEST_TO_LEAVE = 10

# Eleven sixteenths are en_US, the others a sixteenth each: most names in a directory are ASCII.
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
    """The profile of a person."""

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
    """The shares of people who change, leave and join in a round."""

    changed: float = 0.05
    left: float = 0.02
    joined: float = 0.02


@dataclass(frozen=True, slots=True)
class Population:
    """The people of one integration in one round.

    `numbers` are those of the people present, ascending; a number is never reused. `changes` are
    the rounds in which a person changed. `given` is the highest number used by each round.
    """

    ref: IntegrationRef
    round: int
    numbers: Sequence[int]
    changes: Mapping[int, tuple[int, ...]]
    given: tuple[int, ...]
    churn: Churn
    key: bytes = field(repr=False)

    def person(self, number: int) -> Person:
        """The person `number` in this round, present or not."""
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
                # The number makes the address unique; it stays the same when the name changes.
                email=f"{first_folded}{last_folded}{number}@{_domain(self.ref.organization_id)}",
                department=_DEPARTMENTS[department],
                title=_TITLES[title % len(_TITLES)],
            ),
            status=SUSPENDED if suspended else ACTIVE,
            last_updated=updated,
        )

    def records(self) -> Iterator[dict[str, Any]]:
        """All people present as decoded JSON, by number."""
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
    """The people of the integration at `at_round`, with `users` people in round 1."""
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
    """The number of the generated person with this id, or None."""
    digits = identity.removeprefix("u-")
    if not (digits.isascii() and digits.isdecimal()) or person_id(int(digits)) != identity:
        return None
    return int(digits)


def rfc3339(moment: datetime) -> str:
    """`moment` in the form of `lastUpdated`."""
    return moment.isoformat().replace("+00:00", "Z")


def start_of(round_: int) -> datetime:
    """The start of a round on the provider's own calendar; no clock is read."""
    return FIRST_ROUND + (round_ - 1) * ROUND


def truth(records: Iterable[object]) -> list[dict[str, Any]]:
    """The records that the platform should hold after reading these, ordered by external_id.

    Of several records with one id, the newest by `lastUpdated` counts, and of equally new ones the
    last. Records without an id are left out. Other missing fields are None: whether such a record
    is accepted is the platform's decision.
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
    """The record as the platform should map it, or None without an id."""
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

# Each name, with the ASCII text that stands for it in an e-mail address.
_Names = tuple[tuple[str, str], ...]


@cache
def _names() -> tuple[tuple[_Names, _Names], ...]:
    """First and last names of each locale, from Faker's lists.

    A hash of the person selects the names, because Faker's generator would take minutes for a
    million people, each dependent on those before. Faker is imported on first use.
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
    """`share` of `people`, at least one, so that a small integration has every kind of change."""
    return max(1, round(share * people)) if share and people else 0


def _at(record: object, *path: str) -> Any:
    for key in path:
        if not isinstance(record, dict):
            return None
        record = record.get(key)
    return record
