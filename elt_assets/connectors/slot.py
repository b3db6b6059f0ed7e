"""A seat: the right of one integration to be worked on, given up while it can only wait.

Belongs here: telling whoever handed out the seat that its holder waits, from wherever the
waiting happens. Does not: who gets the seat meanwhile (sync.worker_pool), or why anybody waits.

A provider that asks for half a minute of patience must not keep another integration from
being synced. Waiting happens deep down in a connector, and often in a thread that fetches
ahead for the one that syncs; both find the seat in their context.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

WORTH_LEAVING = 1.0
"""Seconds. For a shorter wait the seat is kept: coming back may take longer than that."""


class Seat:
    """One integration's seat, held by the thread that makes it.

    `leave` gives the seat to somebody else at once; `come_back` returns when there is one again.
    """

    def __init__(self, leave: Callable[[], None], come_back: Callable[[], None]) -> None:
        self._leave = leave
        self._come_back = come_back
        self._holder = threading.get_ident()
        self._lock = threading.Lock()
        self._helpers_waiting = 0
        self._blocked = 0
        self._away = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a wait, in the holder's thread or in that of a helper."""
        if threading.get_ident() == self._holder:
            with self._blocked_by_a_wait():
                yield
            return
        with self._lock:
            self._helpers_waiting += 1
            self._leave_if_idle()
        try:
            yield
        finally:
            with self._lock:
                self._helpers_waiting -= 1

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Around one thread's dependence on another: if that one waits, so do both."""
        with self._lock:
            self._blocked += 1
            self._leave_if_idle()
        try:
            yield
        finally:
            with self._lock:
                self._blocked -= 1
                away, self._away = self._away, False
            if away:
                self._come_back()

    @contextmanager
    def _blocked_by_a_wait(self) -> Iterator[None]:
        self._leave()
        try:
            yield
        finally:
            self._come_back()

    def _leave_if_idle(self) -> None:
        if self._blocked and self._helpers_waiting and not self._away:
            self._away = True
            self._leave()


_seat: ContextVar[Seat | None] = ContextVar("seat", default=None)


def take(seat: Seat) -> None:
    """Let this context, and those copied from it, know the seat."""
    _seat.set(seat)


@contextmanager
def waiting(seconds: float) -> Iterator[None]:
    """Around a wait of so many seconds; without a seat, or for a short one, nothing happens."""
    seat = _seat.get()
    if seat is None or seconds < WORTH_LEAVING:
        yield
        return
    with seat.waiting():
        yield


@contextmanager
def blocked() -> Iterator[None]:
    """Around the wait for what another thread fetches or makes."""
    seat = _seat.get()
    if seat is None:
        yield
        return
    with seat.blocked():
        yield
