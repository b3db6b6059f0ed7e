from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from elt_assets.connectors import slot
from elt_assets.connectors.slot import Slot
from elt_assets.sync.extract.prefetch import prefetched

ROOM = 100


@dataclass(frozen=True)
class Thing:
    number: int
    nbytes: int = 1
    is_last: bool = False


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
    with closing(prefetched(reached.things(9), ROOM, threading.Event())) as coming:
        assert next(coming).number == 0
        # Four that wait; nothing is taken meanwhile.
        reached.wait_for(5)
        assert [thing.number for thing in coming] == list(range(1, 10))


def test_no_more_than_four_items_wait() -> None:
    made: list[int] = []
    with closing(prefetched(things(made, 20), ROOM, threading.Event())) as coming:
        for thing in coming:
            assert len(made) <= thing.number + 1 + 4
    assert len(made) == 21


def test_none_is_made_while_others_take_all_the_room() -> None:
    made: list[int] = []
    with closing(prefetched(things(made, 9, nbytes=ROOM), ROOM, threading.Event())) as coming:
        for thing in coming:
            assert made == list(range(thing.number + 1))


def test_two_that_fill_the_room_wait_for_one_to_be_used() -> None:
    reached = Reached()
    with closing(prefetched(reached.things(9, nbytes=ROOM // 2), ROOM, threading.Event())) as it:
        for thing in it:
            reached.wait_for(min(thing.number + 2, 10))
            assert len(reached.made) <= thing.number + 2


def test_a_single_item_needs_no_thread() -> None:
    before = threading.active_count()
    with closing(prefetched(things([], 0), ROOM, threading.Event())) as coming:
        next(coming)
        assert threading.active_count() == before
        assert not list(coming)


def test_no_items_are_none() -> None:
    assert not list(prefetched(iter(()), ROOM, threading.Event()))


def test_an_error_comes_in_the_place_of_the_item_it_prevented() -> None:
    def items() -> Iterator[Thing]:
        yield Thing(0)
        yield Thing(1)
        raise ValueError("the third one")

    with closing(prefetched(items(), ROOM, threading.Event())) as coming:
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
    coming = prefetched(items(), ROOM, leaving)
    next(coming)
    coming.close()
    assert leaving.is_set()
    assert threading.active_count() == before


def test_who_leaves_while_the_maker_waits_for_room_leaves_no_thread_behind() -> None:
    reached = Reached()
    before = threading.active_count()
    coming = prefetched(reached.things(20), ROOM, threading.Event())
    next(coming)
    reached.wait_for(5)
    coming.close()
    assert threading.active_count() == before


def test_a_slot_is_released_while_producer_and_consumer_both_wait() -> None:
    left, came_back = threading.Event(), threading.Event()
    slot.take(Slot(left.set, came_back.set))

    def items() -> Iterator[Thing]:
        yield Thing(0)
        with slot.waiting(slot.WORTH_LEAVING):
            left.wait()
        yield Thing(1, is_last=True)

    with closing(prefetched(items(), ROOM, threading.Event())) as coming:
        assert [thing.number for thing in coming] == [0, 1]
    assert came_back.is_set()


def test_a_slot_is_kept_while_there_is_an_item_to_use() -> None:
    left, go_on = threading.Event(), threading.Event()
    slot.take(Slot(left.set, left.set))
    waits = threading.Event()

    def items() -> Iterator[Thing]:
        yield Thing(0)
        yield Thing(1)
        with slot.waiting(slot.WORTH_LEAVING):
            waits.set()
            go_on.wait()
        yield Thing(2, is_last=True)

    with closing(prefetched(items(), ROOM, threading.Event())) as coming:
        next(coming)
        waits.wait()
        assert next(coming).number == 1
        assert not left.is_set()
        go_on.set()
        assert [thing.number for thing in coming] == [2]
