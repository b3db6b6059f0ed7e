"""The timeline of a run that loads days of sign-in events, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elt_assets.client.web_server import Run
from elt_assets.orchestration.assets.signin.signin_specs import EVENT_ASSETS
from elt_assets.orchestration.assets.signin.signin_step import is_failure, is_progress

_NAMES = {asset.name for asset in EVENT_ASSETS}


def told(event: Mapping[str, Any]) -> list[str]:
    """What is worth showing of one event; nothing of those that are not about such days."""
    match event["__typename"]:
        case "LogMessageEvent" if is_progress(event["message"]) or is_failure(event["message"]):
            return [event["message"]]
        case "MaterializationEvent" if _name(event) in _NAMES:
            rows = [
                entry["intValue"]
                for entry in event["metadataEntries"]
                if entry["label"] == "dagster/row_count" and "intValue" in entry
            ]
            done = f"{rows[0]:,} rows" if rows else "reopened by late events"
            return [f"{event['partition']} {_name(event)}: {done}"]
    return []


def days_over(runs: Sequence[Run]) -> str:
    """How far a backfill of days is: `3 of 14 days are over, 1 failed`."""
    over = [run for run in runs if run.finished]
    failed = sum(run.status != "SUCCESS" for run in over)
    return f"{len(over):,} of {len(runs):,} days are over" + (
        f", {failed:,} failed" if failed else ""
    )


def _name(event: Mapping[str, Any]) -> str:
    return str(event["assetKey"]["path"][-1])
