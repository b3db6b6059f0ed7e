from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from elt_assets import seat
from elt_assets.seat import Seat
from elt_assets.sync.ahead import one_ahead


def numbers(made: list[int], last: int = 3) -> Iterator[int]:
    for number in range(last + 1):
        made.append(number)
        yield number


def test_the_next_item_is_made_while_this_one_is_used() -> None:
    second_begun = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        second_begun.set()
        yield 1

    with closing(one_ahead(items(), lambda _: True, threading.Event())) as coming:
        assert next(coming) == 0
        second_begun.wait()
        assert list(coming) == [1]


def test_items_come_in_order_and_never_further_ahead_than_one() -> None:
    made: list[int] = []
    found = []
    with closing(one_ahead(numbers(made), lambda _: True, threading.Event())) as coming:
        for item in coming:
            assert len(made) <= item + 2
            found.append(item)
    assert found == [0, 1, 2, 3]


def test_what_is_not_worth_it_is_made_when_it_is_asked_for() -> None:
    made: list[int] = []
    with closing(one_ahead(numbers(made), lambda _: False, threading.Event())) as coming:
        for item in coming:
            assert made == list(range(item + 1))


def test_an_error_comes_in_the_place_of_the_item_it_prevented() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("the second one")

    with closing(one_ahead(items(), lambda _: True, threading.Event())) as coming:
        assert next(coming) == 0
        with pytest.raises(ValueError, match="the second one"):
            next(coming)


def test_who_leaves_says_so_and_leaves_no_thread_behind() -> None:
    leaving = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        leaving.wait()
        yield 1

    before = threading.active_count()
    coming = one_ahead(items(), lambda _: True, leaving)
    next(coming)
    coming.close()
    assert leaving.is_set()
    assert threading.active_count() == before


def test_a_seat_is_given_up_while_the_maker_waits_and_nobody_else_works() -> None:
    left, came_back = threading.Event(), threading.Event()
    seat.take(Seat(left.set, came_back.set))

    def items() -> Iterator[int]:
        yield 0
        with seat.waiting(seat.WORTH_LEAVING):
            left.wait()
        yield 1

    with closing(one_ahead(items(), lambda _: True, threading.Event())) as coming:
        assert list(coming) == [0, 1]
    assert came_back.is_set()
