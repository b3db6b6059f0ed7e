"""Prefetch: a thread makes the next items while the caller uses earlier ones.

Using an item takes many times as long now and then, because the file's log is emptied. The thread
continues meanwhile, so that both are busy all the time. Items and errors keep their order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, Protocol, TypeVar

from elt_assets.connectors import slot

Wait = Callable[[threading.Condition, Callable[[], bool]], None]
"""Wait until a condition holds, see `Workplace.wait`."""


class Item(Protocol):
    """An item that is prefetched."""

    @property
    def nbytes(self) -> int:
        """The memory it takes."""

    @property
    def is_last(self) -> bool:
        """Whether none follows."""


T = TypeVar("T", bound=Item)


class Helper(Protocol):
    """What a thread that makes items takes part in, and how a reader waits for it."""

    def join(self) -> None:
        """The thread begins."""

    def quit(self) -> None:
        """The thread has ended."""

    def wait(self, changed: threading.Condition, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, which is notified by `changed`."""


def fetched_ahead(
    items: Iterator[T], line: PrefetchQueue[T], leaving: threading.Event
) -> Generator[T]:
    """The items in order, all made by a thread that holds no slot; see `prefetched`."""
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as thread:
        try:
            context = copy_context()
            context.run(slot.take, None)
            making = thread.submit(context.run, _make, items, line)
            while (item := line.take()) is not None:
                yield item
            making.result()
        finally:
            leaving.set()
            line.close()


def prefetched(
    items: Iterator[T], line: PrefetchQueue[T], leaving: threading.Event, helper: Helper
) -> Generator[T]:
    """The items in order, made while those before them are used.

    The first one is made by the caller. Only one thread at a time is in `items`. Close it: a
    consumer that stops waits for the item under way; `leaving`, which is set then, should make
    that short.
    """
    # No thread starts before it is given something to do.
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        try:
            item = next(items, None)
            making: Future[None] | None = None
            while item is not None:
                if making is None and not item.is_last:
                    line.use(item)
                    helper.join()
                    making = thread.submit(copy_context().run, _make, items, line, helper.quit)
                yield item
                item = None if making is None else line.take()
            if making is not None:
                making.result()
        finally:
            leaving.set()
            line.close()


def _nothing() -> None:
    """No-op."""


def _make(items: Iterator[T], line: PrefetchQueue[T], ended: Callable[[], None] = _nothing) -> None:
    try:
        while line.wait_for_room():
            item = next(items, None)
            if item is None:
                return
            line.put(item)
            if item.is_last:
                return
    finally:
        ended()
        line.end()


class PrefetchQueue(Generic[T]):
    """Items between the thread that makes them and the one that uses them.

    None is begun while `furthest` wait, or while what waits and what is used takes `room` bytes or
    more. What waits when a process dies has to be fetched again.
    """

    def __init__(self, room: int, furthest: int, wait: Wait) -> None:
        self._room = room
        self._furthest = furthest
        self._wait = wait
        self._waiting: deque[T] = deque()
        self._taken = 0
        self._used = 0
        self._ended = False
        self._closed = False
        self._changed = threading.Condition()

    def use(self, item: T) -> None:
        """Count an item that is used already."""
        self._taken = self._used = item.nbytes

    def put(self, item: T) -> None:
        """Append an item."""
        with self._changed:
            self._waiting.append(item)
            self._taken += item.nbytes
            self._changed.notify_all()

    def take(self) -> T | None:
        """The next one, waited for if need be; the one before it is done with. None: no more."""
        with self._changed:
            self._taken -= self._used
            self._used = 0
            self._changed.notify_all()
            is_there = self._is_there()
        if not is_there:
            self._wait(self._changed, self._is_there)
        with self._changed:
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            self._used = item.nbytes
            self._changed.notify_all()
            return item

    def wait_for_room(self) -> bool:
        """Return once another item may be made; False once the consumer has closed."""
        with self._changed:
            self._changed.wait_for(self._has_room)
            return not self._closed

    def end(self) -> None:
        """The producer makes no more items."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """The consumer takes no more items."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_there(self) -> bool:
        return bool(self._waiting) or self._ended

    def _has_room(self) -> bool:
        return self._closed or (self._taken < self._room and len(self._waiting) < self._furthest)
