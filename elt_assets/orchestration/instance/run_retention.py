"""Delete old runs of this installation and their events from Dagster's history.

Dagster prunes ticks itself (see dagster.yaml), but not runs. A partition whose newest event is
deleted loses its status in the UI; with a daily sync, no partition has such an old newest event.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from elt_assets.orchestration.dagster_internals import AssetKeyTable
from elt_assets.orchestration.jobs.sync_jobs import ENDED, SHARED_JOB
from elt_assets.sync.admin.maintenance import Work

BATCH = 100


@dataclass(frozen=True, slots=True)
class OwnRuns:
    """Which runs of an instance belong to one installation.

    A run of one of its jobs has the `tags` of these jobs: the name of a job would not do, because
    another code location may have a job of that name. A run of the shared job belongs to the
    installation if it selects nothing but `assets` and their checks.
    """

    tags: Mapping[str, str]
    assets: Collection[dg.AssetKey]

    def has(self, run: dg.DagsterRun) -> bool:
        """Whether the run belongs to the installation."""
        if self.tags.items() <= run.tags.items():
            return True
        checks = run.asset_check_selection or ()
        selected = {*(run.asset_selection or ()), *(check.asset_key for check in checks)}
        return run.job_name == SHARED_JOB and bool(selected) and selected <= set(self.assets)

    def old(self, instance: dg.DagsterInstance, days: int) -> list[str]:
        """The ids of its ended runs that were created more than `days` ago."""
        before = datetime.now(UTC) - timedelta(days=days)
        return [
            run.run_id
            for among in (
                dg.RunsFilter(statuses=ENDED, created_before=before, tags=dict(self.tags)),
                dg.RunsFilter(statuses=ENDED, created_before=before, job_name=SHARED_JOB),
            )
            for run in _runs(instance, among)
            if self.has(run)
        ]


def delete_old_runs(
    instance: dg.DagsterInstance, days: int, own: OwnRuns, *, dry_run: bool = False
) -> Work:
    """Delete `own` ended runs that were created more than `days` ago, with events and logs."""
    old = own.old(instance, days)
    if dry_run:
        return Work("runs of Dagster", len(old))
    before = _size(instance)
    for run_id in old:
        instance.delete_run(run_id)
        for leftover in _files(instance, run_id):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
    if old:
        _forget_newest(instance, old)
        _vacuum(instance)
    return Work("runs of Dagster", len(old), before - _size(instance))


def _forget_newest(instance: dg.DagsterInstance, run_ids: Collection[str]) -> None:
    """Drop the copies of deleted events that Dagster keeps as the newest of their asset."""
    events: Any = instance.event_log_storage
    keys = AssetKeyTable.c
    with events.index_connection() as connection:
        newest = connection.execute(
            sa.select(keys.id, keys.last_materialization).where(
                keys.last_materialization.is_not(None)
            )
        )
        deleted = [
            row.id for row in newest if any(one in row.last_materialization for one in run_ids)
        ]
        if deleted:
            connection.execute(
                AssetKeyTable.update()
                .where(keys.id.in_(deleted))
                .values(last_materialization=None, last_run_id=None)
            )


def _runs(instance: dg.DagsterInstance, among: dg.RunsFilter) -> Iterator[dg.DagsterRun]:
    """All runs of a filter, read in batches."""
    cursor: str | None = None
    while runs := instance.get_runs(among, cursor=cursor, limit=BATCH):
        yield from runs
        cursor = runs[-1].run_id


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
