"""`elt-assets watch`: follow a run or a sync on a server until it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from elt_assets.cli.commands.server.runs import at_url, server_at, which
from elt_assets.cli.commands.sync import show
from elt_assets.cli.console.exit_statuses import FAILED, QUARANTINED
from elt_assets.cli.console.output import as_json, note, print_json, program
from elt_assets.cli.console.progress import Display, display
from elt_assets.sync.outcome import Outcome, Status

if TYPE_CHECKING:
    from elt_assets.client.run_timeline import RunTimeline, Task
    from elt_assets.client.web_server import Server
    from elt_assets.orchestration.assets.failed_partitions import FailureDetails

_FIRST_WAIT, _LONGEST_WAIT = 0.3, 3.0


@click.command(
    epilog="Example: elt-assets watch sync-20260105-101500-a1b2c3\n\n"
    "Exit status: 0 if everything is up to date, 3 if any integration was quarantined, 1 if any "
    "failed or the run was stopped."
)
@which
@at_url
@as_json
def watch(name: str, url: str, as_json: bool) -> int:
    """Follow a run, or every run of a sync, until it ends; then show what failed, and why."""
    from elt_assets.client.run_timeline import RunTimeline, Task, left_over
    from elt_assets.orchestration.names import SIGNIN_JOB

    server = server_at(url)
    runs = server.runs_of(name)
    keys = server.partition_keys()
    timelines = [RunTimeline(run, run.integrations(keys)) for run in runs]
    syncs = sum(
        len(timeline.tasks) for timeline in timelines if SIGNIN_JOB not in timeline.run.jobs
    )
    with display(syncs) as shown:
        _follow(server, timelines, shown)
    settled = [outcome for timeline in timelines for outcome in timeline.settled.values()]
    failures = {task: found for timeline in timelines for task, found in timeline.failures.items()}
    left = [Task(job, key) for job, keys in left_over(timelines).items() for key in keys]
    failed = [failures[one] for one in left if one in failures]
    if as_json:
        print_json(
            {
                "runs": [
                    {"run_id": timeline.run.run_id, "status": timeline.run.status}
                    for timeline in timelines
                ],
                "sync": [outcome.as_json() for outcome in settled],
                "failed": failed,
                "unsettled": [task.partition for task in left if task not in failures],
            }
        )
    elif settled:
        show(settled)
    for details in failed:
        _explain(details)
    return _status(timelines, settled, left, name)


def _follow(server: Server, timelines: list[RunTimeline], shown: Display) -> None:
    """Poll until every run has ended, less often while nothing happens."""
    from elt_assets.orchestration.names import SIGNIN_JOB

    places: dict[str, str | None] = {}
    queued: set[str] = set()
    wait = _FIRST_WAIT
    going = list(timelines)
    while going:
        wait = min(wait * 1.5, _LONGEST_WAIT)
        for timeline in list(going):
            run_id = timeline.run.run_id
            # The status comes first, so that the events of an ended run are complete.
            timeline.run = server.run(run_id)
            events, places[run_id] = server.events(run_id, places.get(run_id))
            for news in timeline.read(events):
                wait = _FIRST_WAIT
                if isinstance(news, str):
                    note(news)
                elif isinstance(news, Outcome):
                    shown.settled(news)
                else:
                    shown.progress(news)
            if timeline.run.finished:
                going.remove(timeline)
                if SIGNIN_JOB in timeline.run.jobs:
                    note(_days_over(timelines))
            elif timeline.run.status == "QUEUED" and run_id not in queued:
                queued.add(run_id)
                note(f"run {run_id} is queued; `{program()} queues` shows what it waits for")
        if going:
            time.sleep(wait)


def _days_over(timelines: list[RunTimeline]) -> str:
    """The progress of a backfill of days: `3 of 14 days have ended, 1 failed`."""
    over = [one.run for one in timelines if one.run.finished]
    failed = sum(run.status != "SUCCESS" for run in over)
    return f"{len(over):,} of {len(timelines):,} days have ended" + (
        f", {failed:,} failed" if failed else ""
    )


def _explain(details: FailureDetails) -> None:
    """Print the failure of one integration: attempts, errors and dead letters."""
    cure = "it will be retried" if details.retryable else "it needs a person"
    note(f"{details.partition} failed, {cure}:")
    for one in details.attempts or ():
        note(f"  attempt {one.attempt} at {one.failed_at}: {one.error}")
    if not details.attempts:
        note(f"  {details.error}")
    if details.rejected:
        note(f"  {details.rejected:,} dead letters (`{program()} rejected {details.partition}`):")
    for letter in details.dead_letters:
        note(f"    batch {letter.batch}, record {letter.seq}: {letter.reason}")


def _status(
    timelines: list[RunTimeline], settled: list[Outcome], left: list[Task], name: str
) -> int:
    stopped = [timeline for timeline in timelines if timeline.run.status != "SUCCESS"]
    for timeline in stopped:
        if not timeline.failures:
            run = timeline.run
            note(f"run {run.run_id} ended as {run.status}: {timeline.complaint or '?'}")
    if left:
        note(f"{len(left):,} not settled; `{program()} resume {name}` continues only these")
    if left or any(
        timeline.run.status != "SUCCESS" and not timeline.partitions for timeline in stopped
    ):
        return FAILED
    if any(outcome.status is Status.QUARANTINED for outcome in settled):
        return QUARANTINED
    return 0
