"""The client of a Dagster web server: jobs, runs, events, partitions and the queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from elt_assets.client.graphql import GraphQL, ServerRefused, one_line
from elt_assets.client.run_descriptions import RUNNING, WAITING, Job, Run
from elt_assets.client.run_queue import Daemon, Pool, Queued, RunQueue, TagLimit
from elt_assets.errors import NotFound
from elt_assets.orchestration.names import PARTITIONS, SYNC_ID_TAG

ROOT_RUN_TAG = "dagster/root_run_id"
"""Dagster's tag of a run that repeats another one, as "From failure" does."""
BACKFILL_TAG = "dagster/backfill"
"""Dagster's tag of the runs of a backfill."""
_EVENTS = 1000
_RUNS = 100


class PartitionStatuses(msgspec.Struct, frozen=True):
    """The partitions of a table by status; each partition is in one of the lists."""

    materialized: tuple[str, ...]
    failed: tuple[str, ...]
    never: tuple[str, ...]
    going: tuple[str, ...]


class Server:
    """The web server at `url`, for example http://127.0.0.1:3000.

    Every method raises `ServerSilent` if the server does not answer, and `ServerRefused` if it
    answers with an error.
    """

    def __init__(self, url: str) -> None:
        graphql = GraphQL(url)
        self._ask = graphql.ask
        self._url = graphql.url

    def jobs(self) -> list[Job]:
        """Every job that can be started by its name; Dagster's hidden jobs are left out."""
        return [
            Job(job["name"], node["repository"], node["location"]["name"])
            for node in self._ask("Jobs")["repositoriesOrError"]["nodes"]
            for job in node["jobs"]
            if not job["name"].startswith("__")
        ]

    def job(self, name: str) -> Job:
        """The job of that name. Raises `NotFound` with the names of all jobs."""
        jobs = self.jobs()
        for job in jobs:
            if job.name == name:
                return job
        known = ", ".join(sorted({job.name for job in jobs})) or "none; does its code load?"
        raise NotFound(f"{self._url} has no job {name!r}; it has {known}")

    def launch(
        self,
        job: Job,
        config: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> str:
        """Start a run and return its id."""
        answer = self._ask(
            "Launch",
            run={
                "selector": {
                    "jobName": job.name,
                    "repositoryName": job.repository,
                    "repositoryLocationName": job.location,
                    "assetSelection": [{"path": [table]} for table in job.tables] or None,
                },
                "runConfigData": config,
                "executionMetadata": {
                    "tags": [{"key": key, "value": value} for key, value in tags.items()]
                },
            },
        )
        return str(answer["launched"]["run"]["id"])

    def terminate(self, run_ids: Sequence[str]) -> None:
        """Ask runs to end; what they have committed is kept."""
        results = self._ask("Terminate", runs=list(run_ids))["terminateRuns"]["results"]
        refused = [one["message"] for one in results if "message" in one]
        if refused:
            raise ServerRefused(f"{self._url}: {one_line('; '.join(refused))}")

    def run(self, run_id: str) -> Run:
        """The run with this id. Raises `NotFound`."""
        found = next(self.runs({"runIds": [run_id]}), None)
        if found is None:
            raise NotFound(f"{self._url} has no run {run_id}; `elt-assets list` shows the newest")
        return found

    def runs_of(self, name: str) -> list[Run]:
        """The run with this id, or the runs of the sync or backfill with this id, oldest first.

        A sync that "Materialize" has begun has the id of its first run. Raises `NotFound`.
        """
        named = next(self.runs({"runIds": [name]}), None)
        if named is not None:
            return self.runs_of_sync(named) if named.sync_id == name else [named]
        found = [*self.runs(_tagged(SYNC_ID_TAG, name))] or [
            *self.runs(_tagged(BACKFILL_TAG, name))
        ]
        if not found:
            raise NotFound(
                f"{self._url} has no run and no sync {name!r}; `elt-assets list` shows the newest"
            )
        return found[::-1]

    def runs_of_sync(self, run: Run) -> list[Run]:
        """Every run that worked on the sync of `run`, oldest first."""
        sync_id = run.sync_id
        found = {
            other.run_id: other
            for only in (
                _tagged(SYNC_ID_TAG, sync_id),
                _tagged(ROOT_RUN_TAG, sync_id),
                {"runIds": [sync_id]},
            )
            for other in self.runs(only)
            if other.sync_id == sync_id
        }
        return sorted({run.run_id: run, **found}.values(), key=lambda one: one.created_at)

    def runs(self, only: Mapping[str, Any]) -> Iterator[Run]:
        """Runs that Dagster's `RunsFilter` selects, newest first, fetched page by page."""
        cursor = None
        while True:
            answer = self._ask("Runs", only=only, after=cursor, limit=_RUNS)
            page = [Run.of(node) for node in answer["runsOrError"]["results"]]
            yield from page
            if len(page) < _RUNS:
                return
            cursor = page[-1].run_id

    def events(self, run_id: str, after: str | None = None) -> tuple[list[dict[str, Any]], str]:
        """The events of a run since the cursor `after`, and the next cursor."""
        events: list[dict[str, Any]] = []
        while True:
            answer = self._ask("Events", run=run_id, after=after, limit=_EVENTS)["logsForRun"]
            events += answer["events"]
            after = answer["cursor"]
            if not answer["hasMore"]:
                return events, after

    def partition_keys(self) -> list[str]:
        """Every integration that the server knows, in the server's order."""
        for node in self._ask("PartitionedAssets")["assetNodes"]:
            if (node["partitionDefinition"] or {}).get("name") == PARTITIONS:
                found = self._ask_about("PartitionKeys", node["assetKey"]["path"])
                return list(found["partitionKeys"])
        raise ServerRefused(f"{self._url} serves no assets of this project")

    def partition_statuses(self, table: Sequence[str]) -> PartitionStatuses:
        """The status of every partition of a table."""
        found = self._ask_about("PartitionStatuses", table)["assetPartitionStatuses"]
        going = found["materializingPartitions"]
        failed = [key for key in found["failedPartitions"] if key not in set(going)]
        # A partition that was materialized and has failed since is in both lists.
        newer = {*failed, *going}
        return PartitionStatuses(
            materialized=tuple(key for key in found["materializedPartitions"] if key not in newer),
            failed=tuple(failed),
            never=tuple(key for key in found["unmaterializedPartitions"] if key not in newer),
            going=tuple(going),
        )

    def failed_days(self, table: Sequence[str]) -> list[tuple[str, str]]:
        """The first and the last day of each range of days whose newest run failed."""
        found = self._ask_about("PartitionStatuses", table)["assetPartitionStatuses"]
        return [
            (one["startKey"], one["endKey"]) for one in found["ranges"] if one["status"] == "FAILED"
        ]

    def materialized_at(self, table: Sequence[str], keys: Sequence[str]) -> dict[str, float]:
        """When each of these partitions was last materialized, in seconds since 1970."""
        found: dict[str, float] = {}
        for some in (keys[n : n + _EVENTS] for n in range(0, len(keys), _EVENTS)):
            answer = self._ask_about("Materialized", table, partitions=some)
            for event in answer["latestMaterializationByPartition"]:
                if event is not None:
                    found[event["partition"]] = float(event["timestamp"]) / 1000
        return found

    def broken_locations(self) -> dict[str, str]:
        """Code locations that do not load, each with its error in one line."""
        entries = self._ask("Locations")["workspaceOrError"]["locationEntries"]
        return {
            entry["name"]: one_line(entry["locationOrLoadError"]["message"])
            for entry in entries
            if (entry["locationOrLoadError"] or {}).get("__typename") == "PythonError"
        }

    def queue(self) -> RunQueue:
        """The numbers of queued and running runs, the pools and the daemon."""
        answer = self._ask("Queue", queued=_in(WAITING), running=_in(RUNNING))
        instance = answer["instance"]
        waiting = [run["creationTime"] for run in answer["queued"]["results"]]
        daemons = [
            {**daemon, "errors": [error["message"] for error in daemon["errors"]]}
            for daemon in instance["daemonHealth"]["allDaemonStatuses"]
        ]
        return RunQueue(
            queued=answer["queued"]["count"],
            running=answer["running"]["count"],
            limit=(instance["runQueueConfig"] or {}).get("maxConcurrentRuns"),
            oldest_queued_at=min(waiting, default=None),
            pools=msgspec.convert(instance["concurrencyLimits"], tuple[Pool, ...]),
            daemons=msgspec.convert(daemons, tuple[Daemon, ...]),
        )

    def queued(self) -> list[Queued]:
        """The queued runs, in no order."""
        return [
            Queued(
                Run.of(node),
                tuple(dict.fromkeys(node["pools"] or ())),
                bool(node["begins_anyway"]),
            )
            for node in self._ask("Queued", only=_in(WAITING))["runsOrError"]["results"]
        ]

    def tag_limits(self) -> list[TagLimit]:
        """The limits of the queue on runs with certain tags."""
        config = self._ask("Limits")["instance"]["runQueueConfig"] or {}
        limits: list[TagLimit] = yaml.safe_load(config.get("tagConcurrencyLimitsYaml") or "[]")
        return limits

    def _ask_about(self, query: str, asset: Sequence[str], **variables: Any) -> dict[str, Any]:
        answer = self._ask(query, asset={"path": list(asset)}, **variables)
        found: dict[str, Any] = answer["assetNodeOrError"]
        return found


def _tagged(tag: str, value: str) -> dict[str, Any]:
    return {"tags": [{"key": tag, "value": value}]}


def _in(statuses: Sequence[str]) -> dict[str, Any]:
    return {"statuses": list(statuses)}
