"""The bytes in flight: how many they become, and that fetchers never wait for each other."""

from __future__ import annotations

import threading

from elt_assets.sync.fetch_budget import FetchBudget, Share

PAGE = 100_000


def never() -> bool:
    return False


def test_fetchers_stay_below_the_limit_but_for_one_batch_and_all_of_them_end() -> None:
    """A batch is four pages; eight fetchers share room for six pages."""
    budget, most, guard = FetchBudget(6 * PAGE), 0, threading.Lock()

    def fetch() -> None:
        nonlocal most
        with Share(budget, never) as share:
            share.largest = PAGE
            for _ in range(10):
                for _ in range(4):
                    share.wait_for_room()
                    share.add(PAGE)
                    threading.Event().wait(0.0005)
                    with guard:
                        most = max(most, budget.taken)
                share.give_back(4 * PAGE)

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.taken == 0
    assert 5 * PAGE < most <= (6 + 4) * PAGE


def test_a_page_larger_than_the_room_is_fetched_when_it_is_alone() -> None:
    budget = FetchBudget(PAGE)
    with Share(budget, never) as share:
        for _ in range(3):
            share.wait_for_room()
            share.add(10 * PAGE)
        assert budget.taken == 30 * PAGE
    assert budget.taken == 0


def test_one_that_finds_no_room_waits_until_a_batch_is_mapped() -> None:
    budget, order = FetchBudget(PAGE), []
    first, second, third = (Share(budget, never) for _ in range(3))
    for one in (first, second, third):
        one.largest = PAGE
    first.wait_for_room()
    first.add(PAGE)
    second.wait_for_room()  # beyond the limit: one may, so that nothing stands still

    def wait() -> None:
        third.wait_for_room()
        order.append("third")

    waiting = threading.Thread(target=wait)
    waiting.start()
    while third not in budget._waiting:
        threading.Event().wait(0.001)
    order.append("second is mapped")
    second.add(PAGE)
    second.give_back(PAGE)
    waiting.join()
    assert order == ["second is mapped", "third"]


def test_one_that_is_stopped_waits_no_longer() -> None:
    stopped = threading.Event()
    budget = FetchBudget(PAGE)
    held, other = Share(budget, never), Share(budget, never)
    waits = Share(budget, stopped.is_set)
    for one in (held, other, waits):
        one.largest = PAGE
        if one is not waits:
            one.wait_for_room()
            one.add(PAGE)
    waiting = threading.Thread(target=waits.wait_for_room)
    waiting.start()
    stopped.set()
    waiting.join()
    assert budget._waiting == type(budget._waiting)()
