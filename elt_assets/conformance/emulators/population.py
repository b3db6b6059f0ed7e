"""The content of an emulated provider: rows, which determine records, keys and expected users."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from elt_assets.conformance.emulators.description import EmulatedListing, Emulation
from elt_assets.conformance.emulators.emulated_listing import Row, at, filled, steps


class EmulatedPeople:
    """The rows that a stream of an emulation reads."""

    def __init__(self, emulation: Emulation, stream: str) -> None:
        self.emulation = emulation
        self.stream = stream
        self.rows: list[Row] = []
        """The rows that the stream reads."""
        self.groups: list[Row] = []
        """The groups whose members the rows are, if the stream reads members."""

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def listing(self) -> EmulatedListing:
        return self.emulation.listings[self.stream]

    @property
    def parents(self) -> EmulatedListing:
        """The listing of groups; another listing has their members."""
        return self.emulation.listings["groups"]

    def populate(self, count: int) -> None:
        """Replace the rows by `count` numbered ones, their states in turn.

        Members are of the second of five groups and, once for each state, of the third one.
        """
        states = self.listing.states
        in_turn = [states[number % len(states)] for number in range(1, count + 1)]
        if self.listing.parent is None:
            self.rows = [Row(number, state) for number, state in enumerate(in_turn, 1)]
            return
        self.groups = [Row(number, self.parents.states[0]) for number in range(1, 6)]
        self.rows = [Row(number, state, 2) for number, state in enumerate(in_turn, 1)]
        self.rows += [Row(number, state, 3) for number, state in enumerate(states, 1)]

    def listed(self) -> list[Row]:
        """The rows that a listing shows to credentials without restrictions."""
        return [row for row in self.rows if row.state.listed]

    def key(self, row: Row) -> str:
        """Return the key of a row; for a member, a JSON list of its group's key and its own."""
        own = str(at(self.record(row, self.listing), self.listing.key))
        if self.listing.parent is None:
            return own
        return json.dumps([self._group_at(row, self.parents.key), own])

    def expected(self, row: Row) -> dict[str, Any]:
        """Return the fields that a row must have in the stream's table."""
        expects = {**self.listing.expects, **row.state.expects}
        found: dict[str, Any] = filled(expects, row.number, self.url)
        if self.stream == "users":
            found["active"] = row.state.active
        return found

    def record(self, row: Row, listing: EmulatedListing) -> dict[str, Any]:
        """A row's whole record."""
        whole = filled(listing.record, row.number, self.url)
        for path, value in row.state.changes.items():
            holder, last = whole, steps(path)
            for step in last[:-1]:
                holder = holder.setdefault(step, {})
            holder[last[-1]] = filled(value, row.number, self.url)
        return dict(whole)

    def _group_at(self, row: Row, path: str) -> str:
        """The value at `path` in the record of a member's group."""
        group = Row(row.group, self.parents.states[0])
        return str(at(self.record(group, self.parents), path))

    def listed_at(self, path: str, query: Mapping[str, str]) -> list[Row] | None:
        """The rows of the list at an address; None if there is no list at this address."""
        listing, parent = self.listing, self.listing.parent
        shown = self.listed()
        if parent is None:
            return shown if path == listing.path else None
        for group in self.groups:
            step = self._group_at(Row(0, group.state, group.number), parent)
            address, _, named = listing.path.replace("{parent}", step).partition("?")
            if path == address and dict(parse_qsl(named)).items() <= query.items():
                return [row for row in shown if row.group == group.number]
        return None
