"""The comparison of sizes: each in a process of its own, results next to their targets.

What is measured at one size is in `ticks`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contender import run
from benchmarks.extract.provider import serving
from benchmarks.machine import machine
from benchmarks.results import summary

PACKAGES = ("elt-assets", "dagster", "duckdb", "adbc-driver-sqlite")
TARGETS = {"schedule": 5.0, "registry_sensor_quiet": 5.0, "registry_sensor_50_new": 5.0}
"""Seconds, for 10,000 integrations."""


def measure(
    sizes: Sequence[int], days: int, repeat: int, users: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """The whole result as a JSON document; integrations of so many `users` are synced, if any."""
    found: dict[str, Any] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            answer = run(
                "benchmarks.scaling.ticks:ticks",
                {"integrations": size, "days": days, "repeat": repeat},
                Path(folder),
            )
        seconds = {name: summary(runs) for name, runs in answer["seconds"].items()}
        found[str(size)] = {
            "seconds": seconds,
            "answers": answer["answers"],
            "making": round(answer["making"], 1),
            "peak_mib": answer["peak_mib"],
            "sync": _syncs(size, users),
        }
        slowest = max(seconds, key=lambda name: seconds[name]["median"])
        progress(
            f"{size:,} integrations: slowest is {slowest}, {seconds[slowest]['median']:.2f} s; "
            f"seconds of a sync {found[str(size)]['sync']}"
        )
    return {
        "benchmark": "scaling",
        "days": days,
        "repeat": repeat,
        "users": users,
        "machine": machine(PACKAGES),
        "targets": TARGETS,
        "sizes": found,
    }


def _syncs(integrations: int, users: int) -> dict[str, float]:
    """Seconds of one integration's sync in a fleet of that size, in runs like the daemon's."""
    if not users:
        return {}
    arguments = {"integrations": integrations, "users": users, "page_size": users}
    with serving(users, 0) as url, tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        answer = run(
            "benchmarks.fleet.contenders:elt_assets", {"url": url, **arguments}, Path(folder)
        )
    found: dict[str, float] = {}
    for clock in ("seconds", "cpu"):
        first, both = answer[clock]["first"], answer[clock]["both"]
        found |= {
            f"first_{clock}": round(first / integrations, 4),
            f"unchanged_{clock}": round((both - first) / integrations, 4),
        }
    return found
