"""The specs of the assets of sign-in events: names, lineage, queues and columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dagster as dg

from elt_assets.orchestration.placement import Placement
from elt_assets.signin_events.pipeline import SCHEMA
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import USERS

GROUP = "signin_events"

EXTRACT_RETRIES = dg.RetryPolicy(
    max_retries=5, delay=1.0, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
RETRIES = dg.RetryPolicy(
    max_retries=3, delay=1.0, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

_FIRST_IN_QUEUE = {"dagster/priority": "10"}


class StepPool(StrEnum):
    """The pools, which limit the concurrent steps of a kind in the installation."""

    EXTRACT = "extract"
    TRANSFORM = "transform"
    LOAD = "load"


@dataclass(frozen=True, slots=True)
class EventAsset:
    """One of the assets; `source` is the origin of its rows: api, csv or both."""

    name: str
    queue: StepPool
    source: str
    kinds: frozenset[str]
    description: str
    after: tuple[str, ...] = ()
    retries: dg.RetryPolicy = RETRIES
    tags: Mapping[str, str] | None = None

    @property
    def key(self) -> dg.AssetKey:
        """The asset's key in the stand-alone installation."""
        return dg.AssetKey(self.name)

    def declared(
        self, days: dg.DailyPartitionsDefinition, at: Placement, **more: Any
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """The decorator for the function that fills the asset for a day."""
        decorate: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
            key=at.key(self.name),
            deps=self._deps(at),
            partitions_def=days,
            group_name=at.group_or(GROUP),
            owners=list(at.owners),
            kinds=set(self.kinds),
            description=self.description,
            pool=at.name(str(self.queue)),
            op_tags=self.tags,
            retry_policy=at.retries_or(self.retries),
            required_resource_keys=at.required,
            # After a change of the schema, older partitions show as out of date.
            code_version=None if self.queue is StepPool.EXTRACT else SCHEMA,
            metadata={"dagster/table_name": f"analytics.{_TABLES.get(self.name, self.name)}"},
            **more,
        )
        return decorate

    def _deps(self, at: Placement) -> Sequence[dg.AssetDep]:
        deps = [dg.AssetDep(at.key(name)) for name in self.after]
        if self is SUMMARY and USERS in at.streams:
            users = at.table(USERS, Stage.LATEST)
            deps.append(dg.AssetDep(users, partition_mapping=dg.AllPartitionMapping()))
        return deps


_TABLES = {"api_events": "raw_api_events", "csv_events": "raw_csv_events"}

API_EVENTS = EventAsset(
    "api_events",
    StepPool.EXTRACT,
    "api",
    frozenset({"duckdb", "http"}),
    "The sign-ins that the APIs of all integrations recorded on the day, page by page as sent. An "
    "interrupted extraction continues after its last page.",
    retries=EXTRACT_RETRIES,
)
CSV_EVENTS = EventAsset(
    "csv_events",
    StepPool.EXTRACT,
    "csv",
    frozenset({"duckdb", "csv"}),
    "The records of the export files in the day's folder, unchanged. A file that was loaded "
    "before is recognized under any name.",
    retries=EXTRACT_RETRIES,
)
NORMALIZED_API_EVENTS = EventAsset(
    "normalized_api_events",
    StepPool.TRANSFORM,
    "api",
    frozenset({"duckdb"}),
    "The day's API records in the declared schema; others become dead letters.",
    after=(API_EVENTS.name,),
)
NORMALIZED_CSV_EVENTS = EventAsset(
    "normalized_csv_events",
    StepPool.TRANSFORM,
    "csv",
    frozenset({"duckdb"}),
    "The day's file records in the declared schema; others become dead letters.",
    after=(CSV_EVENTS.name,),
)
SIGNIN_EVENTS = EventAsset(
    "signin_events",
    StepPool.LOAD,
    "api, csv",
    frozenset({"duckdb"}),
    "Every sign-in once, whichever source reported it. Late events of an earlier day change only "
    "that day.",
    after=(NORMALIZED_API_EVENTS.name, NORMALIZED_CSV_EVENTS.name),
    tags=_FIRST_IN_QUEUE,
)
SUMMARY = EventAsset(
    "daily_signin_summary",
    StepPool.LOAD,
    "api, csv",
    frozenset({"duckdb"}),
    "By organization: sign-ins, failures, distinct users, countries new to them, and sign-ins of "
    "users that were unknown or inactive on that day.",
    after=(SIGNIN_EVENTS.name,),
    tags=_FIRST_IN_QUEUE,
)

EVENT_ASSETS = (
    API_EVENTS,
    CSV_EVENTS,
    NORMALIZED_API_EVENTS,
    NORMALIZED_CSV_EVENTS,
    SIGNIN_EVENTS,
    SUMMARY,
)


def following(name: str) -> list[EventAsset]:
    """Every asset that depends on this one, in the order of execution."""
    reached = {name}
    found = []
    for asset in EVENT_ASSETS:
        if reached.intersection(asset.after):
            reached.add(asset.name)
            found.append(asset)
    return found
