"""The bytes in flight: pages that were fetched and not mapped yet, of all integrations together.

An extraction that finds no room sends no request. One extraction at a time may exceed the limit
until its batch is complete: if all of them waited with incomplete batches, none would free room.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

_USUAL = 64 * 2**10
"""The expected size of a page in bytes, until one has arrived."""
_MOMENT = 0.5
"""Seconds after which an extraction that waits checks whether it was stopped."""


class FetchBudget:
    """Room for `limit` bytes. Safe to share among threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[Share] = deque()
        self._beyond: Share | None = None
        self._changed = threading.Condition()

    @property
    def taken(self) -> int:
        """Bytes in flight."""
        return self._taken

    def enter(self, share: Share, stopped: Callable[[], bool]) -> None:
        """Wait until there is room for the share's next page, and reserve it."""
        with self._changed:
            if share is not self._beyond:
                self._waiting.append(share)
                while not (self._may_go_on(share) or stopped()):
                    self._changed.wait(_MOMENT)
                self._waiting.remove(share)
                if self._taken and self._taken + share.largest > self._limit and not stopped():
                    self._beyond = share
                # The next one may have room as well.
                self._changed.notify_all()
            self._taken += share.largest

    def change(self, share: Share, difference: int, *, complete: bool = False) -> None:
        """Change the bytes that a share has taken; `complete` if its batch is mapped."""
        with self._changed:
            self._taken += difference
            if complete and share is self._beyond:
                self._beyond = None
            if difference < 0 or complete:
                self._changed.notify_all()

    def _may_go_on(self, share: Share) -> bool:
        return self._waiting[0] is share and (
            self._taken + share.largest <= self._limit or self._beyond is None
        )


class Share:
    """The bytes that one extraction has in flight; leaving the block frees all of them."""

    def __init__(self, budget: FetchBudget, stopped: Callable[[], bool]) -> None:
        self._budget = budget
        self._stopped = stopped
        self._held = 0
        self._reserved = 0
        self.largest = _USUAL
        """Bytes of the largest page so far."""

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.change(self, -(self._held + self._reserved), complete=True)

    def wait_for_room(self) -> None:
        """Return once another page may be fetched, or once the extraction is stopped."""
        if not self._reserved:
            self._budget.enter(self, self._stopped)
            self._reserved = self.largest

    def add(self, size: int) -> None:
        """Count a page of `size` bytes that has arrived, in place of what was reserved for it."""
        self._held += size
        self._budget.change(self, size - self._reserved)
        self._reserved = 0
        self.largest = max(self.largest, size)

    def give_back(self, size: int) -> None:
        """Free the `size` bytes of a batch that is mapped."""
        self._held -= size
        self._budget.change(self, -size, complete=True)
