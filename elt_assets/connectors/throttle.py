"""Keeping to an integration's rate limit.

Belongs here: when the next request may start. Does not: what to do when the provider says
that it was too many (http).
"""

from __future__ import annotations

import threading
import time


class Throttle:
    """Spaces requests evenly, whoever sends them. Safe to share among threads."""

    def __init__(self, requests_per_second: float | None) -> None:
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self) -> None:
        """Return when the next request may start."""
        if not self._interval:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + self._interval
        if start > now:
            time.sleep(start - now)
