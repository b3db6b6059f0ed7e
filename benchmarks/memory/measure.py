"""The measurement: the same three syncs at every size, each in a process of its own.

The result is the peak memory of each size and its ratio to the smallest. The syncs are those of
`large.contenders`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contender import run
from benchmarks.extract.provider import serving
from benchmarks.machine import machine

PACKAGES = ("elt-assets", "duckdb", "pyarrow", "adbc-driver-sqlite")


def measure(
    sizes: Sequence[int], page_size: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """The whole result as a JSON document; sizes in users, peaks in MiB of resident memory."""
    peaks: dict[str, int] = {}
    seconds: dict[str, float] = {}
    with serving(max(sizes), 0) as url:
        for users in sorted(sizes):
            arguments = {"url": url, "users": users, "page_size": page_size}
            with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                answer = run("benchmarks.large.contenders:elt_assets", arguments, Path(folder))
            if answer["rows"] != users:
                raise RuntimeError(f"{answer['rows']} users instead of {users}")
            peaks[str(users)] = answer["peak_mib"]
            seconds[str(users)] = round(answer["seconds"]["changed"], 1)
            progress(f"{users:,} users: {answer['peak_mib']:,} MiB")
    smallest = peaks[str(min(sizes))]
    return {
        "benchmark": "memory",
        "plan": {"sizes": sorted(sizes), "page_size": page_size},
        "machine": machine(PACKAGES),
        "peak_mib": peaks,
        "seconds": seconds,
        "ratios": {users: round(peak / smallest, 2) for users, peak in peaks.items()},
    }
