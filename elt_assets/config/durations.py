"""Lengths of time as people write them: 30s, 5m, 12h, 7d."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"([1-9]\d{0,5})\s*([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(text: str) -> timedelta:
    """A length of time as people write it: 30s, 5m, 12h, 7d. Raises `ValueError`."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError("write a length of time such as 30s, 5m, 12h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
