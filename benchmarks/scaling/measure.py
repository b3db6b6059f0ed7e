"""The comparison of sizes: each in a process of its own, targets beside what was found.

Belongs here: sizes, repetitions, targets. Does not: what is measured at one size (ticks).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contender import run
from benchmarks.machine import machine
from benchmarks.results import summary

PACKAGES = ("elt-assets", "dagster", "duckdb", "adbc-driver-sqlite")
TARGETS = {"schedule": 5.0, "registry_sensor_quiet": 5.0, "registry_sensor_50_new": 5.0}
"""Seconds, for 10,000 integrations."""


def measure(
    sizes: Sequence[int], days: int, repeat: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """The whole result as a JSON document."""
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
        }
        slowest = max(seconds, key=lambda name: seconds[name]["median"])
        progress(f"{size:,} integrations: slowest is {slowest}, {seconds[slowest]['median']:.2f} s")
    return {
        "benchmark": "scaling",
        "days": days,
        "repeat": repeat,
        "machine": machine(PACKAGES),
        "targets": TARGETS,
        "sizes": found,
    }
