"""The worker pool: how many tasks run at once, in which order, and which wait without a slot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from contextvars import copy_context

import pytest

from elt_assets.connectors import slot
from elt_assets.sync.sync_request import always, nothing
from elt_assets.sync.worker_pool import WorkerPool


def pool(
    work: Callable[[int], int],
    tasks: Iterable[int],
    *,
    slots: int = 2,
    at_once: int = 100,
    may_begin: Callable[[], bool] = always,
) -> WorkerPool[int, int]:
    return WorkerPool(
        work, tasks, slots=slots, at_once=at_once, stop=threading.Event(), may_begin=may_begin
    )


def test_everything_is_done_once() -> None:
    assert sorted(pool(lambda n: n * n, range(100), slots=7).results(nothing)) == [
        n * n for n in range(100)
    ]


def test_tasks_begin_in_their_order() -> None:
    begun: list[int] = []
    made = pool(lambda n: begun.append(n) or n, [3, 1, 2, 9, 5], slots=1)  # type: ignore[func-returns-value]
    assert list(made.results(nothing)) == begun == [3, 1, 2, 9, 5]


def test_a_waiting_task_lets_the_next_start_and_gets_its_slot_back_before_others_start() -> None:
    """With one slot: the first task releases it, the second runs, the third follows the first."""
    over, order = threading.Event(), []

    def work(number: int) -> int:
        order.append(f"{number} begins")
        if number == 1:
            with slot.waiting(30):
                over.wait()
            order.append("1 goes on")
        elif number == 2:
            over.set()
            while not made._returning:
                threading.Event().wait(0.001)
        return number

    made = pool(work, [1, 2, 3], slots=1)
    assert sorted(made.results(nothing)) == [1, 2, 3]
    assert order == ["1 begins", "2 begins", "1 goes on", "3 begins"]


def test_no_more_tasks_run_than_there_are_slots_however_many_wait() -> None:
    working: set[int] = set()
    most = 0
    guard = threading.Lock()

    def at_work(number: int) -> None:
        nonlocal most
        with guard:
            working.add(number)
            most = max(most, len(working))
        threading.Event().wait(0.001)
        with guard:
            working.discard(number)

    def work(number: int) -> int:
        at_work(number)
        for _ in range(number % 3):
            with slot.waiting(2):
                threading.Event().wait(0.002)
            at_work(number)
        return number

    assert sorted(pool(work, range(60), slots=3).results(nothing)) == list(range(60))
    assert most <= 3


def test_a_short_wait_keeps_its_slot() -> None:
    order: list[int] = []

    def work(number: int) -> int:
        with slot.waiting(slot.WORTH_LEAVING / 2):
            threading.Event().wait(0.01)
        order.append(number)
        return number

    list(pool(work, [1, 2, 3], slots=1).results(nothing))
    assert order == [1, 2, 3]


def test_waiting_for_a_helper_that_waits_releases_the_slot_too() -> None:
    """A page is fetched by another thread, and that one is told to be patient."""
    second_begins, first_fetched = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 2:
            second_begins.set()
            return 2

        def fetch() -> None:
            with slot.waiting(30):
                second_begins.wait()
            first_fetched.set()

        context = copy_context()
        helper = threading.Thread(target=lambda: context.run(fetch))
        helper.start()
        with slot.blocked():
            first_fetched.wait()
        helper.join()
        return 1

    assert sorted(pool(work, [1, 2], slots=1).results(nothing)) == [1, 2]


@pytest.mark.parametrize(("holding", "begun"), [(True, [0, 1, 2, 3]), (False, list(range(10)))])
def test_tasks_that_hold_memory_while_they_wait_are_bounded_others_only_by_their_number(
    holding: bool, begun: list[int]
) -> None:
    """Four for one slot: the one that works and three that wait; the fifth must not begin."""
    found: list[int] = []
    waiting, enough = threading.Semaphore(0), threading.Event()

    def work(number: int) -> int:
        found.append(number)
        own = slot.current()
        assert own is not None
        released = own.release(holding=holding)
        waiting.release()
        enough.wait()
        if released:
            own.reacquire(holding=holding)
        return number

    made = pool(work, range(12), slots=1, at_once=10)
    results = made.results(nothing)
    done = threading.Thread(target=lambda: list(results))
    done.start()
    for _ in begun:
        waiting.acquire()
    assert (found, made.left) == (begun, list(range(len(begun), 12)))
    enough.set()
    done.join()
    assert sorted(found) == list(range(12))


def test_slots_are_given_back_in_the_order_in_which_tasks_ask_for_them() -> None:
    order: list[int] = []
    asked = [threading.Event() for _ in range(6)]

    def work(number: int) -> int:
        own = slot.current()
        assert own is not None
        if number == 5:
            # All the others have left by now; each asks once the one before it has.
            for other in range(5):
                asked[other].set()
                while len(made._returning) <= other:
                    threading.Event().wait(0.001)
            return number
        own.release(holding=False)
        asked[number].wait()
        own.reacquire(holding=False)
        order.append(number)
        return number

    made = pool(work, range(6), slots=1)
    assert sorted(made.results(nothing)) == list(range(6))
    assert order == list(range(5))


def test_nothing_begins_once_nothing_may_and_what_is_left_is_told() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return number

    made = pool(work, range(9), slots=1, may_begin=lambda: len(done) < 4)
    assert list(made.results(nothing)) == [0, 1, 2, 3]
    assert made.left == [4, 5, 6, 7, 8]


def test_one_begins_even_if_none_may_any_more() -> None:
    made = pool(lambda number: number, range(5), slots=4, may_begin=lambda: False)
    assert list(made.results(nothing)) == [0]
    assert made.left == [1, 2, 3, 4]


def test_what_a_task_raises_ends_all_and_is_raised() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise KeyboardInterrupt
        return number

    made = pool(work, range(1000), slots=1)
    with pytest.raises(KeyboardInterrupt):
        list(made.results(nothing))
    assert made.left[-1] == 999


def test_who_stops_listening_leaves_alone_what_has_not_begun() -> None:
    stop = threading.Event()
    made = WorkerPool(
        lambda number: number and stop.wait() and number,
        range(9),
        slots=1,
        at_once=9,
        stop=stop,
        may_begin=always,
    )
    with closing(made.results(nothing)) as results:
        assert next(results) == 0
    assert made.left == [2, 3, 4, 5, 6, 7, 8]


def test_who_waits_when_all_is_stopped_goes_on_at_once() -> None:
    stopped, waits = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 1:
            waits.wait()
            return 1
        with slot.waiting(30):
            waits.set()
            stopped.wait()
        return 0

    made = WorkerPool(work, [0, 1], slots=1, at_once=9, stop=stopped, may_begin=always)
    with closing(made.results(nothing)) as results:
        assert next(results) == 1


def test_the_caller_has_a_turn_while_it_waits() -> None:
    turns, seen = [], threading.Event()

    def turn() -> None:
        turns.append(1)
        seen.set()

    assert list(pool(lambda n: seen.wait() and n, [7]).results(turn)) == [7]
    assert turns
