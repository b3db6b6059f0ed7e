"""Read from a provider's headers whether its quota is used up and how long to wait.

Requests are spaced in `throttle`; retries are decided in `http_client`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SPELLINGS = ("x-ratelimit-", "x-rate-limit-", "ratelimit-")
_EARLIEST_CLOCK = 1_000_000_000
"""A reset from this on is a time in seconds since 1970, below it a number of seconds."""


def seconds_until_refilled(headers: Mapping[str, str], in_flight: int) -> float | None:
    """Seconds until a used-up quota is refilled, by the headers; None if it is not used up.

    Up to `in_flight` requests may already be under way, and each uses one of the remaining ones.
    """
    for spelling in _SPELLINGS:
        remaining = _number(headers.get(f"{spelling}remaining"))
        reset = _number(headers.get(f"{spelling}reset"))
        if remaining is None or reset is None:
            continue
        if remaining >= in_flight:
            return None
        if _number(headers.get(f"{spelling}limit")) == 0:
            # Okta reports too many simultaneous requests so; its reset is that of another quota.
            # https://developer.okta.com/docs/reference/rl-concurrent/ (2026-11)
            return None
        return _seconds(reset, headers)
    return None


def seconds_asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds that a provider asks to wait (`Retry-After`); None if it does not say.

    Source: RFC 9110, section 10.2.3. Providers also send a fraction, milliseconds or a time in
    seconds since 1970.
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
    """Seconds to wait; `number` may also be a time in (milli)seconds since 1970."""
    if number < _EARLIEST_CLOCK:
        return number
    if number >= 1000 * _EARLIEST_CLOCK:
        number /= 1000
    # Measured by the provider's clock where it sends a date: ours may differ by more than the wait.
    return max(0.0, number - _clock(headers.get("date")))


def _number(text: str | None) -> float | None:
    try:
        value = float((text or "").partition(",")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value < 1e15 else None


def _moment(text: str) -> float | None:
    """A time in HTTP's format or in ISO 8601, as seconds since 1970; None for other text."""
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
