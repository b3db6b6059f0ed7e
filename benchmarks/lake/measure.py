"""The measurement: syncs in a lake of more and more integrations, and commits by processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.lake.installation import connect, drop, fill, installation
from benchmarks.machine import machine
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.testbed.servers import Server, postgresql

PACKAGES = ("elt-assets", "duckdb", "duckdb-extension-ducklake", "pyarrow", "dagster")
_SYNCED = 8
_COMMITS = 25
_PROCESSES = (1, 2, 4, 8)


def measure(sizes: Sequence[int], users: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document; on a server of its own that commits to the disk."""
    before = machine(PACKAGES)
    with (
        postgresql("fsync=on", "max_connections=300") as server,
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
    ):
        syncs = [_syncs(server, Path(folder), size, users, progress) for size in sizes]
        commits = [_commits(server, Path(folder), number, progress) for number in _PROCESSES]
    return {
        "benchmark": "lake",
        "plan": {"integrations": list(sizes), "users": users, "synced": _SYNCED},
        "machine": before,
        "syncs": syncs,
        "commits": commits,
    }


def _syncs(
    server: Server, folder: Path, size: int, users: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    refs = [IntegrationRef("measured", f"i-{number}") for number in range(_SYNCED)]
    found: dict[str, Any] = {"integrations": size}
    with installation(server, folder, f"syncs_{size}") as platform:
        fill(platform, size)
        for ref in refs:
            connect(platform, ref)
            drop(platform, ref, users, 0)
        # The first sync opens the connections that stay open.
        _timed(platform, refs[:1], "warm")
        for name, edition in (("first", 0), ("unchanged", 0), ("changed", 1)):
            for ref in refs:
                drop(platform, ref, users, edition)
            found[name] = _timed(platform, refs[1:], name)
        found["look"] = _looked(platform, refs[1:])
        found["upkeep"] = _upkeep(platform)
    progress(
        f"{size:,} integrations: "
        + ", ".join(f"{name} {found[name]['seconds']:.3f} s" for name in ("first", "unchanged"))
    )
    return found


def _timed(platform: SyncService, refs: Sequence[IntegrationRef], sync_id: str) -> dict[str, float]:
    seconds, processor = [], []
    for ref in refs:
        started, used = time.perf_counter(), time.process_time()
        (outcome,) = platform.sync(USERS, [ref], sync_id=sync_id)
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
        _must_be_well(outcome, sync_id)
    return {"seconds": round(median(seconds), 4), "processor": round(median(processor), 4)}


def _must_be_well(outcome: Outcome, sync_id: str) -> None:
    wanted = Status.UNCHANGED if sync_id == "unchanged" else Status.APPLIED
    if outcome.status is not wanted:
        raise RuntimeError(f"{outcome.partition} is {outcome.status}: {outcome.error}")


def _looked(platform: SyncService, refs: Sequence[IntegrationRef]) -> dict[str, float]:
    """Seconds to open an integration's part of the lake and count its changes."""
    seconds = []
    for ref in refs:
        started = time.perf_counter()
        with platform.warehouses.open(ref, read_only=True) as warehouse:
            warehouse.execute(f"SELECT count(*) FROM {USERS.cdc}").fetchall()
        seconds.append(time.perf_counter() - started)
    return {"seconds": round(median(seconds), 4)}


def _upkeep(platform: SyncService) -> dict[str, float]:
    started = time.perf_counter()
    platform.warehouses.look_after(dry_run=False)
    return {"seconds": round(time.perf_counter() - started, 2)}


def _commits(
    server: Server, folder: Path, processes: int, progress: Callable[[str], None]
) -> dict[str, float]:
    """Measure how many commits a second, of 1,000 records each, that many processes make."""
    with installation(server, folder, f"commits_{processes}") as platform:
        platform.warehouses.inspect()
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.lake.committer", str(number), str(_COMMITS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(processes)
        ]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        started = time.perf_counter()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        if any(process.wait() for process in running):
            raise RuntimeError("a process that commits has failed")
        seconds = time.perf_counter() - started
    rate = processes * _COMMITS / seconds
    progress(f"{processes} processes: {rate:.1f} commits a second")
    return {"processes": processes, "commits_a_second": round(rate, 1)}
