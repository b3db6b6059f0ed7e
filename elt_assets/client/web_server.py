"""The client of a web server's GraphQL: every query, and its answer as values or as one error line.

Launching and terminating go through Dagster's own client. It has no call for lists of runs,
events, partitions or queues: those are plain queries over the same transport.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import gql
import msgspec
import requests
import yaml
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.requests import RequestsHTTPTransport

from elt_assets.errors import EltAssetsError, InvalidInput, NotFound
from elt_assets.orchestration.assets.stream_assets import SYNC_ID_TAG
from elt_assets.orchestration.jobs.sync_jobs import ENDED
from elt_assets.orchestration.partitions import (
    PARTITION_TAG,
    PARTITIONS,
    RANGE_END_TAG,
    RANGE_START_TAG,
    keys_of_run,
)

T = TypeVar("T")

FINISHED = frozenset(status.value for status in ENDED)
WAITING = ("QUEUED", "NOT_STARTED")
RUNNING = ("STARTING", "STARTED", "CANCELING")

HEARTBEAT_TOLERANCE = 180.0
"""Seconds without a heartbeat, which comes every 30 to 60, before the daemon counts as gone."""

_TIMEOUT = 60
_EVENTS = 1000
_RUNS = 100


class ServerSilent(EltAssetsError):
    """No Dagster web server answers at the address, or not as one does."""


class ServerRefused(EltAssetsError):
    """The web server answered and did not do what it was asked."""


class Job(msgspec.Struct, frozen=True):
    """A job that can be started, and where the server has it."""

    name: str
    repository: str
    location: str


class Run(msgspec.Struct, frozen=True):
    """A run as the server knows it; times are seconds since 1970."""

    run_id: str
    job: str
    status: str
    tags: dict[str, str]
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    root_run_id: str | None = None
    config: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.status in FINISHED

    @property
    def sync_id(self) -> str:
        """The sync it works on, by the rule that the run itself follows."""
        return self.tags.get(SYNC_ID_TAG) or self.root_run_id or self.run_id

    @property
    def ends(self) -> tuple[str, str] | None:
        """The first and the last integration it carries; None where it carries none."""
        single = self.tags.get(PARTITION_TAG)
        first = self.tags.get(RANGE_START_TAG, single)
        last = self.tags.get(RANGE_END_TAG, single)
        return None if first is None or last is None else (first, last)

    def integrations(self, instance_keys: Sequence[str]) -> list[str]:
        """The integrations it carries, in the order of `instance_keys`."""
        return keys_of_run(self.tags, instance_keys)


class Daemon(msgspec.Struct, frozen=True):
    """One of the daemon's parts, and when it last showed life."""

    name: str
    required: bool
    last_heartbeat: float | None
    errors: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether it showed life lately, if it is to; Dagster itself waits half an hour."""
        return not self.required or (
            self.last_heartbeat is not None
            and time.time() - self.last_heartbeat < HEARTBEAT_TOLERANCE
        )


class Pool(msgspec.Struct, frozen=True):
    """A concurrency pool: slots in all, taken, and steps that wait for one."""

    name: str
    slots: int
    taken: int
    waiting: int


class TagLimit(msgspec.Struct, frozen=True):
    """A limit on runs with a tag: on all, on those of one value, or on those of each value."""

    key: str
    limit: int
    value: str | None = None
    each_value: bool = False

    def counted(self, tags: Mapping[str, str]) -> str | None:
        """As what a run with these tags counts, None if not at all."""
        value = tags.get(self.key)
        if value is None or self.value not in (None, value):
            return None
        return value if self.each_value or self.value is not None else ""


class Queued(msgspec.Struct, frozen=True):
    """A run that waits, and the pools of the steps that it begins with.

    `begins_anyway` is whether one of those is in no pool.
    """

    run: Run
    pools: tuple[str, ...] = ()
    begins_anyway: bool = True


class Queue(msgspec.Struct, frozen=True):
    """What waits and what runs."""

    queued: int
    running: int
    limit: int | None
    oldest_queued_at: float | None
    pools: tuple[Pool, ...]
    daemons: tuple[Daemon, ...]


class PartitionStatuses(msgspec.Struct, frozen=True):
    """A table's partitions by how they stand; each is in one of the lists."""

    materialized: tuple[str, ...]
    failed: tuple[str, ...]
    never: tuple[str, ...]
    going: tuple[str, ...]


class Server:
    """The web server at `url`, for example http://127.0.0.1:3000."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(
                f"--url {url!r} is not the address of a web server; "
                "give one such as http://127.0.0.1:3000"
            )
        self._url = url.rstrip("/")
        transport = RequestsHTTPTransport(
            url=f"{self._url}/graphql", use_json=True, timeout=_TIMEOUT
        )
        self._dagster = DagsterGraphQLClient(parts.hostname, transport=transport)
        self._plain = gql.Client(transport=transport)

    def jobs(self) -> list[Job]:
        """Every job that has a name of its own."""
        answer = self._ask(_JOBS)["repositoriesOrError"]
        return [
            Job(job["name"], repository["name"], repository["location"]["name"])
            for repository in answer["nodes"]
            for job in repository["jobs"]
            if not job["name"].startswith("__")
        ]

    def job(self, name: str) -> Job:
        """The job of that name. Raises `NotFound` with those there are."""
        jobs = self.jobs()
        for job in jobs:
            if job.name == name:
                return job
        known = ", ".join(sorted({job.name for job in jobs})) or "none; does its code load?"
        raise NotFound(f"{self._url} has no job {name!r}; it has {known}")

    def launch(self, job: Job, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Start a run and return its id. Raises `ServerRefused` with what is wrong with it."""
        return self._told(
            lambda: self._dagster.submit_job_execution(
                job.name,
                repository_location_name=job.location,
                repository_name=job.repository,
                run_config=config,
                tags=dict(tags),
            )
        )

    def terminate(self, run_ids: Sequence[str]) -> None:
        """Ask runs to end: what they have committed is kept. Raises `ServerRefused`."""
        self._told(lambda: self._dagster.terminate_runs(list(run_ids)))

    def run(self, run_id: str) -> Run:
        """One run. Raises `NotFound`."""
        found = next(self.runs({"runIds": [run_id]}), None)
        if found is None:
            raise NotFound(f"{self._url} has no run {run_id}; `elt-assets list` shows the newest")
        return found

    def runs_of(self, name: str) -> list[Run]:
        """The runs that a person means by `name`, a run's id or a sync's; oldest first.

        Raises `NotFound`.
        """
        found = [*self.runs({"runIds": [name]})] or [*self.runs(_of_sync(name))]
        if not found:
            raise NotFound(
                f"{self._url} has no run and no sync {name!r}; `elt-assets list` shows the newest"
            )
        return found[::-1]

    def runs_of_sync(self, run: Run) -> list[Run]:
        """Every run that worked on the sync of `run`, oldest first."""
        found = {other.run_id: other for other in self.runs(_of_sync(run.sync_id))}
        return sorted({run.run_id: run, **found}.values(), key=lambda one: one.created_at)

    def runs(self, only: Mapping[str, Any]) -> Iterator[Run]:
        """Runs that Dagster's `RunsFilter` lets through, newest first, asked for as they go."""
        cursor = None
        while True:
            answer = self._ask(_RUNS_QUERY, only=only, after=cursor, limit=_RUNS)["runsOrError"]
            page = answer["results"]
            yield from map(_run, page)
            if len(page) < _RUNS:
                return
            cursor = page[-1]["runId"]

    def events(self, run_id: str, after: str | None = None) -> tuple[list[dict[str, Any]], str]:
        """What happened in a run since `after`, and the place to go on from."""
        events: list[dict[str, Any]] = []
        while True:
            answer = self._ask(_EVENTS_QUERY, run=run_id, after=after, limit=_EVENTS)["logsForRun"]
            events += answer["events"]
            after = answer["cursor"]
            if not answer["hasMore"]:
                return events, after

    def partition_keys(self) -> list[str]:
        """Every integration that the server knows, in its order."""
        nodes = self._ask(_PARTITIONS_QUERY)["assetNodes"]
        definitions = (node["partitionDefinition"] or {} for node in nodes)
        for node, definition in zip(nodes, definitions, strict=True):
            if definition.get("name") == PARTITIONS:
                keys: list[str] = self._ask(_KEYS_QUERY, asset={"path": node["assetKey"]["path"]})[
                    "assetNodeOrError"
                ]["partitionKeys"]
                return keys
        raise ServerRefused(f"{self._url} serves no assets of this project")

    def partition_statuses(self, table: Sequence[str]) -> PartitionStatuses:
        """How every partition of a table stands."""
        answer = self._ask(_STATUSES_QUERY, asset={"path": list(table)})["assetNodeOrError"]
        found = answer["assetPartitionStatuses"]
        going = found["materializingPartitions"]
        failed = [key for key in found["failedPartitions"] if key not in set(going)]
        # One that was materialized and has failed since is among both.
        newer = {*failed, *going}
        return PartitionStatuses(
            materialized=tuple(key for key in found["materializedPartitions"] if key not in newer),
            failed=tuple(failed),
            never=tuple(key for key in found["unmaterializedPartitions"] if key not in newer),
            going=tuple(going),
        )

    def failed_days(self, table: Sequence[str]) -> list[tuple[str, str]]:
        """The first and the last of each row of days of a table by day whose newest run failed."""
        answer = self._ask(_DAYS_QUERY, asset={"path": list(table)})["assetNodeOrError"]
        return [
            (one["startKey"], one["endKey"])
            for one in answer["assetPartitionStatuses"]["ranges"]
            if one["status"] == "FAILED"
        ]

    def materialized_at(self, table: Sequence[str], keys: Sequence[str]) -> dict[str, float]:
        """When each of these partitions was last materialized, in seconds since 1970, if ever."""
        found: dict[str, float] = {}
        for some in (keys[n : n + _EVENTS] for n in range(0, len(keys), _EVENTS)):
            asset = {"path": list(table)}
            answer = self._ask(_MATERIALIZED_QUERY, asset=asset, partitions=some)
            for event in answer["assetNodeOrError"]["latestMaterializationByPartition"]:
                if event is not None:
                    found[event["partition"]] = float(event["timestamp"]) / 1000
        return found

    def broken_locations(self) -> dict[str, str]:
        """Code locations that do not load, each with its error in one line."""
        entries = self._ask(_LOCATIONS)["workspaceOrError"]["locationEntries"]
        return {
            entry["name"]: _one_line(entry["locationOrLoadError"]["message"])
            for entry in entries
            if (entry["locationOrLoadError"] or {}).get("__typename") == "PythonError"
        }

    def queue(self) -> Queue:
        """What waits, what runs, and what takes things out of the queue."""
        answer = self._ask(_QUEUE_QUERY, queued=_in(WAITING), running=_in(RUNNING))
        instance = answer["instance"]
        waiting = [run["creationTime"] for run in answer["queued"]["results"]]
        return Queue(
            queued=answer["queued"]["count"],
            running=answer["running"]["count"],
            limit=(instance["runQueueConfig"] or {}).get("maxConcurrentRuns"),
            oldest_queued_at=min(waiting, default=None),
            pools=tuple(
                Pool(
                    pool["concurrencyKey"],
                    pool["slotCount"],
                    pool["activeSlotCount"],
                    pool["pendingStepCount"],
                )
                for pool in instance["concurrencyLimits"]
            ),
            daemons=tuple(
                Daemon(
                    daemon["daemonType"],
                    daemon["required"],
                    daemon["lastHeartbeatTime"],
                    tuple(error["message"] for error in daemon["lastHeartbeatErrors"]),
                )
                for daemon in instance["daemonHealth"]["allDaemonStatuses"]
            ),
        )

    def queued(self) -> list[Queued]:
        """The runs that wait, in no order."""
        answer = self._ask(_QUEUED_QUERY, only=_in(WAITING))["runsOrError"]
        return [
            Queued(
                _run(node),
                tuple(dict.fromkeys(node["rootConcurrencyKeys"] or ())),
                bool(node["hasUnconstrainedRootNodes"]),
            )
            for node in answer["results"]
        ]

    def tag_limits(self) -> list[TagLimit]:
        """The limits of the queue on runs with certain tags."""
        config = self._ask(_LIMITS_QUERY)["instance"]["runQueueConfig"] or {}
        return [
            TagLimit(
                entry["key"],
                entry["limit"],
                value if isinstance(value := entry.get("value"), str) else None,
                isinstance(value, dict) and bool(value.get("applyLimitPerUniqueValue")),
            )
            for entry in yaml.safe_load(config.get("tagConcurrencyLimitsYaml") or "[]")
        ]

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._told(
            lambda: self._plain.execute(gql.GraphQLRequest(query, variable_values=variables))
        )
        for value in answer.values():
            if isinstance(value, dict) and value.get("__typename", "").endswith("Error"):
                raise ServerRefused(f"{self._url}: {_one_line(value.get('message'))}")
        return answer

    def _told(self, call: Callable[[], T]) -> T:
        """What `call` returns; whatever goes wrong on the way as one line about the server."""
        try:
            try:
                return call()
            except DagsterGraphQLClientError as error:
                # Dagster's client quotes the whole query where anything else went wrong.
                if error.__cause__ is None:
                    raise ServerRefused(f"{self._url}: {_one_line(_refusal(error))}") from error
                raise error.__cause__ from None
        except TransportQueryError as error:
            raise ServerRefused(f"{self._url}: {_one_line(_first_message(error))}") from error
        except (TransportError, requests.RequestException) as error:
            raise self._silent(error) from error

    def _silent(self, error: BaseException) -> ServerSilent:
        cause = str(error)
        if "refused" in cause or "Failed to establish" in cause or "resolve" in cause:
            return ServerSilent(
                f"no web server at {self._url}: start one with `elt-assets dev`, or say where it "
                "is with --url"
            )
        if "timed out" in cause or "Timeout" in cause:
            return ServerSilent(
                f"the web server at {self._url} did not answer in {_TIMEOUT} s; look at its log"
            )
        return ServerSilent(
            f"{self._url} does not answer as a Dagster web server does "
            f"({_one_line(cause)[:200]}); say where it is with --url"
        )


def _run(node: Mapping[str, Any]) -> Run:
    return Run(
        run_id=node["runId"],
        job=node["jobName"],
        status=node["status"],
        tags={tag["key"]: tag["value"] for tag in node["tags"]},
        created_at=node["creationTime"],
        started_at=node["startTime"],
        ended_at=node["endTime"],
        root_run_id=node["rootRunId"],
        config=node["runConfig"] or {},
    )


def _of_sync(sync_id: str) -> dict[str, Any]:
    return {"tags": [{"key": SYNC_ID_TAG, "value": sync_id}]}


def _in(statuses: Sequence[str]) -> dict[str, Any]:
    return {"statuses": list(statuses)}


def _refusal(error: DagsterGraphQLClientError) -> str:
    """What Dagster's client says of a refusal: a kind, then a text or a list of mistakes."""
    kind, body = (*error.args, None, None)[:2]
    if isinstance(body, list):
        return "; ".join(str(mistake.get("message", mistake)) for mistake in body)
    return str(body or kind)


def _first_message(error: TransportQueryError) -> str:
    return str((error.errors or [{}])[0].get("message", error))


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


_JOBS = """
query Jobs {
  repositoriesOrError {
    __typename
    ... on RepositoryConnection { nodes { name location { name } jobs { name } } }
    ... on Error { message }
  }
}
"""

_RUNS_QUERY = """
query Runs($only: RunsFilter, $after: String, $limit: Int) {
  runsOrError(filter: $only, cursor: $after, limit: $limit) {
    __typename
    ... on Runs {
      results {
        runId jobName status tags { key value } creationTime startTime endTime
        rootRunId runConfig
      }
    }
    ... on Error { message }
  }
}
"""

_EVENTS_QUERY = """
query Events($run: ID!, $after: String, $limit: Int) {
  logsForRun(runId: $run, afterCursor: $after, limit: $limit) {
    __typename
    ... on EventConnection {
      cursor
      hasMore
      events {
        __typename
        ... on MessageEvent { message timestamp }
        ... on MaterializationEvent {
          partition
          assetKey { path }
          metadataEntries {
            label
            ... on IntMetadataEntry { intValue }
            ... on TextMetadataEntry { text }
            ... on MarkdownMetadataEntry { mdStr }
          }
        }
        ... on ObservationEvent {
          partition
          assetKey { path }
          metadataEntries { label ... on JsonMetadataEntry { jsonString } }
        }
        ... on RunFailureEvent { error { message } }
        ... on ExecutionStepFailureEvent { error { message } }
      }
    }
    ... on Error { message }
  }
}
"""

_PARTITIONS_QUERY = """
query PartitionedAssets {
  assetNodes { assetKey { path } partitionDefinition { name } }
}
"""

_KEYS_QUERY = """
query PartitionKeys($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) {
    __typename
    ... on AssetNode { partitionKeys }
    ... on Error { message }
  }
}
"""

_STATUSES_QUERY = """
query PartitionStatuses($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) {
    __typename
    ... on AssetNode {
      assetPartitionStatuses {
        ... on DefaultPartitionStatuses {
          materializedPartitions failedPartitions unmaterializedPartitions materializingPartitions
        }
      }
    }
    ... on Error { message }
  }
}
"""

_DAYS_QUERY = """
query Days($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) {
    __typename
    ... on AssetNode {
      assetPartitionStatuses {
        ... on TimePartitionStatuses { ranges { startKey endKey status } }
      }
    }
    ... on Error { message }
  }
}
"""

_MATERIALIZED_QUERY = """
query Materialized($asset: AssetKeyInput!, $partitions: [String!]) {
  assetNodeOrError(assetKey: $asset) {
    __typename
    ... on AssetNode {
      latestMaterializationByPartition(partitions: $partitions) { partition timestamp }
    }
    ... on Error { message }
  }
}
"""

_LOCATIONS = """
query Locations {
  workspaceOrError {
    __typename
    ... on Workspace {
      locationEntries {
        name
        locationOrLoadError { __typename ... on PythonError { message } }
      }
    }
    ... on Error { message }
  }
}
"""

_QUEUED_QUERY = """
query Queued($only: RunsFilter) {
  runsOrError(filter: $only) {
    __typename
    ... on Runs {
      results {
        runId jobName status tags { key value } creationTime startTime endTime
        rootRunId runConfig rootConcurrencyKeys hasUnconstrainedRootNodes
      }
    }
    ... on Error { message }
  }
}
"""

_LIMITS_QUERY = """
query Limits { instance { runQueueConfig { tagConcurrencyLimitsYaml } } }
"""

_QUEUE_QUERY = """
query Queue($queued: RunsFilter, $running: RunsFilter) {
  queued: runsOrError(filter: $queued) {
    __typename
    ... on Runs { count results { creationTime } }
    ... on Error { message }
  }
  running: runsOrError(filter: $running) {
    __typename
    ... on Runs { count }
    ... on Error { message }
  }
  instance {
    runQueueConfig { maxConcurrentRuns }
    concurrencyLimits { concurrencyKey slotCount activeSlotCount pendingStepCount }
    daemonHealth {
      allDaemonStatuses {
        daemonType required lastHeartbeatTime lastHeartbeatErrors { message }
      }
    }
  }
}
"""
