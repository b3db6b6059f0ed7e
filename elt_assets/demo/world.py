"""The state of each integration over rounds and edits, as immutable snapshots."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import timedelta
from threading import Lock
from typing import Any

import msgspec

from elt_assets.demo.edits import Edits, Overlay, Record
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.people import (
    MORNING,
    Person,
    Population,
    number_of,
    population,
    start_of,
    truth,
)
from elt_assets.demo.request_log import RequestLog
from elt_assets.errors import NotFound
from elt_assets.identifiers import IntegrationRef


class Snapshot:
    """The people of one integration at one moment. It is immutable and needs no lock.

    `version` changes with every round and every edit.
    """

    def __init__(self, people: Population, overlay: Overlay, version: int) -> None:
        self.people = people
        self.overlay = overlay
        self.version = version
        self._numbers = overlay.numbers(people)
        self._by_status: dict[str, Sequence[int]] = {}

    def one(self, user_id: str) -> Record | None:
        """The record with that id, if the integration holds it.

        A generated person's id contains the person's number; a record of an edit may have any id.
        """
        likely = number_of(user_id)
        for number in (*([] if likely is None else [likely]), *self.overlay.own):
            place = bisect_right(self._numbers, number) - 1
            if place < 0 or self._numbers[place] != number:
                continue
            record = self.overlay.record(self.people, number)
            fields = msgspec.json.decode(msgspec.json.encode(record))
            if isinstance(fields, dict) and fields.get("id") == user_id:
                return record
        return None

    def page(
        self, after: int, limit: int, status: str | None
    ) -> tuple[list[Record], int | None, int]:
        """Records numbered above `after`, the last number if more follow, and the total.

        Numbers are unique and never reused, so a person who leaves or joins between two pages can
        neither hide nor repeat another one.
        """
        numbers = self._numbers if status is None else self._having(status)
        start = bisect_right(numbers, after)
        taken = numbers[start : start + limit]
        more = start + limit < len(numbers)
        records = [self.overlay.record(self.people, number) for number in taken]
        return records, taken[-1] if more else None, len(numbers)

    def counted_page(self, first: int, limit: int, status: str | None) -> tuple[list[Record], int]:
        """Records from the `first`th on (from 0), and the total.

        A person who leaves moves all later records.
        """
        numbers = self._numbers if status is None else self._having(status)
        taken = numbers[first : first + limit]
        return [self.overlay.record(self.people, number) for number in taken], len(numbers)

    def truth(self) -> list[dict[str, Any]]:
        """The records that the platform should hold after reading this snapshot."""
        return truth(self._decoded())

    def __len__(self) -> int:
        return len(self._numbers)

    def _having(self, status: str) -> Sequence[int]:
        if status not in self._by_status:
            self._by_status[status] = array(
                "q",
                (
                    number
                    for number, record in zip(self._numbers, self._decoded(), strict=True)
                    if isinstance(record, dict) and record.get("status") == status
                ),
            )
        return self._by_status[status]

    def _decoded(self) -> Iterator[Any]:
        for number in self._numbers:
            record = self.overlay.record(self.people, number)
            if isinstance(record, Person):
                yield msgspec.to_builtins(record)
            else:
                yield msgspec.json.decode(record)


class World:
    """One integration's people; safe to use from several threads."""

    def __init__(self, seed: int, ref: IntegrationRef, users: int) -> None:
        people = population(seed, ref.organization_id, ref.integration_id, users)
        self._snapshot = Snapshot(people, Overlay(), version=1)
        self._edits_this_round = 0
        self._lock = Lock()

    def at(self, round_: int) -> Snapshot:
        """The snapshot at `round_`; rounds are computed on demand."""
        if self._snapshot.people.round < round_:
            with self._lock:
                self._advance(round_)
        return self._snapshot

    def edit(self, edits: Edits, round_: int) -> Snapshot:
        """Make all of `edits`, or raise and make none."""
        with self._lock:
            self._advance(round_)
            now = self._snapshot
            self._edits_this_round += 1
            moment = start_of(now.people.round) + timedelta(
                seconds=MORNING + self._edits_this_round
            )
            overlay = now.overlay.edited(now.people, edits, moment)
            self._snapshot = Snapshot(now.people, overlay, now.version + 1)
            return self._snapshot

    def _advance(self, round_: int) -> None:
        now = self._snapshot
        people = now.people
        while people.round < round_:
            people = people.next()
        if people is not now.people:
            self._edits_this_round = 0
            self._snapshot = Snapshot(people, now.overlay, now.version + 1)


class Directory:
    """Everything that the provider serves: integrations, their round, and the request log."""

    def __init__(self, layout: DemoLayout) -> None:
        self.layout = layout
        self.log = RequestLog()
        self._lock = Lock()
        self._round = layout.round
        self._worlds = {
            ref: World(layout.seed, ref, users) for ref, users in layout.worlds().items()
        }

    @property
    def round(self) -> int:
        return self._round

    def advance(self) -> int:
        """Advance all integrations by one round; return the round."""
        with self._lock:
            self._round += 1
            return self._round

    def refs(self) -> list[IntegrationRef]:
        return list(self._worlds)

    def snapshot(self, ref: IntegrationRef) -> Snapshot:
        """The current snapshot of `ref`. Raises `NotFound`."""
        return self._world(ref).at(self._round)

    def edit(self, ref: IntegrationRef, edits: Edits) -> Snapshot:
        """Edit one integration, or raise `NotFound` or `InvalidInput` without any change."""
        return self._world(ref).edit(edits, self._round)

    def _world(self, ref: IntegrationRef) -> World:
        try:
            return self._worlds[ref]
        except KeyError:
            raise NotFound(f"integration {ref} is not served here") from None
