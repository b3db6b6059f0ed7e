from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from elt_assets.connectors import slot
from elt_assets.connectors.slot import Slot
from elt_assets.sync.extract.prefetch import PrefetchQueue, fetched_ahead, prefetched

ROOM = 100


@dataclass(frozen=True)
class Thing:
    number: int
    nbytes: int = 1
    is_last: bool = False


class Patient:
    """Counts the threads that help, and waits without ado."""

    helping = 0

    def join(self) -> None:
        self.helping += 1

    def quit(self) -> None:
        self.helping -= 1

    def wait(self, changed: threading.Condition, ready: Callable[[], bool]) -> None:
        with changed:
            changed.wait_for(ready)


def ahead(items: Iterator[Thing], leaving: threading.Event | None = None) -> Generator[Thing]:
    helper = Patient()
    line = PrefetchQueue[Thing](ROOM, 4, helper.wait)
    return prefetched(items, line, leaving or threading.Event(), helper)


def things(made: list[int], last: int, nbytes: int = 1) -> Iterator[Thing]:
    for number in range(last + 1):
        made.append(number)
        yield Thing(number, nbytes, number == last)


class Reached:
    """A number that only grows, and whoever waits for it."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self._changed = threading.Condition()

    def things(self, last: int, nbytes: int = 1) -> Iterator[Thing]:
        for thing in things(self.made, last, nbytes):
            with self._changed:
                self._changed.notify_all()
            yield thing

    def wait_for(self, count: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self.made) >= count)


def test_items_are_made_while_one_is_used() -> None:
    reached = Reached()
    with closing(ahead(reached.things(9))) as coming:
        assert next(coming).number == 0
        # Four that wait; nothing is taken meanwhile.
        reached.wait_for(5)
        assert [thing.number for thing in coming] == list(range(1, 10))


def test_no_more_than_four_items_wait() -> None:
    made: list[int] = []
    with closing(ahead(things(made, 20))) as coming:
        for thing in coming:
            assert len(made) <= thing.number + 1 + 4
    assert len(made) == 21


def test_none_is_made_while_others_take_all_the_room() -> None:
    made: list[int] = []
    with closing(ahead(things(made, 9, nbytes=ROOM))) as coming:
        for thing in coming:
            assert made == list(range(thing.number + 1))


def test_two_that_fill_the_room_wait_for_one_to_be_used() -> None:
    reached = Reached()
    with closing(ahead(reached.things(9, nbytes=ROOM // 2))) as it:
        for thing in it:
            reached.wait_for(min(thing.number + 2, 10))
            assert len(reached.made) <= thing.number + 2


def test_a_single_item_needs_no_thread() -> None:
    before = threading.active_count()
    with closing(ahead(things([], 0))) as coming:
        next(coming)
        assert threading.active_count() == before
        assert not list(coming)


def test_no_items_are_none() -> None:
    assert not list(ahead(iter(())))


def test_an_error_comes_in_the_place_of_the_item_it_prevented() -> None:
    def items() -> Iterator[Thing]:
        yield Thing(0)
        yield Thing(1)
        raise ValueError("the third one")

    with closing(ahead(items())) as coming:
        assert [next(coming).number, next(coming).number] == [0, 1]
        with pytest.raises(ValueError, match="the third one"):
            next(coming)


def test_who_leaves_says_so_and_leaves_no_thread_behind() -> None:
    leaving = threading.Event()

    def items() -> Iterator[Thing]:
        yield Thing(0)
        leaving.wait()
        yield Thing(1)

    before = threading.active_count()
    coming = ahead(items(), leaving)
    next(coming)
    coming.close()
    assert leaving.is_set()
    assert threading.active_count() == before


def test_who_leaves_while_the_maker_waits_for_room_leaves_no_thread_behind() -> None:
    reached = Reached()
    before = threading.active_count()
    coming = ahead(reached.things(20))
    next(coming)
    reached.wait_for(5)
    coming.close()
    assert threading.active_count() == before


def test_what_is_fetched_ahead_is_fetched_without_a_slot_and_no_further_than_the_line() -> None:
    reached, slots = Reached(), []

    def items() -> Iterator[Thing]:
        slots.append(slot.current())
        yield from reached.things(9)

    slot.take(Slot(lambda _: True, lambda _: None))
    line = PrefetchQueue[Thing](ROOM, 1, Patient().wait)
    try:
        with closing(fetched_ahead(items(), line, threading.Event())) as coming:
            for thing in coming:
                reached.wait_for(min(thing.number + 2, 10))
                assert len(reached.made) <= thing.number + 3
    finally:
        slot.take(None)
    assert slots == [None]


def test_an_error_of_what_is_fetched_ahead_comes_in_its_place_and_leaves_no_thread() -> None:
    def items() -> Iterator[Thing]:
        yield Thing(0)
        raise ValueError("the second one")

    before = threading.active_count()
    coming = fetched_ahead(
        items(), PrefetchQueue[Thing](ROOM, 1, Patient().wait), threading.Event()
    )
    assert next(coming).number == 0
    with pytest.raises(ValueError, match="the second one"):
        next(coming)
    assert threading.active_count() == before
