"""The asset `fleet_report`: one page about the state of all integrations.

`sync.admin.fleet_state` has the queries, `sensors.report_sensor` decides when to renew it.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import dagster as dg

from elt_assets.foreign_text import markdown
from elt_assets.orchestration.assets.charts import bars, data_uri, stacked
from elt_assets.orchestration.assets.table_specs import OWNER, asset_key
from elt_assets.sync.admin.fleet_state import DAYS, FleetState, Ranked, fleet_state
from elt_assets.sync.outcome import Stage, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS


@dataclass(frozen=True, slots=True)
class Link:
    """An integration's name that leads to its partition of a table, where its events are."""

    partition: str
    table: str

    @property
    def address(self) -> str:
        """On the server that shows the page."""
        query = urlencode({"view": "partitions", "partition": self.partition})
        return f"/assets/{self.table}?{query}"


@dg.multi_asset(
    name="fleet_report",
    specs=[
        dg.AssetSpec(
            "fleet_report",
            deps=[asset_key(stream, Stage.LATEST) for stream in STREAMS.values()],
            group_name="fleet",
            owners=[OWNER],
            kinds={"markdown"},
            description="How all integrations are: how current, what changed, what fails and why, "
            "who waits for a decision. The page is in the newest materialization's metadata.",
        )
    ],
    # It has no partitions; `dagster asset materialize --select "*" --partition-range` demands
    # the policy of every asset all the same.
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def fleet_report(platform: dg.ResourceParam[SyncService]) -> dg.MaterializeResult[None]:
    """Ask the operational database and write the page."""
    state = fleet_state(platform.database, platform.settings.stale_hours)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.md(page(state)),
            "integrations": state.enabled,
            "stale": state.stale,
            "failed": state.failed,
            "quarantined": state.quarantined,
            "incomplete": state.incomplete,
            "records": sum(state.records.values()),
            "changes_on_the_last_day": _last_day(state),
        }
    )


def page(state: FleetState) -> str:
    """The report as Markdown; its size does not grow with the fleet."""
    parts = [
        f"# Fleet on {state.moment} UTC",
        _headline(state),
        _table(
            ("stream", "records", *Status),
            [
                (stream, f"{state.records.get(stream, 0):,}", *(found.get(s, 0) for s in Status))
                for stream, found in sorted(state.statuses.items())
            ],
        ),
        "## How current",
        _picture("integrations by time since they were last up to date", state.lags),
        "## What changed",
        _changes(state),
        "## What fails",
        _table(
            ("integrations", "cause", "for example"),
            [
                (cause.count, cause.text, Link(cause.example, STREAMS[cause.stream].latest))
                for cause in state.causes
            ],
        )
        or "Nothing.",
        "## Changes that wait for a decision",
        _ranked(state.quarantines, "changes withheld", "latest rows") or "None.",
        "## Listings that are not complete",
        _ranked(state.incompletes, "records listed", "why") or "None.",
        "## Slowest",
        _ranked(state.slowest, "seconds", "") or "Nothing has been synced.",
        "## Largest",
        _ranked(state.largest, "records", "") or "Nothing has been synced.",
        "## Most unusable records",
        _ranked(state.rejecting, "rejected", "fetched") or "None.",
    ]
    return "\n\n".join(part for part in parts if part)


def _headline(state: FleetState) -> str:
    problems = [
        f"**{count:,} {what}**"
        for count, what in (
            (state.failed, "failed"),
            (state.quarantined, "quarantined"),
            (state.incomplete, "listed incompletely"),
            (state.stale, "not up to date"),
        )
        if count
    ]
    disabled = f" ({state.disabled:,} more are disabled)" if state.disabled else ""
    return f"{state.enabled:,} integrations{disabled}: {', '.join(problems) or 'all is well'}."


def _changes(state: FleetState) -> str:
    if not state.changes:
        return f"Nothing in {DAYS} days."
    labels = [day.day[5:] for day in state.changes]
    picture = stacked(
        f"records changed by day, {DAYS} days",
        labels,
        {
            "inserted": [day.inserted for day in state.changes],
            "updated": [day.updated for day in state.changes],
            "deleted": [day.deleted for day in state.changes],
        },
    )
    return f"![changes by day]({data_uri(picture)})"


def _picture(title: str, counts: dict[str, int]) -> str:
    return f"![{title}]({data_uri(bars(title, counts))})"


def _last_day(state: FleetState) -> int:
    if not state.changes:
        return 0
    last = state.changes[-1]
    return last.inserted + last.updated + last.deleted


def _ranked(ranked: Sequence[Ranked], number: str, remark: str) -> str:
    return _table(
        ("integration", "stream", number, remark),
        [
            (
                Link(one.partition, STREAMS[one.stream].latest),
                one.stream,
                f"{one.number:,}",
                one.remark,
            )
            for one in ranked
        ],
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(_cell(value) for value in row) for row in rows]
    if not lines:
        return ""
    head = (" | ".join(columns), " | ".join("---" for _ in columns))
    return "\n".join(f"| {line} |" for line in (*head, *lines))


def _cell(value: object) -> str:
    if isinstance(value, Link):
        return f"[{_cell(value.partition)}]({value.address})"
    return markdown(str(value))
