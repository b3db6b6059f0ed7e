"""Keeping to an integration's rate limit, its own and the one the provider announces.

Belongs here: when the next request may start, and what a provider's headers say about its
quota. Does not: what to do when the provider says that it was too many (http).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_SPELLINGS = ("x-ratelimit-", "x-rate-limit-", "ratelimit-")
_EARLIEST_CLOCK = 1_000_000_000
"""A reset above this is a time of day (seconds since 1970), below it a number of seconds."""


class Throttle:
    """Spaces requests evenly, whoever sends them. Safe to share among threads."""

    def __init__(self, requests_per_second: float | None) -> None:
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._lock = threading.Lock()
        self._free_at = 0.0

    def reserve(self) -> float:
        """Take the next start; how many seconds it is away."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + self._interval
        return start - now

    def hold(self, seconds: float) -> None:
        """Let nobody start before `seconds` have passed."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() + seconds)


def seconds_until_refilled(headers: Mapping[str, str], in_flight: int) -> float | None:
    """How long a used-up quota stays so, by the provider's headers; None if it is not used up.

    `in_flight` requests may be under way already, and each takes one of what remains.
    """
    for spelling in _SPELLINGS:
        remaining = _number(headers.get(f"{spelling}remaining"))
        reset = _number(headers.get(f"{spelling}reset"))
        if remaining is None or reset is None:
            continue
        if remaining >= in_flight:
            return None
        if reset < _EARLIEST_CLOCK:
            return max(0.0, reset)
        # The provider's own clock, where it shows it: ours may differ by more than the wait.
        return max(0.0, reset - _clock(headers.get("date")))
    return None


def _number(text: str | None) -> float | None:
    try:
        value = float((text or "").partition(",")[0])
    except ValueError:
        return None
    return value if 0 <= value < 1e12 else None


def _clock(date: str | None) -> float:
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return time.time()
