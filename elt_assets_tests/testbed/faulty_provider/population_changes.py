"""Changes of people while pages are read: they join, leave and change.

Every answer is right at its moment.
"""

from __future__ import annotations

from collections.abc import Callable

from elt_assets.demo.edits import Change, Edits
from elt_assets_tests.testbed.faulty_provider.fault import (
    INCOMPLETE,
    RIGHT,
    Endings,
    Exchange,
    Family,
    Fault,
    Need,
)

_TOTAL = frozenset({Need.TOTAL})


def _numbers(exchange: Exchange) -> list[int]:
    snapshot = exchange.directory.snapshot(exchange.ref)
    return list(snapshot.overlay.numbers(snapshot.people))


def _join(exchange: Exchange) -> None:
    exchange.directory.edit(exchange.ref, Edits(add=2))


def _leaves(place: int, joining: int = 0) -> Callable[[Exchange], object]:
    """Remove the first person (read already) or the last (not read yet), and add others."""

    def begin(exchange: Exchange) -> object:
        numbers = _numbers(exchange)
        if len(numbers) < 2:
            return False
        edits = Edits(remove=[numbers[place]], add=joining)
        exchange.directory.edit(exchange.ref, edits)
        return None

    return begin


def _changes(place: int) -> Callable[[Exchange], object]:
    def begin(exchange: Exchange) -> object:
        numbers = _numbers(exchange)
        if not numbers:
            return False
        name = f"Changed while reading {exchange.affliction.requests}"
        change = Change(who=numbers[place], set={"profile": {"displayName": name}})
        exchange.directory.edit(exchange.ref, Edits(change=[change]))
        return None

    return begin


def _world(
    name: str,
    begin: Callable[[Exchange], object],
    fleeting: Endings,
    lasting: Endings | None = None,
    needs: frozenset[Need] = frozenset(),
) -> Fault:
    return Fault(name, Family.WORLD, fleeting, lasting, begin=begin, from_page=2, needs=needs)


FAULTS = (
    _world("join_while_reading", _join, INCOMPLETE, needs=_TOTAL),
    _world("leave_behind_the_reader", _leaves(0), INCOMPLETE, needs=_TOTAL),
    _world("leave_before_the_reader", _leaves(-1), INCOMPLETE, needs=_TOTAL),
    _world("change_behind_the_reader", _changes(0), RIGHT, RIGHT),
    _world("change_before_the_reader", _changes(-1), RIGHT, RIGHT),
    _world(
        "one_for_another_behind_the_reader", _leaves(0, joining=1), RIGHT | INCOMPLETE, needs=_TOTAL
    ),
    _world("one_for_another_before_the_reader", _leaves(-1, joining=1), RIGHT),
)
