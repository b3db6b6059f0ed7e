"""Fetch several pages ahead of the reader and deliver them in order.

The module bounds how far ahead its threads fetch, and leaves no thread running.
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
"""Pages that wait for their turn may take this much memory together."""


class Lookahead(Generic[T]):
    """Keeps up to `most` pages on their way. Used by one thread; close it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.stopped = threading.Event()
        """Set when no reader waits for pages any more; requests under way give up on it."""
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="pages")
        self._waiting: deque[tuple[Hashable, Future[T]]] = deque()
        self._largest = 1

    @property
    def wants_more(self) -> bool:
        """Whether another page may be requested now."""
        room = max(1, _HELD_BYTES // self._largest)
        return len(self._waiting) < min(self._most, room)

    def weigh(self, size: int) -> None:
        """Learn how large pages are."""
        self._largest = max(self._largest, size)

    def ask(self, key: Hashable, fetch: Callable[[], T]) -> None:
        """Start fetching the page known by `key`."""
        # In a copy of the context, so that a wait in there is known to be this reader's.
        self._waiting.append((key, self._pool.submit(copy_context().run, fetch)))

    def drop_unless(self, key: Hashable) -> None:
        """Drop the requested pages if they do not begin with `key`: the guess was wrong."""
        if self._waiting and self._waiting[0][0] != key:
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on its way."""
        return not self._waiting

    def take(self) -> T:
        """The next page in order, or the error that came instead of it."""
        with slot.blocked():
            return self._waiting.popleft()[1].result()

    def close(self) -> None:
        """Drop what is left and wait for the threads to end."""
        self.stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
