"""When a webhook's message is tried again, and what the endpoint's answer means for it.

The waits follow the recommendation of the Standard Webhooks specification: three days in all.
"""

from __future__ import annotations

import enum
from datetime import timedelta

WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
_LONGEST = timedelta(days=1)


class DeliveryResult(enum.Enum):
    """What happens to a message after the endpoint's answer."""

    TAKEN = "taken"
    TOO_LARGE = "too large"
    REFUSED_FOR_GOOD = "refused for good"
    FAILED = "failed"


def verdict(status: int, entries: int) -> DeliveryResult:
    """Classify the status of an answer to a message with so many entries."""
    if 200 <= status < 300:
        return DeliveryResult.TAKEN
    if status == 413 and entries > 1:
        return DeliveryResult.TOO_LARGE
    if status == 410:
        return DeliveryResult.REFUSED_FOR_GOOD
    return DeliveryResult.FAILED


def wait_after(failures: int, asked: str | None = None) -> timedelta | None:
    """How long to wait after so many failures in a row; None if the message is not tried again.

    `asked` is the receiver's Retry-After in seconds; if it is longer than the schedule, it applies,
    up to a day.
    """
    if failures > len(WAITS):
        return None
    usual = WAITS[failures - 1]
    if asked is not None and asked.isascii() and asked.isdecimal() and len(asked) < 10:
        return max(usual, min(timedelta(seconds=int(asked)), _LONGEST))
    return usual
