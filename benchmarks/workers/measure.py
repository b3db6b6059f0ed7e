"""The measurement: a fleet behind a slow provider, synced by one worker or by two.

In a third case, one of two workers is killed in the middle of its work. The results of every case
are checked. The installation is in `elt_assets_tests.testbed.distributed`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import machine
from elt_assets_tests.testbed.distributed import Installation, installation
from elt_assets_tests.testbed.lakes import Lake
from elt_assets_tests.testbed.servers import Server, postgresql, redis

PACKAGES = ("elt-assets", "duckdb", "duckdb-extension-ducklake", "dagster", "dagster-celery")
_KILLED_AT = 0.4
"""Share of the integrations that are settled when a worker is killed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: integrations, users, milliseconds of latency, and the size of runs."""

    integrations: int
    users: int
    latency: float
    range_integrations: int
    concurrency: int


def measure(plan: Plan, progress: Callable[[str], None]) -> dict[str, Any]:
    """The whole result as a JSON document."""
    before = machine(PACKAGES)
    with postgresql("fsync=on", "max_connections=300") as server:
        found = {
            name: _run(server, plan, name, workers, kill, progress)
            for name, workers, kill in (("one", 1, False), ("two", 2, False), ("killed", 2, True))
        }
    return {
        "benchmark": "workers",
        "plan": asdict(plan),
        "machine": before,
        "contenders": found,
        "ratio": round(found["one"]["seconds"] / found["two"]["seconds"], 2),
    }


@contextmanager
def _installed(server: Server, plan: Plan, name: str) -> Iterator[Installation]:
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        pytest.MonkeyPatch.context() as environment,
        redis() as broker,
    ):
        data = Path(folder, "lake")
        data.mkdir()
        with installation(
            Lake(server, f"lake_{name}", data),
            broker,
            Path(folder),
            environment,
            integrations=plan.integrations,
            users=plan.users,
            latency=plan.latency,
            ELT_ASSETS_RANGE_INTEGRATIONS=str(plan.range_integrations),
            ELT_ASSETS_CONCURRENCY=str(plan.concurrency),
            ELT_ASSETS_MAX_RUNS="8",
        ) as found:
            yield found


def _run(
    server: Server,
    plan: Plan,
    name: str,
    workers: int,
    kill: bool,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Seconds from the first integration that is begun to the last that is settled."""
    with _installed(server, plan, name) as found:
        for number in range(workers):
            found.worker(f"worker-{number}", "--slots", "1")
        # The registry sensor requests the first syncs, range by range.
        daemon = found.daemon()
        found.until(lambda: _settled(server, found), daemon)
        started, first = time.perf_counter(), _settled(server, found)
        if kill:
            found.until(lambda: _settled(server, found) >= plan.integrations * _KILLED_AT, daemon)
            found.kill("worker-0")
        found.until(lambda: _settled(server, found) == plan.integrations, daemon)
        seconds = time.perf_counter() - started
        wrong = found.wrong()
    if wrong:
        raise RuntimeError(f"{name}: {wrong[:5]}")
    rate = (plan.integrations - first) / seconds
    progress(f"{name}: {seconds:.0f} s, {rate:.2f} integrations a second; equal to the provider")
    return {
        "workers": workers,
        "killed": kill,
        "seconds": round(seconds, 1),
        "rate": round(rate, 2),
    }


def _settled(server: Server, found: Installation) -> int:
    """Count settled syncs in the database: a command would take part of what is measured."""
    schema = found.environment["ELT_ASSETS_OPERATIONAL_SCHEMA"]
    return server.count(f"SELECT count(*) FROM {schema}.syncs WHERE status = 'applied'")
