"""Syncs and commits on a lake, as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_WHAT = """\
One worker, one integration at a time, from a CSV file to the table that applications read; the
catalog and the operational database are on the same machine. The lake also holds the given number
of other integrations, each with a file in the two largest tables. Seconds are elapsed time, and in
brackets the worker's processor time. Median of {synced} syncs of {users:,} users.
"""


def table(document: dict[str, Any]) -> str:
    """Syncs by the size of the lake, and commits by the number of processes."""
    plan = document["plan"]
    head = ("other integrations", "first", "unchanged", "1% changed", "open and count", "upkeep")
    rows = [
        (
            f"{one['integrations']:,}",
            *(
                f"{one[name]['seconds']:.3f} ({one[name]['processor']:.3f})"
                for name in ("first", "unchanged", "changed")
            ),
            f"{one['look']['seconds']:.3f}",
            f"{one['upkeep']['seconds']:.1f}",
        )
        for one in document["syncs"]
    ]
    commits = [
        (str(one["processes"]), f"{one['commits_a_second']:.1f}") for one in document["commits"]
    ]
    return (
        f"# Syncs on a lake\n\n{_WHAT.format(synced=plan['synced'] - 1, users=plan['users'])}\n"
        f"{markdown_table(head, rows)}\n"
        f"Batches of 1,000 records, committed with their checkpoint:\n\n"
        f"{markdown_table(('processes', 'commits a second'), commits)}\n"
        f"{described(document['machine'])}\n\nMade by `python -m benchmarks lake`.\n"
    )
