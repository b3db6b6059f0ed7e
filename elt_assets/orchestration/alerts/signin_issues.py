"""Days of sign-in events that failed, as issues.

A day has failed if one of its runs failed and no later success replaced it. A success replaces a
failure if it ran at least the same assets: loading files that arrived does not repair an API
extraction. Cancelled runs do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import dagster as dg

from elt_assets.orchestration.alerts.issues import Issue, OpenIssues
from elt_assets.orchestration.assets.signin.signin_specs import EVENT_ASSETS
from elt_assets.orchestration.names import SIGNIN_JOB
from elt_assets.orchestration.partitions import PARTITION_TAG
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.admin.fleet_state import cause_of

KIND = "event day"

_NEWEST = 300
"""The number of newest runs to read; what changed since the last tick is among them."""

_LONGEST = 300


def signin_issues(
    instance: dg.DagsterInstance, reported: Iterable[Issue], at: Placement = STANDALONE
) -> OpenIssues:
    """The failed days. A day is undecided while it is retried, or if it was `reported` and none
    of the newest runs shows its state."""
    known = {issue.partition: issue for issue in reported if issue.kind == KIND}
    undecided = set(known)
    found = []
    runs = instance.get_runs(
        dg.RunsFilter(job_name=at.name(SIGNIN_JOB), tags=dict(at.tags)), limit=_NEWEST
    )
    every = frozenset(at.key(asset.name) for asset in EVENT_ASSETS)
    by_day = sorted(runs, key=_day)  # stable: each day's newest run stays first
    for day, of_day in groupby(by_day, _day):
        history = list(of_day)
        if not history[0].is_finished:
            undecided.add(day)
            continue
        failed = _unreplaced_failure(history, every)
        if failed is not None:
            found.append(known.get(day) or _issue(instance, day, failed))
        elif any(run.status is dg.DagsterRunStatus.SUCCESS for run in history):
            undecided.discard(day)
    return OpenIssues(found, frozenset(undecided))


def _day(run: dg.DagsterRun) -> str:
    return run.tags.get(PARTITION_TAG, "")


def _unreplaced_failure(
    history: Sequence[dg.DagsterRun], every: frozenset[dg.AssetKey]
) -> dg.DagsterRun | None:
    """Return the failed run of one day that no later success replaced; newest runs come first."""
    done: list[frozenset[dg.AssetKey]] = []
    for run in history:
        if run.status is dg.DagsterRunStatus.SUCCESS:
            done.append(_assets(run, every))
        elif run.status is dg.DagsterRunStatus.FAILURE:
            return None if any(_assets(run, every) <= assets for assets in done) else run
    return None


def _assets(run: dg.DagsterRun, every: frozenset[dg.AssetKey]) -> frozenset[dg.AssetKey]:
    """The assets that the run selected; a run of the whole job names none."""
    return frozenset(run.asset_selection or every)


def _issue(instance: dg.DagsterInstance, day: str, run: dg.DagsterRun) -> Issue:
    error = _error(instance, run.run_id)
    return Issue(f"event-day/{day}", KIND, day, cause_of(error, day, day), error[:_LONGEST], "day")


def _error(instance: dg.DagsterInstance, run_id: str) -> str:
    """The error of the first step that failed, or a remark if no step reported one."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        if event is None:
            continue
        data = event.step_failure_data
        said = data.user_failure_data and data.user_failure_data.description
        text = said or (data.error.message if data.error else "failed without a reason")
        return f"{event.step_key}: {' '.join(text.split())}"
    return "the run failed without an error of a step; see its log"
