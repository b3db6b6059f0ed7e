"""Delete old runs and their events from Dagster's history, and reclaim their space.

Dagster prunes ticks itself (see dagster.yaml), but not runs. A partition whose newest event is
deleted loses its status in the UI; with a daily sync, no partition has such an old newest event.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from elt_assets.orchestration.jobs.sync_jobs import ENDED
from elt_assets.sync.admin.maintenance import Work

BATCH = 100


def delete_old_runs(instance: dg.DagsterInstance, days: int, *, dry_run: bool = False) -> Work:
    """Delete ended runs that were created more than `days` ago, with events and logs."""
    old = dg.RunsFilter(statuses=ENDED, created_before=datetime.now(UTC) - timedelta(days=days))
    if dry_run:
        return Work("runs of Dagster", instance.get_runs_count(old))
    before = _size(instance)
    count = 0
    while records := instance.get_run_records(old, limit=BATCH, ascending=True):
        for record in records:
            run_id = record.dagster_run.run_id
            instance.delete_run(run_id)
            for leftover in _files(instance, run_id):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
            count += 1
    if count:
        _vacuum(instance)
    return Work("runs of Dagster", count, before - _size(instance))


def _files(instance: dg.DagsterInstance, run_id: str) -> Iterator[Path]:
    """The files that deleting a run leaves in local storage: the emptied event log, and output."""
    shard = getattr(instance.event_log_storage, "path_for_shard", None)
    if shard is not None:
        for suffix in ("", "-wal", "-shm"):
            yield Path(f"{shard(run_id)}{suffix}")
    yield Path(instance.storage_directory()) / run_id


def _vacuum(instance: dg.DagsterInstance) -> None:
    """Reclaim the space of SQLite; other databases do so themselves."""
    runs: Any = instance.run_storage
    events: Any = instance.event_log_storage
    for connect in (runs.connect, events.index_connection):
        with connect() as connection:
            if connection.dialect.name != "sqlite":
                continue
            try:
                connection.exec_driver_sql("VACUUM")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            except sa.exc.OperationalError:
                # Another process is writing. The space is reused, or reclaimed the next time.
                continue


def _size(instance: dg.DagsterInstance) -> int:
    """Bytes under the instance's own folder."""
    return sum(path.stat().st_size for path in Path(instance.root_directory).rglob("*.db*"))
