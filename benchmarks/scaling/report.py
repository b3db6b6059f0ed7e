"""The cost of monitoring and scheduling a fleet, as a Markdown table."""

from __future__ import annotations

from typing import Any

from benchmarks.machine import described
from benchmarks.results import markdown_table

_NAMES = {
    "registry_sensor_quiet": "registry sensor, nothing changed",
    "registry_sensor_50_new": "registry sensor, 50 new integrations",
    "adding_50_partitions": "Dagster adds their 50 partitions",
    "schedule": "tick of the daily schedule",
    "recovery_sensor": "recovery sensor, 1 of 100 failed",
    "health_report": "health report",
    "metrics": "metrics",
    "partition_statuses": "status of every partition of a table",
}

_SYNCS = {"first": "first sync", "unchanged": "unchanged sync"}

_WHAT = """\
Seconds of the work around the syncs, with a ledger of {days} daily syncs of every integration
and a materialization of every partition. Everything is evaluated in one process, in the way of the
daemon and the web server; communication between their processes is not included.
"""


def table(document: dict[str, Any]) -> str:
    """Seconds by size."""
    sizes, targets = document["sizes"], document["targets"]
    head = ("", *(f"{int(size):,} integrations" for size in sizes), "target")
    rows = [
        (
            text,
            *(f"{found['seconds'][name]['median']:.3f} s" for found in sizes.values()),
            f"{targets[name]:g} s" if name in targets else "",
        )
        for name, text in _NAMES.items()
    ]
    rows += [
        (f"{text} of an integration of {document['users']} users", *_syncs(sizes, kind), "")
        for kind, text in _SYNCS.items()
        if document["users"]
    ]
    rows += [
        ("runs that the schedule requests", *_answers(sizes, "daily_runs"), ""),
        ("runs that the recovery sensor requests", *_answers(sizes, "recovery_runs"), ""),
        ("peak memory", *(f"{found['peak_mib']:,} MiB" for found in sizes.values()), ""),
    ]
    return (
        f"# Looking after a fleet\n\n{_WHAT.format(days=document['days'])}\n"
        f"{markdown_table(head, rows)}\nMedian of {document['repeat']} repetitions.\n\n"
        f"{described(document['machine'])}\n\nMade by `python -m benchmarks scaling`.\n"
    )


def _syncs(sizes: dict[str, Any], kind: str) -> list[str]:
    """Seconds of one sync, and their ratio to those of the smallest fleet."""
    found = [one["sync"][f"{kind}_seconds"] for one in sizes.values()]
    return [f"{seconds:.4f} s ({seconds / found[0]:.2f} ×)" for seconds in found]


def _answers(sizes: dict[str, Any], name: str) -> list[str]:
    return [f"{found['answers'][name]:,}" for found in sizes.values()]
