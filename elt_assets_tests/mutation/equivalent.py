"""Mutants that change nothing anybody could observe, each with the reason.

An entry that fits no mutant any more, or whose mutant a test notices, is an error as well.
"""

from __future__ import annotations

EQUIVALENT: dict[str, dict[tuple[str, str, str, int], str]] = {}
"""Module to (line, before, after, which of them) to reason."""
