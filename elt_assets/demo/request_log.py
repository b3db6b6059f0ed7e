"""A log of requested pages, which tests read. It holds no headers, bodies or secrets."""

from __future__ import annotations

from collections import deque
from itertools import count
from threading import Lock

import msgspec

KEPT = 500_000


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request for an integration's data and the status it was answered with."""

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
        self._entries: deque[Request] = deque(maxlen=kept)
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many requests were forgotten because the log was full."""
        return self._dropped

    def add(
        self,
        *,
        method: str,
        path: str,
        organization: str,
        integration: str,
        cursor: str | None,
        limit: str | None,
        status: int,
    ) -> None:
        """Remember a request that has been answered."""
        with self._lock:
            if len(self._entries) == self._entries.maxlen:
                self._dropped += 1
            self._entries.append(
                Request(
                    next(self._sequence),
                    method,
                    path,
                    organization,
                    integration,
                    cursor,
                    limit,
                    status,
                )
            )

    def read(
        self, organization: str | None = None, integration: str | None = None
    ) -> list[Request]:
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
        """Forget all requests; the sequence goes on."""
        with self._lock:
            self._entries.clear()
            self._dropped = 0
