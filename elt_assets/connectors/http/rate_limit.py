"""What a provider's headers say about its quota, and about when to come back.

Spacing requests is `throttle`'s; what follows from too many is decided in `http_client`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SPELLINGS = ("x-ratelimit-", "x-rate-limit-", "ratelimit-")
_EARLIEST_CLOCK = 1_000_000_000
"""A reset above this is a time of day (seconds since 1970), below it a number of seconds."""


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
        if _number(headers.get(f"{spelling}limit")) == 0:
            # Okta says so of too many requests at once; its reset is then of another quota.
            # https://developer.okta.com/docs/reference/rl-concurrent/ (2026-11)
            return None
        return _seconds(reset, headers)
    return None


def seconds_asked_for(headers: Mapping[str, str]) -> float | None:
    """How long a provider asks to be left alone; None if it does not say.

    RFC 9110, section 10.2.3, and what is sent instead: a fraction, milliseconds, a clock time.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1000
    text = headers.get("retry-after", "").strip().lower()
    if (number := _number(text)) is not None:
        return _seconds(number, headers)
    for unit, in_seconds in (("ms", 0.001), ("s", 1.0)):
        if text.endswith(unit) and (number := _number(text.removesuffix(unit))) is not None:
            return number * in_seconds
    moment = _moment(text.upper())
    return None if moment is None else max(0.0, moment - _clock(headers.get("date")))


def _seconds(number: float, headers: Mapping[str, str]) -> float:
    """Seconds to wait, where a number may also be a time since 1970."""
    if number < _EARLIEST_CLOCK:
        return number
    if number >= 1000 * _EARLIEST_CLOCK:
        number /= 1000
    # The provider's own clock, where it shows it: ours may differ by more than the wait.
    return max(0.0, number - _clock(headers.get("date")))


def _number(text: str | None) -> float | None:
    try:
        value = float((text or "").partition(",")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value < 1e15 else None


def _moment(text: str) -> float | None:
    """A time as HTTP writes it, or ISO 8601."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _clock(date: str | None) -> float:
    moment = _moment(date or "")
    return time.time() if moment is None else moment
