"""Exit statuses of commands, except 0 for success and 2, click's own, for wrong usage."""

from __future__ import annotations

FAILED = 1
"""An error, or something that failed or waits for a person."""
QUARANTINED = 3
"""A person must decide: changes are withheld, or a listing is far from complete."""
INTERRUPTED = 130
"""Stopped by Ctrl-C, as shells say it."""
