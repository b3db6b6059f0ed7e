"""The contenders that sync one large tenant three times: this platform, dlt, a straight line.

Nothing changes before the second sync; one user in a hundred changes before the third. The module
also times the bare comparison that is the reference for ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contender import Clock
from benchmarks.extract.contenders import indexed
from benchmarks.extract.provider import TOKEN, set_edition, user

CONNECTIONS = 8


def elt_assets(url: str, users: int, page_size: int) -> dict[str, Any]:
    """Sync with the engine as a run of the sync job does; also return the seconds of each stage."""
    from elt_assets.config.settings import load_settings
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.sync.service import SyncService
    from elt_assets.sync.streams import USERS

    os.environ["BENCHMARK_TOKEN"] = TOKEN
    warm, large = IntegrationRef("benchmark", "warm"), IntegrationRef("benchmark", "large")
    stages: dict[str, dict[str, float]] = {}
    with SyncService.open(load_settings(home=Path("home"))) as platform:
        for ref, count in ((warm, 1), (large, users)):
            platform.registry.add(ref, "rest", indexed(url, count, page_size, CONNECTIONS))

        def sync(name: str) -> int:
            (outcome,) = platform.sync(USERS, [large], sync_id=name)
            if outcome.error or not outcome.certificate.complete:
                raise RuntimeError(f"{outcome.error} {outcome.certificate.reasons}")
            stages[name] = outcome.seconds
            return outcome.counts.latest

        list(platform.sync(USERS, [warm], sync_id="warm"))
        return _thrice(url, sync) | {"stages": stages}


def straight_line(url: str, users: int, page_size: int) -> dict[str, Any]:
    """Sync with the pipeline of straight_line.py."""
    from benchmarks.large.straight_line import StraightLine

    line = StraightLine(url, users, page_size)
    return _thrice(url, lambda _: line.sync())


def dlt(url: str, users: int, page_size: int, file_format: str, strategy: str) -> dict[str, Any]:
    """Sync with dlt's `rest_api` source, merged by key into a DuckDB file."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["NORMALIZE__WORKERS"] = "2"
    import dlt

    from benchmarks import dlt_source

    source = dlt_source.users(url, users, page_size, strategy)
    pipeline = dlt.pipeline(
        pipeline_name="large",
        pipelines_dir="pipelines",
        destination=dlt.destinations.duckdb("large.duckdb"),
        dataset_name="directory",
    )

    def sync(_: str) -> int:
        pipeline.run(source, loader_file_format=file_format)
        with pipeline.sql_client() as client:
            ((rows,),) = client.execute_sql("SELECT count(*) FROM users")
        return int(rows)

    return _thrice(url, sync)


def bare_comparison(url: str, users: int, page_size: int) -> dict[str, Any]:
    """Compare and write users of whom one in a hundred changed, by one join and a bulk write."""
    import pyarrow as pa

    from benchmarks.large.straight_line import StraightLine, batch_of, decoded

    line = StraightLine(url, users, page_size)

    def staged(edition: int) -> pa.Table:
        starts = range(0, users, page_size)
        return pa.Table.from_batches(
            [
                batch_of([decoded(user(n, edition)) for n in range(s, min(s + page_size, users))])
                for s in starts
            ]
        )

    line.apply(staged(0))
    changed = staged(1)
    clock = Clock()
    line.apply(changed)
    clock.read("changed")
    return clock.answer(line.count())


def _thrice(url: str, sync: Callable[[str], int]) -> dict[str, Any]:
    """Sync three times; seconds count from the beginning of the first sync."""
    clock = Clock()
    sync("first")
    clock.read("first")
    sync("unchanged")
    clock.read("unchanged")
    set_edition(url, 1)
    clock.read("waited")
    try:
        rows = sync("changed")
        clock.read("changed")
    finally:
        set_edition(url, 0)
    return clock.answer(rows)
