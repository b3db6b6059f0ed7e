"""Places: limits on how many requests of one consumer are answered, and read the database, at once.

A consumer that sends many requests at once delays only itself; the threads stay free for the
others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

REQUESTS = 8
"""The most concurrent requests of one consumer; a request counts until its answer is sent."""
_READING = 2
"""The most requests of one consumer that read the database at once."""


class TooMany(Exception):
    """The consumer already has the most concurrent requests that it may have."""


class Places:
    """The running requests of all consumers."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._reading: dict[str, asyncio.Semaphore] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[asyncio.Semaphore]:
        """Count one request during the block; yield the semaphore to hold while it reads.

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
