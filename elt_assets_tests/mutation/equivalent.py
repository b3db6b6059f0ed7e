"""Mutants that change nothing anybody could observe, each with the reason.

An entry that fits no mutant any more, or whose mutant a test notices, is an error as well.
"""

from __future__ import annotations

EQUIVALENT: dict[str, dict[tuple[str, str, str, int], str]] = {
    "elt_assets/sync/detect/change_detection.py": {
        ("_CONTROLS = 1_000", "1_000", "1001", 1): "One more key to choose a control from.",
        ("false AS said,", "false", "true", 1): "Read of deletes only; these are other rows.",
    },
}
"""Module to (line, before, after, which of them) to reason."""
