"""`elt-assets resume`: continue the unsettled part of a run, sync or backfill on the server.

A run may have been started in any way: by a command, a schedule, "Materialize", or a backfill.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import msgspec

from elt_assets.cli.commands.server.launches import launch_sync, report_start
from elt_assets.cli.commands.server.runs import at_url, server_at, timelines_of, which
from elt_assets.cli.console.output import as_json, note, program
from elt_assets.errors import InvalidInput

if TYPE_CHECKING:
    from elt_assets.client.run_descriptions import Run
    from elt_assets.client.run_timeline import RunTimeline, Task
    from elt_assets.client.web_server import Server

RESUMES_TAG = "elt_assets/resumes"
"""Run tag: the run whose failed integrations this run continues."""

_SHOWN = 5


@click.command(epilog="Example: elt-assets resume 0a1b2c3d-…")
@which
@at_url
@as_json
def resume(name: str, url: str, as_json: bool) -> None:
    """Continue the failed integrations, each from its last committed batch."""
    server = server_at(url)
    named = server.runs_of(name)
    syncs = {run.sync_id: run for run in named}
    families = [timelines_of(server, server.runs_of_sync(run)) for run in syncs.values()]
    for timelines in families:
        _check_ended(timelines)
    if not any(timeline.run.syncs for timelines in families for timeline in timelines):
        raise InvalidInput(f"{named[-1].job} has no integrations to resume; start it again")
    keys = server.partition_keys()
    started: dict[str, Any] = {"sync_id": named[-1].sync_id, "runs": []}
    at_work = _at_work(server, keys)
    elsewhere: dict[Task, Run] = {}
    for timelines in families:
        of_family = {task for timeline in timelines for task in timeline.tasks}
        elsewhere |= {task: run for task, run in at_work.items() if task in of_family}
        started["runs"] += _continued(server, timelines, keys, elsewhere)
    for task, run in islice(elsewhere.items(), _SHOWN):
        note(
            f"{task.partition}: run {run.run_id} works on it, in sync {run.sync_id}; "
            f"`{program()} watch {run.run_id}` follows it"
        )
    if len(elsewhere) > _SHOWN:
        note(f"and {len(elsewhere) - _SHOWN:,} more under way; `{program()} list status=RUNNING`")
    if not started["runs"]:
        settled = "everything else" if elsewhere else "every integration"
        note(f"nothing to resume: {settled} is settled")
    if started["runs"] or as_json:
        report_start(started, as_json)


def _check_ended(timelines: Sequence[RunTimeline]) -> None:
    """Raise `InvalidInput` if a run of the sync has not ended; name what it works on."""
    for timeline in timelines:
        run = timeline.run
        if not run.finished:
            at_work = "; ".join(map(str, [*timeline.going.values()][:_SHOWN]))
            raise InvalidInput(
                f"run {run.run_id} of this sync has not ended"
                f"{f' ({at_work})' if at_work else f' ({run.status})'}: "
                f"`{program()} watch {run.run_id}` follows it, "
                f"`{program()} cancel {run.run_id}` stops it"
            )


def _at_work(server: Server, keys: Sequence[str]) -> dict[Task, Run]:
    """Map every task of a queued or running run to that run."""
    from elt_assets.client.run_descriptions import RUNNING, WAITING
    from elt_assets.client.run_timeline import Task

    return {
        Task(job, key): run
        for run in server.runs({"statuses": [*WAITING, *RUNNING]})
        for job in run.jobs
        for key in run.integrations(keys)
    }


def _continued(
    server: Server,
    timelines: Sequence[RunTimeline],
    keys: Sequence[str],
    elsewhere: Container[Task],
) -> list[dict[str, Any]]:
    """Launch the unsettled tasks of one sync, except those that another run works on."""
    from elt_assets.client.launching import Launch
    from elt_assets.client.run_timeline import Task, left_over
    from elt_assets.orchestration.names import SIGNIN_JOB
    from elt_assets.orchestration.partitions import RANGE_LIMIT, contiguous_ranges

    launched: list[dict[str, Any]] = []
    for job, left in left_over(timelines).items():
        wanted = [key for key in left if Task(job, key) not in elsewhere]
        if not wanted:
            continue
        last = [timeline.run for timeline in timelines if job in timeline.run.jobs][-1]
        found = server.job(job)
        # Integrations that this sync has settled are only reported again.
        settled = {
            task.partition for timeline in timelines for task in timeline.settled if task.job == job
        }
        launch = Launch(
            job=msgspec.structs.replace(found, tables=last.selected(job)),
            config=last.config_of(job),
            tags={RESUMES_TAG: last.run_id},
        )
        ranges = (
            [[day] for day in sorted(wanted)]
            if job == SIGNIN_JOB
            else contiguous_ranges(keys, wanted, RANGE_LIMIT, carried=settled)
        )
        launched += launch_sync(server, launch, wanted, ranges, sync_id=last.sync_id)["runs"]
    return launched
