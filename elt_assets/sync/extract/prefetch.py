"""Prefetch: a thread makes the next items while the caller uses earlier ones.

Sometimes using an item takes many times as long as usual, because DuckDB writes its log to the
file. The thread continues meanwhile, so that both are busy all the time. Items and errors keep
their order.
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
"""A function that waits until a condition holds; see `Workplace.wait`."""


class Item(Protocol):
    """An item that is prefetched."""

    @property
    def nbytes(self) -> int:
        """The memory that the item takes, in bytes."""

    @property
    def is_last(self) -> bool:
        """Whether no item follows."""


T = TypeVar("T", bound=Item)


class Helper(Protocol):
    """The work in which a thread that makes items takes part (`Workplace`)."""

    def join(self) -> None:
        """Record that the thread begins."""

    def quit(self) -> None:
        """Record that the thread has ended."""

    def wait(self, changed: threading.Condition, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, which `changed` notifies."""


def fetched_ahead(
    items: Iterator[T], line: PrefetchQueue[T], leaving: threading.Event
) -> Generator[T]:
    """Yield the items in order; a thread that holds no slot makes all of them. See `prefetched`."""
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
    """Yield the items in order; a thread makes the next ones while earlier ones are used.

    The caller's thread makes the first item. Only one thread at a time is in `items`. The consumer
    must close this generator, which sets `leaving` and waits for the item being made; the producer
    should end it soon once `leaving` is set.
    """
    # The pool starts no thread before something is submitted.
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
    """The queue between the thread that makes items and the thread that uses them.

    No item is begun while `furthest` items wait, or while the waiting and used items take `room`
    bytes or more. Items that wait when the process dies have to be fetched again.
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
        """Count an item that is in use without having passed through the queue."""
        self._taken = self._used = item.nbytes

    def put(self, item: T) -> None:
        """Append an item."""
        with self._changed:
            self._waiting.append(item)
            self._taken += item.nbytes
            self._changed.notify_all()

    def take(self) -> T | None:
        """Wait for the next item and return it; None if there are no more.

        The item before counts as no longer used.
        """
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
        """Record that the producer makes no more items."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Record that the consumer takes no more items."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_there(self) -> bool:
        return bool(self._waiting) or self._ended

    def _has_room(self) -> bool:
        return self._closed or (self._taken < self._room and len(self._waiting) < self._furthest)
