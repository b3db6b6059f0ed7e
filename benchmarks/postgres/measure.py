"""The comparison: applying a change of every user, ours and the bare way in turn."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.postgres.contenders import Bare, Changes, Ours
from benchmarks.results import summary
from elt_assets.config.settings import load_settings
from elt_assets_tests.testbed.servers import postgresql

PACKAGES = ("elt-assets", "duckdb", "pyarrow", "adbc-driver-postgresql")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    users: int
    repeat: int


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document; on a server of its own that commits to the disk."""
    before = machine(PACKAGES)
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    with (
        postgresql("fsync=on", "max_wal_size=8GB", "shared_buffers=256MB") as server,
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
    ):
        os.environ.update(server.settings("bench"))
        settings = load_settings(home=Path(folder))
        ours = Ours(settings, Changes(plan.users))
        bare = Bare(server.address("hr"), settings)
        try:
            for version in range(1, plan.repeat + 2):
                _once(ours, bare, version, seconds)
                if version == 1:
                    # The first version only inserts, which is not what is measured.
                    seconds = {name: [] for name in seconds}
                    continue
                if ours.rows(version) != plan.users:
                    raise RuntimeError(f"version {version} was not applied to everybody")
                spoken = ", ".join(f"{name} {runs[-1]:.1f} s" for name, runs in seconds.items())
                progress(f"{plan.users:,} changed users: {spoken}")
        finally:
            ours.close()
            bare.close()
    found = {name: summary(runs) for name, runs in seconds.items()}
    return {
        "benchmark": "postgres",
        "plan": asdict(plan),
        "machine": before,
        "contenders": found,
        "ratio": round(found["ours"]["minimum"] / found["bare"]["minimum"], 2),
    }


def _once(ours: Ours, bare: Bare, version: int, seconds: dict[str, list[float]]) -> None:
    bare.rest()
    seconds["ours"].append(ours.apply(version))
    bare.rest()
    with ours.changes(version) as changes:
        seconds["bare"].append(bare.apply(changes))
