"""Exit statuses of commands, in addition to 0 for success and click's 2 for wrong usage."""

from __future__ import annotations

FAILED = 1
"""An error, a failed sync or check, or a problem that needs a person."""
QUARANTINED = 3
"""A person must decide: changes are withheld, or a listing is far from complete."""
INTERRUPTED = 130
"""Stopped by Ctrl-C, as in shells."""
