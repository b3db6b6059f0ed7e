"""Days of sign-in events that failed, as matters for alerts.

Belongs here: which days are failed by their runs, and why. Does not: saying it (alert_sensor),
or grouping it (issues).

A day is failed if the newest of its runs failed that no later success made up for. A success
makes up for a failure if it ran at least the same assets: files that arrived and were loaded
do not mend an API. A run that was cancelled says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import dagster as dg

from elt_assets.orchestration.alerts.issues import Matter, Matters
from elt_assets.orchestration.assets.signin.signin_specs import EVENT_ASSETS
from elt_assets.orchestration.jobs.signin_jobs import JOB
from elt_assets.orchestration.partitions import PARTITION_TAG
from elt_assets.sync.admin.fleet_state import cause_of

KIND = "event day"

_NEWEST = 300
"""Runs that are looked at; whatever is new is among them."""

_LONGEST = 300
_ALL = frozenset(asset.key for asset in EVENT_ASSETS)


def event_matters(instance: dg.DagsterInstance, said: Iterable[Matter]) -> Matters:
    """The failed days. Of one that is being tried again, or was `said` and has no run among the
    newest that tells, nothing can be said yet."""
    known = {matter.partition: matter for matter in said if matter.kind == KIND}
    undecided = set(known)
    found = []
    runs = instance.get_runs(dg.RunsFilter(job_name=JOB), limit=_NEWEST)
    by_day = sorted(runs, key=_day)  # stable: each day's newest run stays first
    for day, of_day in groupby(by_day, _day):
        history = list(of_day)
        if not history[0].is_finished:
            undecided.add(day)
            continue
        failed = _not_made_up_for(history)
        if failed is not None:
            found.append(known.get(day) or _matter(instance, day, failed))
        elif any(run.status is dg.DagsterRunStatus.SUCCESS for run in history):
            undecided.discard(day)
    return Matters(found, frozenset(undecided))


def _day(run: dg.DagsterRun) -> str:
    return run.tags.get(PARTITION_TAG, "")


def _not_made_up_for(history: Sequence[dg.DagsterRun]) -> dg.DagsterRun | None:
    """The failure that stands, of a day's runs, newest first."""
    done: list[frozenset[dg.AssetKey]] = []
    for run in history:
        if run.status is dg.DagsterRunStatus.SUCCESS:
            done.append(_assets(run))
        elif run.status is dg.DagsterRunStatus.FAILURE:
            return None if any(_assets(run) <= assets for assets in done) else run
    return None


def _assets(run: dg.DagsterRun) -> frozenset[dg.AssetKey]:
    """Those it was to run; a run of the whole job names none."""
    return frozenset(run.asset_selection or _ALL)


def _matter(instance: dg.DagsterInstance, day: str, run: dg.DagsterRun) -> Matter:
    error = _error(instance, run.run_id)
    return Matter(f"event-day/{day}", KIND, day, cause_of(error, day, day), error[:_LONGEST], "day")


def _error(instance: dg.DagsterInstance, run_id: str) -> str:
    """What the first step that failed says; that of a run that ended without any is its end."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        if event is None:
            continue
        data = event.step_failure_data
        said = data.user_failure_data and data.user_failure_data.description
        text = said or (data.error.message if data.error else "failed without a reason")
        return f"{event.step_key}: {' '.join(text.split())}"
    return "the run ended without an answer; its log says more"
