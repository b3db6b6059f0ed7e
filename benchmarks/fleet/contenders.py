"""The contenders that sync a fleet: this platform, Dagster by default, dlt, a plain loop.

Each contender syncs `integrations` tenants of `users` users twice; nothing changes before the
second sync. Each one first syncs a tenant of its own that is not measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contender import Clock
from benchmarks.extract.provider import TOKEN

FIELDS = {
    "external_id": "id",
    "name": "profile.displayName",
    "email": "profile.email",
    "active": 'status == "ACTIVE"',
    "source_updated_at": "lastUpdated",
    "department": "profile.department",
    "title": "profile.title",
}


def provider_data(url: str, users: int, page_size: int) -> dict[str, Any]:
    """The connection of one tenant."""
    return {
        "api_endpoint": url,
        "auth": {"type": "bearer", "token": {"env": "BENCHMARK_TOKEN"}},
        "streams": {
            "users": {
                "path": "/cursor",
                "params": {"size": page_size, "of": users},
                "records": "items",
                "pagination": {"type": "cursor", "cursor": "next", "param": "after"},
                "fields": FIELDS,
            }
        },
    }


def elt_assets(url: str, integrations: int, users: int, page_size: int) -> dict[str, Any]:
    """Sync in runs of the sync job over ranges of partitions, as the daily schedule does."""
    from elt_assets.client.in_process_sync import run_sync
    from elt_assets.client.sync_command import SyncCommand
    from elt_assets.orchestration.instance.opening import open_instance

    with _registered(url, integrations, users, page_size) as (platform, warm, refs):
        settings = platform.settings
        platform.close()
        with open_instance(settings) as instance:

            def sync(which: Any, sync_id: str) -> Any:
                command = SyncCommand(sync_id)
                return run_sync(which, command, settings=settings, instance=instance)

            sync([warm], "warm")
            clock = Clock()
            first = sync(refs, "first")
            clock.read("first")
            second = sync(refs, "second")
            clock.read("both")
    _all_well(first, "applied", users)
    _all_well(second, "unchanged", users)
    requests = {"first": _requests(first), "unchanged": _requests(second)}
    return clock.answer(len(first) * users) | {"requests": requests}


def engine_alone(url: str, integrations: int, users: int, page_size: int) -> dict[str, Any]:
    """Sync with the engine alone: the difference to `elt_assets` is the cost of Dagster."""
    from elt_assets.sync.streams import USERS

    with _registered(url, integrations, users, page_size) as (platform, warm, refs):
        list(platform.sync(USERS, [warm], sync_id="warm"))
        clock = Clock()
        first = list(platform.sync(USERS, refs, sync_id="first"))
        clock.read("first")
        second = list(platform.sync(USERS, refs, sync_id="second"))
        clock.read("both")
    _all_well(first, "applied", users)
    _all_well(second, "unchanged", users)
    return clock.answer(len(first) * users)


def dagster_default(url: str, integrations: int, users: int, page_size: int) -> dict[str, Any]:
    """Sync as Dagster does by default: a run a partition, three steps, each in its own process."""
    with _registered(url, integrations, users, page_size) as (platform, warm, refs):
        home = platform.settings.home
    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    os.environ["ELT_ASSETS_HOME"] = str(home)
    Path(os.environ["DAGSTER_HOME"]).mkdir(parents=True)

    def materialize(key: str) -> None:
        subprocess.run(
            [
                *(sys.executable, "-m", "dagster", "asset", "materialize", "--select", "*"),
                *("--partition", key, "-m", "benchmarks.fleet.default_graph"),
            ],
            check=True,
            capture_output=True,
        )

    materialize(warm.partition_key)
    clock = Clock()
    for ref in refs:
        materialize(ref.partition_key)
    clock.read("first")
    for ref in refs:
        materialize(ref.partition_key)
    clock.read("both")
    return clock.answer(len(refs) * users)


def dlt_per_tenant(url: str, integrations: int, users: int, page_size: int) -> dict[str, Any]:
    """Sync with a dlt pipeline for each tenant, merged by key into its own DuckDB file."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt

    from benchmarks import dlt_source

    def sync(tenant: int, count: int) -> int:
        pipeline = dlt.pipeline(
            pipeline_name=f"tenant_{tenant}",
            pipelines_dir="pipelines",
            destination=dlt.destinations.duckdb(f"tenant_{tenant}.duckdb"),
            dataset_name="users",
        )
        pipeline.run(dlt_source.users(url, count, page_size), loader_file_format="parquet")
        with pipeline.sql_client() as client:
            ((rows,),) = client.execute_sql("SELECT count(*) FROM users")
        return int(rows)

    sync(-1, 1)
    clock = Clock()
    rows = sum(sync(tenant, users) for tenant in range(integrations))
    clock.read("first")
    for tenant in range(integrations):
        sync(tenant, users)
    clock.read("both")
    return clock.answer(rows)


def plain_loop(url: str, integrations: int, users: int, page_size: int) -> dict[str, Any]:
    """Sync tenant after tenant with the pipeline of plain_loop.py."""
    from benchmarks.fleet.plain_loop import PlainLoop

    loop = PlainLoop(url, page_size)
    loop.sync("warm", 1)
    clock = Clock()
    rows = sum(loop.sync(f"tenant-{tenant}", users) for tenant in range(integrations))
    clock.read("first")
    for tenant in range(integrations):
        loop.sync(f"tenant-{tenant}", users)
    clock.read("both")
    return clock.answer(rows)


@contextmanager
def _registered(url: str, integrations: int, users: int, page_size: int) -> Iterator[Any]:
    """Yield a new installation, a tenant of one user to warm up, and the tenants to measure."""
    from elt_assets.config.settings import load_settings
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.sync.service import SyncService

    os.environ["BENCHMARK_TOKEN"] = TOKEN

    warm = IntegrationRef("benchmark", "warm")
    refs = [IntegrationRef("benchmark", f"t-{number:05}") for number in range(integrations)]
    with SyncService.open(load_settings(home=Path("home"))) as platform:
        platform.registry.add(warm, "rest", provider_data(url, 1, page_size))
        for ref in refs:
            platform.registry.add(ref, "rest", provider_data(url, users, page_size))
        yield platform, warm, refs


def _requests(outcomes: list[Any]) -> float:
    """Requests of one sync, on average."""
    return float(sum(one.counts.requests for one in outcomes)) / len(outcomes)


def _all_well(outcomes: list[Any], status: str, users: int) -> None:
    wrong = [one for one in outcomes if one.status != status or one.counts.latest != users]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(outcomes)} went wrong, as {wrong[0]}")
