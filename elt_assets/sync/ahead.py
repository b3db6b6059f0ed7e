"""Working one step ahead: the next item is made in a thread while this one is used.

Belongs here: the thread, the order of items and of errors, and leaving no thread behind.
Does not: what an item is or when looking ahead is worth it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from elt_assets import seat

T = TypeVar("T")


def one_ahead(
    items: Iterator[T], worth_it: Callable[[T], bool], leaving: threading.Event
) -> Generator[T]:
    """The items in order, each made while the one before it is used if that is `worth_it`.

    Only one thread at a time is in `items`. Close it: whoever leaves waits for the item under
    way, and `leaving`, which is set then, is to make that short.
    """
    # No thread starts before it is given something to do.
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        try:
            item = next(items, None)
            while item is not None:
                # In a copy of the context, so that a wait in there is known to be this reader's.
                following = (
                    thread.submit(copy_context().run, lambda: next(items, None))
                    if worth_it(item)
                    else None
                )
                yield item
                if following is None:
                    item = next(items, None)
                else:
                    with seat.blocked():
                        item = following.result()
        finally:
            leaving.set()
