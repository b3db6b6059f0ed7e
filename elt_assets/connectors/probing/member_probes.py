"""Probe memberships: read the lists of the affected parents again, once each.

A membership's key is the JSON list of its parent's key and its member's key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from elt_assets.connectors.http.http_client import NotThere
from elt_assets.connectors.probing.control import controls
from elt_assets.connectors.probing.probe_answers import ProbeAnswer, answer_of, of_the_api
from elt_assets.connectors.probing.record_probes import MOST_REQUESTS, Presences
from elt_assets.connectors.source import Presence
from elt_assets.errors import (
    PageUnreadable,
    ProviderRefused,
    ProviderUnavailable,
    TimeBudgetSpent,
)

Pair = tuple[str, str]

_JSON = ProbeAnswer(200, "application/json", b"")


@dataclass(frozen=True, slots=True)
class ListedMembers:
    """The members that a parent's list holds; `whole` if it is known to hold no others."""

    keys: frozenset[str]
    whole: bool


Read = Callable[[str], ListedMembers | None]
"""The list of a parent, or None where it cannot be read. Raises as `Source.pages` does."""


class Asking(Protocol):
    """The client through which `Read` sends its requests."""

    @property
    def requests(self) -> int:
        """Requests sent so far."""

    @property
    def closed(self) -> bool:
        """Whether the client is closed and sends no more requests."""


def probe_memberships(
    missing: Sequence[str], listed: Iterable[str], read: Read, client: Asking
) -> Presences:
    """Read the lists of the affected parents again and judge each missing membership by them.

    The control is a membership that was listed; if possible, it is one of an affected parent. A
    list that may have more members proves nothing about the members it lacks.
    """
    found = dict.fromkeys(missing, Presence.UNKNOWN)
    pairs = {key: pair for key in missing if (pair := _pair(key)) is not None}
    affected = list(dict.fromkeys(parent for parent, _ in pairs.values()))
    there = [pair for key in listed if (pair := _pair(key)) is not None]
    chosen = _control(affected, there)
    if chosen is None:
        return found
    (parent, member), covered = chosen
    begun = client.requests
    lists = _Lists(read)
    try:
        control = lists.of(parent)
        if control is None or member not in control.keys:
            return found
        for key, (above, below) in pairs.items():
            if above not in covered:
                continue
            if not lists.has(above) and client.requests - begun >= MOST_REQUESTS:
                continue
            found[key] = _presence(lists.of(above), below)
    except (ProviderUnavailable, TimeBudgetSpent):
        if client.closed:
            raise
    return found


def _control(affected: Sequence[str], there: Sequence[Pair]) -> tuple[Pair, frozenset[str]] | None:
    own = [pair for pair in there if pair[0] in affected]
    for pairs in (own, there):
        chosen = controls(affected, (parent for parent, _ in pairs))
        if chosen is not None and (pairs is there or len(chosen.covered) == len(affected)):
            pair = next(pair for pair in pairs if pair[0] == chosen.first)
            return pair, frozenset(chosen.covered)
    return None


def _presence(members: ListedMembers | None, key: str) -> Presence:
    if members is None:
        return Presence.UNKNOWN
    if key in members.keys:
        return Presence.PRESENT
    return Presence.GONE if members.whole else Presence.UNKNOWN


def _pair(key: str) -> Pair | None:
    try:
        parent, member = msgspec.json.decode(key, type=Pair)
    except msgspec.DecodeError:
        return None
    return parent, member


class _Lists:
    """Each parent's list, read once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[str, ListedMembers | None] = {}

    def has(self, parent: str) -> bool:
        return parent in self._known

    def of(self, parent: str) -> ListedMembers | None:
        """A parent's list; a parent that the API reports as absent has no members."""
        if parent not in self._known:
            self._known[parent] = self._list(parent)
        return self._known[parent]

    def _list(self, parent: str) -> ListedMembers | None:
        try:
            return self._read(parent)
        except NotThere as error:
            response = error.answer
            if response is None:
                return None
            answer = answer_of(response.status, response.headers, response.body)
            return ListedMembers(frozenset(), True) if of_the_api(answer, _JSON) else None
        except (ProviderRefused, PageUnreadable):
            return None
