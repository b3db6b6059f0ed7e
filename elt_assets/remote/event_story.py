"""What the run of a day of sign-in events tells so far, as lines for whoever watches it.

Belongs here: turning a run's events into text. Does not: runs that sync integrations (story),
or showing anything (cli).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elt_assets.assets.event_step import is_failure, is_progress
from elt_assets.assets.event_tables import EVENT_ASSETS

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


def _name(event: Mapping[str, Any]) -> str:
    return str(event["assetKey"]["path"][-1])
