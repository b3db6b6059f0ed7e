"""The place of an installation in a Dagster deployment: names, keys, tags and retries.

Every definition takes its name from a `Placement`, so that two installations, or an installation
and another owner's code, can share a code location.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from elt_assets.errors import InvalidInput
from elt_assets.orchestration import names
from elt_assets.sync.outcome import Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS, Stream

INSTALLATION_TAG = "elt_assets/installation"
"""Tag of our jobs, and so of their runs: the installation that they belong to."""

RUN_SETTINGS = {
    # A worker that was killed cannot report it: after this long, the run counts as dead.
    "dagster/max_runtime": "21600",
    # For crashed workers only: a step that fails inside a run is retried inside it.
    "dagster/max_retries": "2",
    "dagster/retry_on_asset_or_op_failure": "false",
}
"""Tags by which a run brings its settings along, whatever dagster.yaml says."""

OWNER = "team:identity-data"

_PART = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_OWN = "elt_assets"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how the definitions of one installation appear.

    `group` and `retry_policy` replace each definition's own where they are set.
    """

    key_prefix: tuple[str, ...] = ()
    group: str | None = None
    owners: tuple[str, ...] = (OWNER,)
    retry_policy: dg.RetryPolicy | None = None
    start_automation: bool = False
    streams: tuple[Stream, ...] = tuple(STREAMS.values())
    events: bool = True

    def __post_init__(self) -> None:
        for part in self.key_prefix:
            if not _PART.fullmatch(part):
                raise InvalidInput(
                    f"key_prefix has {part!r}: give letters, digits and _, beginning with a letter"
                )

    def name(self, own: str) -> str:
        """The name of a job, schedule, sensor, pool or set of partitions."""
        return "_".join((*self.key_prefix, own))

    def key(self, own: str) -> dg.AssetKey:
        return dg.AssetKey([*self.key_prefix, own])

    def step(self, own: str) -> str:
        """The name of a step, formed as Dagster forms that of an asset's step."""
        return self.key(own).to_python_identifier()

    def table(self, stream: Stream, stage: Stage) -> dg.AssetKey:
        """The asset of the table of `stream` that `stage` fills."""
        return self.key(names.table_name(stream, stage))

    def latest_tables(self) -> list[dg.AssetKey]:
        return [self.table(stream, Stage.LATEST) for stream in self.streams]

    def job(self, stream: Stream) -> str:
        return self.name(names.job_name(stream))

    @property
    def resource(self) -> str:
        """The key of the installation's resource, which also identifies the installation."""
        return "_".join((_OWN, *self.key_prefix))

    @property
    def required(self) -> set[str]:
        """The resource keys that a definition of the installation requires."""
        return {self.resource}

    def platform(self, context: Any) -> SyncService:
        """The installation's stores and engine, in a run or a tick."""
        found: SyncService = getattr(context.resources, self.resource)
        return found

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags by which runs of the installation's jobs are known."""
        return {INSTALLATION_TAG: self.resource}

    @property
    def job_tags(self) -> Mapping[str, str]:
        """The tags of every job: the installation, and the settings of its runs."""
        return {**self.tags, **RUN_SETTINGS}

    @property
    def partitions(self) -> str:
        """The name of the set of partitions in Dagster's instance."""
        return self.name(names.PARTITIONS)

    @property
    def integrations(self) -> dg.DynamicPartitionsDefinition:
        return dg.DynamicPartitionsDefinition(name=self.partitions)

    def group_or(self, own: str) -> str:
        return self.group or own

    def retries_or(self, own: dg.RetryPolicy) -> dg.RetryPolicy:
        return self.retry_policy or own

    def sensor(
        self, own: str, *, seconds: int, description: str, **jobs: Any
    ) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
        """The decorator of a sensor; `seconds` is the shortest time between two ticks."""
        return dg.sensor(
            name=self.name(own),
            minimum_interval_seconds=seconds,
            default_status=dg.DefaultSensorStatus[self._status],
            required_resource_keys=self.required,
            description=description,
            **jobs,
        )

    @property
    def schedules_are(self) -> dg.DefaultScheduleStatus:
        """Whether schedules run without being started."""
        return dg.DefaultScheduleStatus[self._status]

    @property
    def _status(self) -> str:
        return "RUNNING" if self.start_automation else "STOPPED"


STANDALONE = Placement(start_automation=True)
"""A code location of its own: no prefix, and automation that starts by itself."""
