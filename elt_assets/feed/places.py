"""Places: how many requests of one consumer are answered, and read the database, at a time.

A consumer that sends many requests at once waits for itself; the others find threads that are free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

REQUESTS = 8
"""Requests of one consumer that are under way at once, until their answers are sent."""
_READING = 2
"""Those of them that read the database at once."""


class TooMany(Exception):
    """The consumer has as many requests under way as it may have."""


class Places:
    """The requests of all consumers that are under way."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._reading: dict[str, asyncio.Semaphore] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[asyncio.Semaphore]:
        """A place for one request; it reads the database while it holds what this yields.

        Raises `TooMany`.
        """
        taken = self._taken.get(name, 0)
        if taken >= REQUESTS:
            raise TooMany(f"{REQUESTS} requests of this consumer are under way already")
        self._taken[name] = taken + 1
        try:
            yield self._reading.setdefault(name, asyncio.Semaphore(_READING))
        finally:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name], self._reading[name]
