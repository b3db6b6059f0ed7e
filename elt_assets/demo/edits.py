"""Edits: records that are changed, removed, added or replaced in the generated population."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Annotated, Any

import msgspec

from elt_assets.demo.people import Person, Population, number_of, rfc3339
from elt_assets.errors import InvalidInput, NotFound

# People added by an edit have numbers from here on, above those of all who join in rounds.
ADDED_FROM = 1_000_000_001

Record = Person | msgspec.Raw


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Set fields of one person, given by number or id; objects are merged, other values replaced.

    `lastUpdated` becomes the moment of the edit unless it is set.
    """

    who: int | str
    set: dict[str, Any]


class Edits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The edits of an integration, in this order and in one step.

    `replace` is the whole list of records as served; rounds no longer change it. `add` is a number
    of new people, or the records to append.
    """

    replace: list[msgspec.Raw] | None = None
    remove: list[int | str] = []
    change: list[Change] = []
    add: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | list[msgspec.Raw] = 0


@dataclass(frozen=True, slots=True)
class Patch:
    """Fields that override those of a generated person, which rounds still change."""

    fields: Mapping[str, Any]
    moment: datetime | None


@dataclass(frozen=True, slots=True)
class Overlay:
    """All edits of one integration. `own` are records served verbatim, by number."""

    generated: bool = True
    removed: frozenset[int] = frozenset()
    patches: Mapping[int, Patch] = field(default_factory=dict)
    own: Mapping[int, bytes] = field(default_factory=dict)
    next_added: int = ADDED_FROM

    def numbers(self, people: Population) -> Sequence[int]:
        """The numbers of all served people, ascending."""
        if self.generated and not self.removed and not self.own:
            return people.numbers
        numbers = array("q", people.numbers if self.generated else ())
        if self.removed:
            numbers = array("q", (number for number in numbers if number not in self.removed))
        numbers.extend(sorted(self.own))
        return numbers

    def record(self, people: Population, number: int) -> Record:
        """The served record of `number`."""
        own = self.own.get(number)
        if own is not None:
            return msgspec.Raw(own)
        person = people.person(number)
        patch = self.patches.get(number)
        if patch is None:
            return person
        record = merged(msgspec.to_builtins(person), patch.fields)
        if patch.moment is not None:
            record["lastUpdated"] = rfc3339(max(patch.moment, person.last_updated))
        return msgspec.Raw(msgspec.json.encode(record))

    def edited(self, people: Population, edits: Edits, moment: datetime) -> Overlay:
        """This overlay after `edits` made at `moment`. Raises `InvalidInput` or `NotFound`."""
        draft = _Draft(self, people, moment)
        if edits.replace is not None:
            draft.replace(edits.replace)
        for who in edits.remove:
            draft.remove(who)
        for change in edits.change:
            draft.change(change)
        draft.add(edits.add)
        return draft.finished()


class _Draft:
    """An overlay being edited."""

    def __init__(self, overlay: Overlay, people: Population, moment: datetime) -> None:
        self._people = people
        self._moment = moment
        self._generated = overlay.generated
        self._removed = set(overlay.removed)
        self._patches = dict(overlay.patches)
        self._own = dict(overlay.own)
        self._next_added = overlay.next_added

    def finished(self) -> Overlay:
        return Overlay(
            self._generated,
            frozenset(self._removed),
            self._patches,
            self._own,
            self._next_added,
        )

    def replace(self, records: Iterable[msgspec.Raw]) -> None:
        self._generated = False
        self._removed.clear()
        self._patches.clear()
        self._own = {place: bytes(record) for place, record in enumerate(records, 1)}

    def remove(self, who: int | str) -> None:
        number = self._find(who)
        if self._own.pop(number, None) is None:
            self._removed.add(number)

    def change(self, change: Change) -> None:
        number = self._find(change.who)
        moment = None if "lastUpdated" in change.set else self._moment
        if number in self._own:
            record = msgspec.json.decode(self._own[number])
            if not isinstance(record, dict):
                raise InvalidInput(
                    f"{self._people.ref}: record {number} is not an object; replace the list"
                )
            record = merged(record, change.set)
            if moment is not None:
                record["lastUpdated"] = rfc3339(moment)
            self._own[number] = msgspec.json.encode(record)
        else:
            earlier = self._patches.get(number, Patch({}, None)).fields
            self._patches[number] = Patch(merged(earlier, change.set), moment)

    def add(self, add: int | list[msgspec.Raw]) -> None:
        if isinstance(add, int):
            for number in range(self._next_added, self._next_added + add):
                person = msgspec.to_builtins(self._people.person(number))
                person["lastUpdated"] = rfc3339(self._moment)
                self._own[number] = msgspec.json.encode(person)
        else:
            for number, record in enumerate(add, self._next_added):
                self._own[number] = bytes(record)
        self._next_added += add if isinstance(add, int) else len(add)

    def _find(self, who: int | str) -> int:
        """The number of the person with this number or, in the served records, this id."""
        number = who if isinstance(who, int) else self._number_of(who)
        if number is None or not self._present(number):
            raise NotFound(f"{self._people.ref} has no person with number or id {who!r}")
        return number

    def _number_of(self, identity: str) -> int | None:
        renamed = (n for n, patch in self._patches.items() if patch.fields.get("id") == identity)
        own = (n for n, record in self._own.items() if _id_of(record) == identity)
        generated = number_of(identity)
        if generated is not None and self._keeps_its_id(generated):
            return generated
        return next(filter(self._present, chain(renamed, own)), None)

    def _keeps_its_id(self, number: int) -> bool:
        patched = number in self._patches and "id" in self._patches[number].fields
        return self._present(number) and number not in self._own and not patched

    def _present(self, number: int) -> bool:
        if number in self._own:
            return True
        numbers = self._people.numbers if self._generated else ()
        place = bisect_left(numbers, number)
        return place < len(numbers) and numbers[place] == number and number not in self._removed


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `patch` set over it, object by object; null is a value like any other."""
    result = dict(base)
    for key, value in patch.items():
        below = result.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _id_of(record: bytes) -> object:
    decoded = msgspec.json.decode(record)
    return decoded.get("id") if isinstance(decoded, dict) else None
