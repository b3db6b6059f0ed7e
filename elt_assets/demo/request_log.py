"""A log of requested pages for tests, without headers, bodies and secrets."""

from __future__ import annotations

from collections import deque
from itertools import count
from threading import Lock
from typing import Any

import msgspec

KEPT = 500_000


class LoggedRequest(msgspec.Struct, frozen=True, gc=False):
    """One request for an integration's data, and the status of the answer."""

    sequence: int
    method: str
    path: str
    organization: str
    integration: str
    cursor: str | None
    limit: str | None
    status: int


class RequestLog:
    """The newest requests, oldest first; safe to use from several threads."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = Lock()
        self._sequence = count(1)
        self._entries: deque[LoggedRequest] = deque(maxlen=kept)
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """The number of requests that were dropped because the log was full."""
        return self._dropped

    def add(self, **facts: Any) -> None:
        """Record an answered request with these fields of `LoggedRequest`."""
        with self._lock:
            if len(self._entries) == self._entries.maxlen:
                self._dropped += 1
            self._entries.append(LoggedRequest(next(self._sequence), **facts))

    def read(
        self, organization: str | None = None, integration: str | None = None
    ) -> list[LoggedRequest]:
        """The requests for an organization or an integration, or all of them."""
        with self._lock:
            entries = list(self._entries)
        return [
            entry
            for entry in entries
            if organization in (None, entry.organization)
            and integration in (None, entry.integration)
        ]

    def clear(self) -> None:
        """Delete all requests; the sequence continues."""
        with self._lock:
            self._entries.clear()
            self._dropped = 0
