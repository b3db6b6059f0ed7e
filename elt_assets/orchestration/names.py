"""The names that jobs, steps, tables and tags of runs have in Dagster.

Clients of a web server need them without Dagster, which takes more than a second to import.
"""

from __future__ import annotations

from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import USERS, Stream

PARTITIONS = "connected_integrations"
"""The set of partitions: one for each connected integration."""

SIGNIN_JOB = "load_signin_events"
"""The job that loads a day of sign-in events."""
EVENT_TABLES = (
    "api_events",
    "csv_events",
    "normalized_api_events",
    "normalized_csv_events",
    "signin_events",
    "daily_signin_summary",
)
"""The assets of sign-in events, in the order of execution."""

SYNC_ID_TAG = "elt_assets/sync_id"

LANE_TAG = "elt_assets/lane"
"""Run tag: runs of one lane run one after the other (`tag_concurrency_limits` in dagster.yaml)."""

PRIORITY_TAG = "dagster/priority"


def job_name(stream: Stream) -> str:
    """The sync job: `sync` for users, which every integration offers, else `<stream>_sync`."""
    return "sync" if stream is USERS else f"{stream.name}_sync"


def step_name(stream: Stream) -> str:
    """The step behind the tables of a stream, as in run configuration."""
    return f"sync_{stream.name}"


def table_name(stream: Stream, stage: Stage) -> str:
    """The table of a stream that `stage` fills."""
    names = {Stage.STAGING: stream.staging, Stage.CDC: stream.cdc, Stage.LATEST: stream.latest}
    return names[stage]
