"""Prefetch several pages for the reader and deliver them in order.

The module limits the number and size of prefetched pages, and leaves no thread running.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

from elt_assets.connectors import slot

T = TypeVar("T")

_HELD_BYTES = 64 * 2**20
"""Bytes of memory that all prefetched pages may take together."""


class Lookahead(Generic[T]):
    """Prefetches up to `most` pages at once. For use by one thread, which closes it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.stopped = threading.Event()
        """Set when the reader needs no more pages; requests under way then end."""
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="pages")
        self._waiting: deque[tuple[Hashable, Future[T]]] = deque()
        self._largest = 1

    @property
    def wants_more(self) -> bool:
        """Whether another page may be requested now."""
        room = max(1, _HELD_BYTES // self._largest)
        return len(self._waiting) < min(self._most, room)

    def weigh(self, size: int) -> None:
        """Record the size of a page, by which the number of prefetched pages is limited."""
        self._largest = max(self._largest, size)

    def ask(self, key: Hashable, fetch: Callable[[], T]) -> None:
        """Start to fetch the page with the identity `key`."""
        # In a copy of the context, so that a wait in the thread releases this reader's slot.
        self._waiting.append((key, self._pool.submit(copy_context().run, fetch)))

    def drop_unless(self, key: Hashable) -> None:
        """Drop all prefetched pages if the first of them is not `key`: the prediction was wrong."""
        if self._waiting and self._waiting[0][0] != key:
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def take(self) -> T:
        """Wait for the next page in order. Raises the error with which its request ended."""
        with slot.blocked():
            return self._waiting.popleft()[1].result()

    def close(self) -> None:
        """Drop the remaining pages and wait for the threads to end."""
        self.stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
