"""The timeline of a run: the stage and the failures of each integration, from the run's events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from elt_assets.client.signin_timeline import told
from elt_assets.client.web_server import Run
from elt_assets.orchestration.assets.failed_partitions import FAILURE_DETAILS, FailureDetails
from elt_assets.orchestration.assets.materializations import COMPLETE, INCOMPLETE
from elt_assets.orchestration.assets.progress_log import from_text
from elt_assets.orchestration.assets.signin.signin_specs import SUMMARY
from elt_assets.orchestration.assets.signin.signin_step import is_failure
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.sync.outcome import (
    Certificate,
    Counts,
    Mode,
    Outcome,
    Progress,
    Stage,
    Status,
)
from elt_assets.sync.streams import STREAMS

_STAGES = {
    (asset_key(stream, stage).to_user_string()): (stream.name, stage)
    for stream in STREAMS.values()
    for stage in Stage
}
# Labels of the events' metadata to fields of the counts.
_COUNTS = {
    "fetched": "fetched",
    "staged": "staged",
    "rejected": "rejected",
    "duplicates": "duplicates",
    "inserted": "inserts",
    "updated": "updates",
    "deleted": "deletes",
    "withheld_deletes": "withheld_deletes",
    "withheld_updates": "withheld_updates",
    "withheld_inserts": "withheld_inserts",
    "pending": "pending_deletes",
    "kept": "kept_rows",
    "requests": "requests",
    "unchanged": "unchanged",
    "latest": "latest",
}


class RunTimeline:
    """One run as far as its events have been read."""

    def __init__(self, run: Run, integrations: Sequence[str]) -> None:
        self.run = run
        self.integrations = list(integrations)
        self.settled: dict[str, Outcome] = {}
        self.loaded: set[str] = set()
        """Days that a run of sign-in events has loaded."""
        self.failures: dict[str, FailureDetails] = {}
        self.complaint: str | None = None
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        self._reasons: dict[tuple[str, str], str] = {}
        self._certificates: dict[tuple[str, str], Certificate] = {}

    def read(self, events: Iterable[Mapping[str, Any]]) -> list[Progress | Outcome | str]:
        """Process the next events; return what is worth showing of them, in order."""
        news: list[Progress | Outcome | str] = []
        for event in events:
            lines = told(event)
            news += lines
            self._complain(filter(is_failure, lines))
            match event["__typename"]:
                case "LogMessageEvent":
                    news += from_text(event["message"])
                case "MaterializationEvent":
                    news += self._materialized(event)
                case "ObservationEvent":
                    news += self._observed(event)
                case "ExecutionStepFailureEvent" | "RunFailureEvent" if event["error"]:
                    # The run's own message is clearer than the exception that follows it.
                    if not is_failure(self.complaint or ""):
                        self.complaint = event["error"]["message"]
                case "RunCanceledEvent":
                    self.complaint = event["message"]
        return news

    @property
    def unsettled(self) -> list[str]:
        """Integrations that the run did not settle, failed ones included."""
        done = self.settled.keys() | self.loaded
        return [key for key in self.integrations if key not in done]

    def _complain(self, lines: Iterable[str]) -> None:
        """Collect the run's own failure messages, one line for each asset that failed."""
        for line in lines:
            earlier = f"{self.complaint}; " if is_failure(self.complaint or "") else ""
            self.complaint = earlier + line

    def _materialized(self, event: Mapping[str, Any]) -> list[Progress | Outcome]:
        partition = event["partition"]
        table = event["assetKey"]["path"][-1]
        if table == SUMMARY.name and partition in self.integrations:
            self.loaded.add(partition)
        if partition is None or table not in _STAGES:
            return []
        stream, stage = _STAGES[table]
        facts = {
            entry["label"]: entry.get("intValue", entry.get("text", entry.get("mdStr")))
            for entry in event["metadataEntries"]
        }
        counts = self._counts.setdefault((partition, stream), {})
        counts |= {
            name: facts[label] for label, name in _COUNTS.items() if type(facts.get(label)) is int
        }
        if "reasons" in facts:
            self._reasons[partition, stream] = str(facts["reasons"])
        if COMPLETE in facts:
            self._certificates[partition, stream] = Certificate(
                complete=facts[COMPLETE] == 1,
                reasons=(str(facts[INCOMPLETE]),) if INCOMPLETE in facts else (),
            )
        if stage is not Stage.LATEST:
            return [
                Progress(partition, str(stage), facts.get("batches") or 0, counts.get("fetched", 0))
            ]
        reasons = self._reasons.get((partition, stream), "")
        outcome = Outcome(
            partition=partition,
            stream=stream,
            sync_id=facts["sync_id"],
            status=Status(facts["status"]),
            counts=Counts(**counts),
            mode=Mode(facts.get("mode", Mode.FULL)),
            certificate=self._certificates.get((partition, stream), Certificate()),
            reasons=tuple(line.removeprefix("- ") for line in reasons.splitlines()),
            run_id=self.run.run_id,
        )
        self.settled[partition] = outcome
        return [outcome]

    def _observed(self, event: Mapping[str, Any]) -> list[Progress | Outcome]:
        stream, _ = _STAGES.get(event["assetKey"]["path"][-1], ("", None))
        for entry in event["metadataEntries"]:
            if entry["label"] == FAILURE_DETAILS:
                details = msgspec.json.decode(entry["jsonString"], type=FailureDetails)
                self.failures[details.partition] = details
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
        return []


def left_over(timelines: Sequence[RunTimeline]) -> dict[str, list[str]]:
    """The integrations, by job, that no run of a sync has settled. A job is a stream.

    A successful run skips only integrations that are disabled or do not have the stream.
    """
    settled = {
        (timeline.run.job, key)
        for timeline in timelines
        for key in (*timeline.settled, *timeline.loaded)
    }
    left: dict[str, dict[str, None]] = {}
    for timeline in timelines:
        if timeline.run.status != "SUCCESS":
            for key in timeline.unsettled:
                if (timeline.run.job, key) not in settled:
                    left.setdefault(timeline.run.job, {})[key] = None
    return {job: list(keys) for job, keys in left.items()}
