"""A slot of the worker pool, released while its holder can only wait.

A provider that asks a client to come back in half a minute must not keep another integration
from being synced. The wait happens deep inside a connector, often in a thread that prefetches
pages for the one that syncs. Both find the slot in their context. `sync.worker_pool` decides
which task gets a released slot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

WORTH_LEAVING = 1.0
"""Seconds. A shorter wait keeps its slot: acquiring one again may take longer than the wait."""


class Slot:
    """One integration's slot, held by the thread that creates this object.

    `release` makes the slot free at once and `reacquire` blocks until one is free. The argument of
    both is whether the integration keeps its memory meanwhile. In that case `release` may refuse,
    and returns False.
    """

    def __init__(self, release: Callable[[bool], bool], reacquire: Callable[[bool], None]) -> None:
        self._release = release
        self._reacquire = reacquire
        self._holder = threading.get_ident()
        self._lock = threading.Lock()
        self._helpers_waiting = 0
        self._blocked = 0
        self._released = False

    def release(self, *, holding: bool) -> bool:
        """Release the slot; False if it must be kept because too many hold memory and wait."""
        return self._release(holding)

    def reacquire(self, *, holding: bool) -> None:
        """Get a slot again after `release`; `holding` is the same as in that call."""
        self._reacquire(holding)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wrap a wait, in the holder's thread or in one that prefetches for it."""
        if threading.get_ident() == self._holder:
            with self._blocked_by_a_wait():
                yield
            return
        with self._lock:
            self._helpers_waiting += 1
            self._release_if_idle()
        try:
            yield
        finally:
            with self._lock:
                self._helpers_waiting -= 1

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Wrap a wait for another thread; the slot is released while that thread waits, too."""
        with self._lock:
            self._blocked += 1
            self._release_if_idle()
        try:
            yield
        finally:
            with self._lock:
                self._blocked -= 1
                released, self._released = self._released, False
            if released:
                self.reacquire(holding=True)

    @contextmanager
    def _blocked_by_a_wait(self) -> Iterator[None]:
        released = self.release(holding=True)
        try:
            yield
        finally:
            if released:
                self.reacquire(holding=True)

    def _release_if_idle(self) -> None:
        if self._blocked and self._helpers_waiting and not self._released:
            self._released = self.release(holding=True)


_slot: ContextVar[Slot | None] = ContextVar("slot", default=None)


def take(slot: Slot | None) -> None:
    """Set the slot of this context and of contexts copied from it; None where it needs no slot."""
    _slot.set(slot)


def current() -> Slot | None:
    """The slot of this context."""
    return _slot.get()


@contextmanager
def waiting(seconds: float) -> Iterator[None]:
    """Wrap a wait of `seconds`. Does nothing without a slot, or for a short wait."""
    slot = _slot.get()
    if slot is None or seconds < WORTH_LEAVING:
        yield
        return
    with slot.waiting():
        yield


@contextmanager
def blocked() -> Iterator[None]:
    """Wrap the wait for a result of another thread; does nothing without a slot."""
    slot = _slot.get()
    if slot is None:
        yield
        return
    with slot.blocked():
        yield
