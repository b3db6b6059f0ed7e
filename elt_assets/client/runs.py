"""Jobs and runs as a web server describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec

from elt_assets.orchestration.assets.stream_assets import SYNC_ID_TAG
from elt_assets.orchestration.jobs.sync_jobs import ENDED
from elt_assets.orchestration.partitions import (
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    keys_of_run,
)

WAITING = ("QUEUED", "NOT_STARTED")
RUNNING = ("STARTING", "STARTED", "CANCELING")

_FINISHED = frozenset(status.value for status in ENDED)


class Job(msgspec.Struct, frozen=True):
    """A job that can be started, and the code location that has it."""

    name: str
    repository: str
    location: str


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
    config: dict[str, Any] = {}

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Self:
        """The run that the fragment `RunFields` describes."""
        tags = {tag["key"]: tag["value"] for tag in node["tags"]}
        return msgspec.convert({**node, "tags": tags, "config": node["config"] or {}}, cls)

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.status in _FINISHED

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
