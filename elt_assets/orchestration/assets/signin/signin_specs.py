"""The specs of the assets of sign-in events: names, lineage, queues and columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import dagster as dg

from elt_assets.orchestration.assets.table_specs import OWNER, asset_key
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
"""What steps ask for by themselves (event_step): attached to them, Dagster would also retry a
step that somebody terminates."""

_FIRST_OUT_OF_THE_QUEUE = {"dagster/priority": "10"}


class Queue(StrEnum):
    """The pools, which bound how many steps of a kind go on at a time in the installation."""

    EXTRACT = "extract"
    TRANSFORM = "transform"
    LOAD = "load"


@dataclass(frozen=True, slots=True)
class EventAsset:
    """One of the assets: `source` is where its rows come from, api, csv or both."""

    name: str
    queue: Queue
    source: str
    kinds: frozenset[str]
    description: str
    after: tuple[str, ...] = ()
    retries: dg.RetryPolicy = RETRIES
    tags: Mapping[str, str] | None = None

    @property
    def key(self) -> dg.AssetKey:
        """The asset's key."""
        return dg.AssetKey(self.name)

    def declared(
        self, days: dg.DailyPartitionsDefinition, **more: Any
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """The decorator that makes an asset of the function that fills it on a day."""
        decorate: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
            name=self.name,
            deps=self._deps(),
            partitions_def=days,
            group_name=GROUP,
            owners=[OWNER],
            kinds=set(self.kinds),
            description=self.description,
            pool=str(self.queue),
            op_tags=self.tags,
            # Of another schema, what was made before shows as out of date.
            code_version=None if self.queue is Queue.EXTRACT else SCHEMA,
            metadata={"dagster/table_name": f"analytics.{_TABLES.get(self.name, self.name)}"},
            **more,
        )
        return decorate

    def _deps(self) -> Sequence[dg.AssetDep]:
        deps = [dg.AssetDep(name) for name in self.after]
        if self is SUMMARY:
            users = asset_key(USERS, Stage.LATEST)
            deps.append(dg.AssetDep(users, partition_mapping=dg.AllPartitionMapping()))
        return deps


_TABLES = {"api_events": "raw_api_events", "csv_events": "raw_csv_events"}

API_EVENTS = EventAsset(
    "api_events",
    Queue.EXTRACT,
    "api",
    frozenset({"duckdb", "http"}),
    "What the APIs of all integrations that offer sign-in events recorded on the day, page by "
    "page as it was sent. An interrupted reading goes on after its last page.",
    retries=EXTRACT_RETRIES,
)
CSV_EVENTS = EventAsset(
    "csv_events",
    Queue.EXTRACT,
    "csv",
    frozenset({"duckdb", "csv"}),
    "The records of the export files in the day's folder, as they are there. A file that was "
    "loaded before, under whatever name, is recognised.",
    retries=EXTRACT_RETRIES,
)
NORMALIZED_API_EVENTS = EventAsset(
    "normalized_api_events",
    Queue.TRANSFORM,
    "api",
    frozenset({"duckdb"}),
    "The day's records of the APIs in the declared schema; what does not fit it is a dead letter.",
    after=(API_EVENTS.name,),
)
NORMALIZED_CSV_EVENTS = EventAsset(
    "normalized_csv_events",
    Queue.TRANSFORM,
    "csv",
    frozenset({"duckdb"}),
    "The day's records of the files in the declared schema; what does not fit it is a dead letter.",
    after=(CSV_EVENTS.name,),
)
SIGNIN_EVENTS = EventAsset(
    "signin_events",
    Queue.LOAD,
    "api, csv",
    frozenset({"duckdb"}),
    "Every sign-in once, whichever source told of it. Late events of an earlier day change that "
    "day, and no other.",
    after=(NORMALIZED_API_EVENTS.name, NORMALIZED_CSV_EVENTS.name),
    tags=_FIRST_OUT_OF_THE_QUEUE,
)
SUMMARY = EventAsset(
    "daily_signin_summary",
    Queue.LOAD,
    "api, csv",
    frozenset({"duckdb"}),
    "By organization: sign-ins, failures, distinct users, countries new to them, and sign-ins of "
    "users that were unknown or inactive on that day.",
    after=(SIGNIN_EVENTS.name,),
    tags=_FIRST_OUT_OF_THE_QUEUE,
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
    """Every asset that cannot be made without this one, in the order in which they are made."""
    reached = {name}
    found = []
    for asset in EVENT_ASSETS:
        if reached.intersection(asset.after):
            reached.add(asset.name)
            found.append(asset)
    return found
