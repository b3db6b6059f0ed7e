"""How much patience and room one extraction has.

Belongs here: the limits every kind of source respects, as one value. Does not: their
defaults (settings) or their enforcement (http, rest).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one extraction; each ends in an error or a cut that says so, never in silence."""

    attempts: int
    """Tries for one page."""
    first_wait: float
    """Seconds before the second try; the wait doubles from there, with jitter."""
    timeout: float
    """Seconds for one request, from sending it to the last byte of the answer."""
    page_bytes: int
    """Largest page after decompression."""
    max_pages: int
    """Pages of one extraction before it is cut short."""
    retry_budget: int = 200
    """Further tries that all pages of one extraction may use together."""
