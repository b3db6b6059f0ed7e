"""What the runs of one sync tell so far: which integrations are where, and what went wrong.

Belongs here: folding a run's events into its integrations. Does not: fetching events
(server) or showing anything (cli).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from elt_assets.client.signin_timeline import told
from elt_assets.client.web_server import Run
from elt_assets.orchestration.assets.failed_partitions import TROUBLE, Trouble
from elt_assets.orchestration.assets.progress_log import from_text
from elt_assets.orchestration.assets.signin.signin_specs import SUMMARY
from elt_assets.orchestration.assets.signin.signin_step import is_failure
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.sync.outcome import Counts, Outcome, Progress, Stage, Status
from elt_assets.sync.streams import STREAMS

_STAGES = {
    (asset_key(stream, stage).to_user_string()): (stream.name, stage)
    for stream in STREAMS.values()
    for stage in Stage
}
# Metadata of the events, as reporting labels it, to fields of the counts.
_COUNTS = {
    "fetched": "fetched",
    "staged": "staged",
    "rejected": "rejected",
    "duplicates": "duplicates",
    "inserted": "inserts",
    "updated": "updates",
    "deleted": "deletes",
    "withheld": "withheld_deletes",
    "unchanged": "unchanged",
    "latest": "latest",
}


class Story:
    """One run as far as its events have been read."""

    def __init__(self, run: Run, integrations: Sequence[str]) -> None:
        self.run = run
        self.integrations = list(integrations)
        self.settled: dict[str, Outcome] = {}
        self.loaded: set[str] = set()
        """Days that the run carries and has brought to an end, where it is one of days."""
        self.troubles: dict[str, Trouble] = {}
        self.complaint: str | None = None
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        self._reasons: dict[tuple[str, str], str] = {}

    def hear(self, events: Iterable[Mapping[str, Any]]) -> list[Progress | Outcome | str]:
        """Take in what happened next; returns what is worth showing of it, in order."""
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
                    # What the run's own log has said is plainer than the exception after it.
                    if not is_failure(self.complaint or ""):
                        self.complaint = event["error"]["message"]
                case "RunCanceledEvent":
                    self.complaint = event["message"]
        return news

    @property
    def unsettled(self) -> list[str]:
        """Integrations that the run did not bring to an end, failed ones included."""
        done = self.settled.keys() | self.loaded
        return [key for key in self.integrations if key not in done]

    def _complain(self, lines: Iterable[str]) -> None:
        """Keep what a run says by itself: one line for each asset of it that failed."""
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
            reasons=tuple(line.removeprefix("- ") for line in reasons.splitlines()),
            run_id=self.run.run_id,
        )
        self.settled[partition] = outcome
        return [outcome]

    def _observed(self, event: Mapping[str, Any]) -> list[Progress | Outcome]:
        stream, _ = _STAGES.get(event["assetKey"]["path"][-1], ("", None))
        for entry in event["metadataEntries"]:
            if entry["label"] == TROUBLE:
                trouble = msgspec.json.decode(entry["jsonString"], type=Trouble)
                self.troubles[trouble.partition] = trouble
                return [
                    Outcome(
                        partition=trouble.partition,
                        stream=stream,
                        sync_id=trouble.sync_id,
                        status=Status.FAILED,
                        error=trouble.error,
                        retryable=trouble.retryable,
                        run_id=self.run.run_id,
                    )
                ]
        return []


def left_over(stories: Sequence[Story]) -> dict[str, list[str]]:
    """The integrations, by job, that some run of a sync began or failed and none has settled.

    A job is a stream. A run that succeeded has left out only what is disabled or has no such
    stream.
    """
    settled = {(story.run.job, key) for story in stories for key in (*story.settled, *story.loaded)}
    left: dict[str, dict[str, None]] = {}
    for story in stories:
        if story.run.status != "SUCCESS":
            for key in story.unsettled:
                if (story.run.job, key) not in settled:
                    left.setdefault(story.run.job, {})[key] = None
    return {job: list(keys) for job, keys in left.items()}
