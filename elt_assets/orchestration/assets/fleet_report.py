"""The asset `fleet_report`: one page about the state of all integrations.

`sync.admin.fleet_state` has the queries, `sensors.report_sensor` decides when to renew it.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import dagster as dg

from elt_assets.orchestration.assets.charts import bars, data_uri, stacked
from elt_assets.orchestration.assets.step_retries import REPORT_RETRIES, ended_by_interruption
from elt_assets.orchestration.jobs.sync_jobs import NOT_ENDED, SHARED_JOB, sync_jobs
from elt_assets.orchestration.markdown import Link, table
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.admin.fleet_state import DAYS, FleetState, Ranked, fleet_state
from elt_assets.sync.outcome import Stage, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS

FLEET_REPORT = "fleet_report"

RENEWED_DAILY = dg.FreshnessPolicy.time_window(
    warn_window=timedelta(hours=26), fail_window=timedelta(hours=50)
)
"""Each daily sync renews the report; without it, neither syncs nor the report sensor work."""


def fleet_report(at: Placement = STANDALONE) -> dg.AssetsDefinition:
    """The asset `fleet_report`, downstream of the latest tables of all streams."""

    @dg.multi_asset(
        name=at.step(FLEET_REPORT),
        specs=[
            dg.AssetSpec(
                at.key(FLEET_REPORT),
                deps=at.latest_tables(),
                group_name=at.group_or("fleet"),
                owners=list(at.owners),
                kinds={"markdown"},
                freshness_policy=RENEWED_DAILY,
                description="The state of all integrations: freshness, changes, failures with "
                "their causes, and quarantines. The page is in the newest materialization's "
                "metadata.",
            )
        ],
        # It has no partitions, but `dagster asset materialize --select "*" --partition-range`
        # requires the policy of every asset.
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=at.retries_or(REPORT_RETRIES),
        required_resource_keys=at.required,
    )
    def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        """Query the operational database and write the page."""
        with ended_by_interruption(context):
            found = contents(at.platform(context), syncing(context.instance, at))
        return dg.MaterializeResult(metadata=found)

    return report


def syncing(instance: dg.DagsterInstance, at: Placement) -> int:
    """Count the runs of the installation that sync now or wait to sync.

    They are runs of its jobs, and runs that "Materialize" and backfills start.
    """
    of_jobs = sum(
        instance.get_runs_count(
            dg.RunsFilter(job_name=job.name, tags=dict(at.tags), statuses=NOT_ENDED)
        )
        for job in sync_jobs(at)
    )
    tables = {at.table(stream, stage) for stream in at.streams for stage in Stage}
    shared = instance.get_runs(dg.RunsFilter(job_name=SHARED_JOB, statuses=NOT_ENDED))
    return of_jobs + sum(
        run.asset_selection is None or not tables.isdisjoint(run.asset_selection) for run in shared
    )


def contents(platform: SyncService, syncing: int) -> dict[str, Any]:
    """The page and its numbers, while that many runs are `syncing`."""
    state = fleet_state(platform.database, platform.settings.stale_hours)
    return {
        "report": dg.MetadataValue.md(page(state, syncing)),
        "integrations": state.enabled,
        "stale": state.stale,
        "failed": state.failed,
        "quarantined": state.quarantined,
        "incomplete": state.incomplete,
        "records": sum(state.records.values()),
        "changes_on_the_last_day": _last_day(state),
    }


def page(state: FleetState, syncing: int = 0) -> str:
    """The report as Markdown. Its size does not grow with the number of integrations."""
    parts = [
        f"# Fleet on {state.moment} UTC",
        _headline(state),
        _currency(syncing),
        table(
            ("stream", "records", *Status),
            [
                (stream, f"{state.records.get(stream, 0):,}", *(found.get(s, 0) for s in Status))
                for stream, found in sorted(state.statuses.items())
            ],
        ),
        "## Freshness",
        _picture("integrations by time since they were last up to date", state.lags),
        "## Changes",
        _changes(state),
        "## Failures",
        table(
            ("integrations", "cause", "for example"),
            [
                (cause.count, cause.text, _link(cause.example, cause.stream))
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


def _currency(syncing: int) -> str:
    """How current the page is, and where a reader sees what has happened since."""
    if not syncing:
        return ""
    runs = "1 run was" if syncing == 1 else f"{syncing:,} runs were"
    return (
        f"{runs} under way. A new report follows within a minute of a failure, a quarantine or a "
        "decision, and otherwise within ten minutes; until then the newest observation of this "
        "asset counts what has settled since."
    )


def _link(partition: str, stream: str) -> Link:
    """An integration's name as a link to its partition of the stream's latest table."""
    query = urlencode({"view": "partitions", "partition": partition})
    return Link.to(partition, f"/assets/{STREAMS[stream].latest}?{query}")


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
    return table(
        ("integration", "stream", number, remark),
        [
            (
                _link(one.partition, one.stream),
                one.stream,
                f"{one.number:,}",
                one.remark,
            )
            for one in ranked
        ],
    )
