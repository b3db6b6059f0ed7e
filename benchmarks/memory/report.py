"""Peak memory as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_WHAT = """\
Highest resident memory of a process that syncs one integration three times (first, unchanged, one
user in a hundred changed), with the settings as they are shipped.
"""


def table(document: dict[str, Any]) -> str:
    """The peak of each size, and its ratio to the peak of the smallest size."""
    rows = [
        (
            f"{int(users):,}",
            f"{peak:,} MiB",
            f"{document['ratios'][users]:.2f} ×",
            f"{document['seconds'][users]:,.0f} s",
        )
        for users, peak in document["peak_mib"].items()
    ]
    head = ("users", "peak memory", "ratio to the smallest", "three syncs")
    return (
        f"# Memory\n\n{_WHAT}\n{markdown_table(head, rows)}\n"
        f"{described(document['machine'])}\n\nMade by `python -m benchmarks memory`.\n"
    )
