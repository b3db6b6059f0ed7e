"""The timeline of a run: the stage and the failures of each integration, from the run's events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from elt_assets.client.run_descriptions import JOB_OF_TABLE, Run
from elt_assets.orchestration.assets.failed_partitions import FAILURE_DETAILS, FailureDetails
from elt_assets.orchestration.assets.live_progress import FAILED_SO_FAR, Failed
from elt_assets.orchestration.assets.materializations import COMPLETE, INCOMPLETE, REASONS
from elt_assets.orchestration.assets.progress_log import PROGRESS
from elt_assets.orchestration.assets.run_budget import HANDED_ON_TAG
from elt_assets.orchestration.assets.signin.signin_specs import EVENT_ASSETS, SUMMARY
from elt_assets.orchestration.assets.signin.signin_step import SKIPPED_BY, SKIPPED_ERROR
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.names import SIGNIN_JOB, job_name
from elt_assets.sync.outcome import (
    Certificate,
    Counts,
    Mode,
    Outcome,
    Stage,
    Status,
    SyncProgress,
)
from elt_assets.sync.streams import STREAMS

_STAGES = {
    asset_key(stream, stage).to_user_string(): (stream.name, stage)
    for stream in STREAMS.values()
    for stage in Stage
}
_SIGNIN_ASSETS = {asset.name for asset in EVENT_ASSETS}
# Metadata labels of the events, with the fields of `Counts` that they fill.
_COUNTS = {name: name for name in Counts.__struct_fields__} | {
    "inserted": "inserts",
    "updated": "updates",
    "deleted": "deletes",
    "pending": "pending_deletes",
    "kept": "kept_rows",
}

News = SyncProgress | Outcome | str


class Task(NamedTuple):
    """What a run does for one partition: a stream of an integration, or a day of sign-ins."""

    job: str
    partition: str


class RunTimeline:
    """The state of one run, from the events that have been read so far."""

    def __init__(self, run: Run, partitions: Sequence[str]) -> None:
        self.run = run
        self.partitions = list(partitions)
        self.tasks = [Task(job, key) for job in run.jobs for key in partitions]
        self.settled: dict[Task, Outcome] = {}
        self.loaded: set[Task] = set()
        """Days that a run of sign-in events has loaded."""
        self.failures: dict[Task, FailureDetails] = {}
        self.going: dict[str, SyncProgress] = {}
        """What was under way when the run last reported it."""
        self.failed_so_far: dict[str, str] = {}
        """The errors of integrations that have failed while the run goes on."""
        self.complaint: str | None = None
        """Why the run failed: one line for each sign-in asset, else Dagster's message."""
        self._signin_failures: dict[str, str] = {}
        self._skipped: dict[str, list[str]] = {}
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        self._reasons: dict[tuple[str, str], tuple[str, ...]] = {}
        self._certificates: dict[tuple[str, str], Certificate] = {}

    def read(self, events: Iterable[Mapping[str, Any]]) -> list[News]:
        """Process the next events; return the news to show, in order."""
        news: list[News] = []
        for event in events:
            match event["__typename"]:
                case "EngineEvent":
                    news += self._progress(event)
                case "MaterializationEvent":
                    news += self._materialized(event)
                case "ObservationEvent":
                    news += self._observed(event)
                case "ExecutionStepFailureEvent" if event.get("stepKey") in _SIGNIN_ASSETS:
                    news.append(self._signin_failure(event))
                case "ExecutionStepFailureEvent" | "RunFailureEvent" if event["error"]:
                    if not self._signin_failures:
                        self.complaint = event["error"]["message"]
                case "RunCanceledEvent":
                    self.complaint = event["message"]
        return news

    @property
    def done(self) -> set[Task]:
        """The tasks that the run has settled or loaded."""
        return self.settled.keys() | self.loaded

    @property
    def unsettled(self) -> list[Task]:
        """The tasks that the run did not settle, including those that failed."""
        done = self.done
        return [task for task in self.tasks if task not in done]

    @property
    def skips(self) -> bool:
        """Whether every unsettled task is of a disabled integration or one without the stream."""
        return self.run.status == "SUCCESS" and HANDED_ON_TAG not in self.run.tags

    def _progress(self, event: Mapping[str, Any]) -> list[News]:
        progress = _facts(event).get(PROGRESS)
        if progress is None:
            return []
        if SIGNIN_JOB in self.run.jobs:
            return [event["message"]]
        under_way = msgspec.convert(progress, list[SyncProgress])
        self.going = {one.partition: one for one in under_way}
        failed = msgspec.convert(_facts(event).get(FAILED_SO_FAR, []), list[Failed])
        new = [one for one in failed if self.failed_so_far.get(one.partition) != one.error]
        self.failed_so_far |= {one.partition: one.error for one in failed}
        return [*(f"{one.partition} has failed so far: {one.error}" for one in new), *under_way]

    def _signin_failure(self, event: Mapping[str, Any]) -> str:
        asset = event["stepKey"]
        reported = (event.get("failureMetadata") or {}).get("description")
        error = self._signin_failures.get(asset) or reported or event["error"]["message"]
        skipped = ", ".join(self._skipped.get(asset, ())) or "nothing"
        day = self.run.ends[0] if self.run.ends else "?"
        line = f"{asset} of {day} failed: {error}; skipped because of it: {skipped}"
        earlier = f"{self.complaint}; " if self.complaint else ""
        self._signin_failures[asset] = error
        self.complaint = earlier + line
        return line

    def _materialized(self, event: Mapping[str, Any]) -> list[News]:
        partition, table, facts = event["partition"], _table(event), _facts(event)
        if table in _SIGNIN_ASSETS:
            if table == self._last_table(SIGNIN_JOB, SUMMARY.name) and partition in self.partitions:
                self.loaded.add(Task(SIGNIN_JOB, partition))
            rows = facts.get("dagster/row_count")
            done = "reopened by late events" if rows is None else f"{rows:,} rows"
            return [f"{partition} {table}: {done}"]
        if partition is None or table not in _STAGES:
            return []
        stream, stage = _STAGES[table]
        counts = self._counts.setdefault((partition, stream), {})
        counts |= {
            name: facts[label] for label, name in _COUNTS.items() if type(facts.get(label)) is int
        }
        if REASONS in facts:
            self._reasons[partition, stream] = tuple(facts[REASONS])
        if COMPLETE in facts:
            self._certificates[partition, stream] = Certificate(
                complete=facts[COMPLETE] == 1,
                reasons=(str(facts[INCOMPLETE]),) if INCOMPLETE in facts else (),
            )
        job = job_name(STREAMS[stream])
        if table != self._last_table(job, STREAMS[stream].latest):
            batches = facts.get("batches") or 0
            return [SyncProgress(partition, str(stage), batches, counts.get("fetched", 0))]
        outcome = Outcome(
            partition=partition,
            stream=stream,
            sync_id=facts["sync_id"],
            status=Status(facts["status"]),
            counts=Counts(**counts),
            mode=Mode(facts.get("mode", Mode.FULL)),
            certificate=self._certificates.get((partition, stream), Certificate()),
            reasons=self._reasons.get((partition, stream), ()),
            run_id=self.run.run_id,
        )
        self.settled[Task(job, partition)] = outcome
        self.going.pop(partition, None)
        self.failed_so_far.pop(partition, None)
        return [outcome]

    def _last_table(self, job: str, last: str) -> str:
        """The table that settles a task: the last selected one, or `last` of the whole job."""
        return (self.run.selected(job) or (last,))[-1]

    def _observed(self, event: Mapping[str, Any]) -> list[News]:
        facts = _facts(event)
        if SKIPPED_BY in facts:
            self._skipped.setdefault(facts[SKIPPED_BY], []).append(_table(event))
            self._signin_failures[facts[SKIPPED_BY]] = facts[SKIPPED_ERROR]
        if FAILURE_DETAILS not in facts:
            return []
        details = msgspec.convert(facts[FAILURE_DETAILS], FailureDetails)
        table = _table(event)
        stream, _ = _STAGES.get(table, ("", None))
        self.failures[Task(JOB_OF_TABLE.get(table, self.run.job), details.partition)] = details
        self.going.pop(details.partition, None)
        self.failed_so_far.pop(details.partition, None)
        return [
            Outcome(
                partition=details.partition,
                stream=stream,
                sync_id=details.sync_id,
                status=Status.FAILED,
                error=details.error,
                retryable=details.retryable,
                run_id=self.run.run_id,
            )
        ]


def left_over(timelines: Sequence[RunTimeline]) -> dict[str, list[str]]:
    """The partitions, by job, that no run of a sync has settled. Each stream has a job.

    `timelines` are in the order in which the runs were created.
    """
    settled = {task for timeline in timelines for task in timeline.done}
    left: dict[Task, None] = {}
    for timeline in timelines:
        for task in timeline.unsettled:
            if timeline.skips:
                left.pop(task, None)
            elif task not in settled:
                left[task] = None
    by_job: dict[str, list[str]] = {}
    for job, key in left:
        by_job.setdefault(job, []).append(key)
    return by_job


def _table(event: Mapping[str, Any]) -> str:
    return str(event["assetKey"]["path"][-1])


def _facts(event: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of an event by label: numbers, texts, and the content of JSON."""
    return {
        entry["label"]: msgspec.json.decode(entry["jsonString"])
        if "jsonString" in entry
        else entry.get("intValue", entry.get("text", entry.get("mdStr")))
        for entry in event["metadataEntries"]
    }
