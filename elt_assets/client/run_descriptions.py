"""Jobs and runs as a web server describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec

from elt_assets.orchestration.names import (
    EVENT_TABLES,
    SIGNIN_JOB,
    SYNC_ID_TAG,
    job_name,
    step_name,
    table_name,
)
from elt_assets.orchestration.partitions import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    keys_of_run,
)
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import STREAMS

WAITING = ("QUEUED", "NOT_STARTED")
RUNNING = ("STARTING", "STARTED", "CANCELING")

_FINISHED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

JOB_OF_TABLE = {
    table_name(stream, stage): job_name(stream) for stream in STREAMS.values() for stage in Stage
} | dict.fromkeys(EVENT_TABLES, SIGNIN_JOB)
"""The job that fills each table."""
STEPS_OF_JOB = {
    **{job_name(stream): {step_name(stream)} for stream in STREAMS.values()},
    SIGNIN_JOB: set(EVENT_TABLES),
}
"""The steps of each job that fills tables."""
_FILLING = frozenset(JOB_OF_TABLE.values())


class Job(msgspec.Struct, frozen=True):
    """A job that can be started, its code location, and the `tables` a run fills (empty: all)."""

    name: str
    repository: str
    location: str
    tables: tuple[str, ...] = ()


class Run(msgspec.Struct, frozen=True):
    """A run; times are seconds since 1970."""

    run_id: str
    job: str
    status: str
    tags: dict[str, str]
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    root_run_id: str | None = None
    assets: tuple[str, ...] = ()
    """The tables that were selected for the run; empty for all of its job."""
    config: dict[str, Any] = {}

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Self:
        """The run that the fragment `RunFields` describes."""
        tags = {tag["key"]: tag["value"] for tag in node["tags"]}
        assets = [asset["path"][-1] for asset in node.get("assets") or ()]
        return msgspec.convert(
            {**node, "tags": tags, "assets": assets, "config": node["config"] or {}}, cls
        )

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.status in _FINISHED

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs that can continue the run: its own, or those of its selected tables.

        "Materialize" and backfills of assets run in a job of Dagster's, which no client can start.
        """
        if not self.job.startswith("__"):
            return (self.job,)
        return tuple(dict.fromkeys(JOB_OF_TABLE[t] for t in self.assets if t in JOB_OF_TABLE))

    @property
    def syncs(self) -> bool:
        """Whether the run brings partitions of this project up to date."""
        return self.ends is not None and not _FILLING.isdisjoint(self.jobs)

    def selected(self, job: str) -> tuple[str, ...]:
        """The tables of `job` that were selected for the run; empty for all of them."""
        of_job = [table for table, its_job in JOB_OF_TABLE.items() if its_job == job]
        selected = tuple(table for table in of_job if table in self.assets)
        return () if len(selected) == len(of_job) else selected

    def config_of(self, job: str) -> dict[str, Any]:
        """The part of the run's configuration that `job`, one of its `jobs`, can take."""
        if job == self.job:
            return self.config
        steps = STEPS_OF_JOB[job]
        ops = {name: own for name, own in self.config.get("ops", {}).items() if name in steps}
        return {"ops": ops} if ops else {}

    @property
    def sync_id(self) -> str:
        """The sync that the run works on, by the rule that the run itself follows."""
        return self.tags.get(SYNC_ID_TAG) or self.root_run_id or self.run_id

    @property
    def ends(self) -> tuple[str, str] | None:
        """The first and the last partition of the run; None for a run without partitions."""
        single = self.tags.get(PARTITION_TAG)
        first = self.tags.get(RANGE_START_TAG, single)
        last = self.tags.get(RANGE_END_TAG, single)
        return None if first is None or last is None else (first, last)

    def integrations(self, instance_keys: Sequence[str]) -> list[str]:
        """The integrations of the run, in the order of `instance_keys`."""
        return keys_of_run(self.tags, instance_keys)
