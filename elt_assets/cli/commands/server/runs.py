"""`elt-assets start`, `status`, `list`, `cancel` and `queues`, over the web server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import msgspec

from elt_assets.cli.commands.server.dev_address import DEFAULT_URL, url_of_dev
from elt_assets.cli.console.output import as_json, note, print_json, print_table, program
from elt_assets.errors import InvalidInput

if TYPE_CHECKING:
    from elt_assets.client.run_descriptions import Run
    from elt_assets.client.run_timeline import RunTimeline
    from elt_assets.client.web_server import Server

_LISTED = 20
# Dagster's statuses, also by the names that other systems use.
_STATUSES = {
    "ERROR": ("FAILURE",),
    "FAILED": ("FAILURE",),
    "PENDING": ("STARTING", "STARTED"),
    "RUNNING": ("STARTING", "STARTED", "CANCELING"),
    "ENQUEUED": ("QUEUED", "NOT_STARTED"),
    "QUEUED": ("QUEUED", "NOT_STARTED"),
    "CANCELLED": ("CANCELED",),
} | {
    name: (name,) for name in ("SUCCESS", "FAILURE", "CANCELED", "CANCELING", "STARTING", "STARTED")
}

at_url = click.option(
    "--url",
    default=url_of_dev,
    show_default=f"that of `elt-assets dev`, else {DEFAULT_URL}",
    help="Address of the web server.",
)
which = click.argument("name", metavar="RUN|SYNC")


def server_at(url: str) -> Server:
    """The client of the server, imported late because importing Dagster takes a second."""
    from elt_assets.client.web_server import Server

    return Server(url)


def timelines_of(server: Server, runs: Sequence[Run]) -> list[RunTimeline]:
    """The timeline of each run."""
    from elt_assets.client.run_timeline import RunTimeline

    keys = server.partition_keys()
    timelines = []
    for run in runs:
        timeline = RunTimeline(run, run.integrations(keys))
        timeline.read(server.events(run.run_id)[0])
        timelines.append(timeline)
    return timelines


@click.command(
    epilog="Example: elt-assets start sync organization_id=org-001 "
    "connected_integration_id=okta-main\n\n"
    "Example: elt-assets start sync_all batch_size=20\n\n"
    "Arguments of sync and sync_all: stream (default: users), sync_id, batch_size (pages in a "
    "batch), num_batches (the extraction stops after so many and deletes nothing), mode (full, "
    "incremental). Arguments of any other job are its run configuration: "
    "ops.NAME.config.FIELD=VALUE."
)
@click.argument("job")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@at_url
@as_json
def start(job: str, arguments: tuple[str, ...], url: str, as_json: bool) -> None:
    """Start JOB on the server: sync, sync_all, or any other of its jobs."""
    from elt_assets.cli.commands.server.launches import launch_sync, report_start
    from elt_assets.client.launching import Launch
    from elt_assets.client.run_arguments import SYNC, SYNC_ALL, job_config, pairs, sync_order
    from elt_assets.orchestration.names import job_name
    from elt_assets.orchestration.partitions import RANGE_LIMIT, contiguous_ranges

    given = pairs(arguments)
    if job in (SYNC, SYNC_ALL):
        order = sync_order(job, given)
        server = server_at(url)
        found, keys = server.job(job_name(order.stream)), server.partition_keys()
        wanted = order.chosen(keys)
        started = launch_sync(
            server,
            Launch(job=found, config=order.run_config()),
            wanted,
            contiguous_ranges(keys, wanted, RANGE_LIMIT),
            sync_id=order.sync_id,
        )
    else:
        config = job_config(given)
        server = server_at(url)
        run_id = server.launch(server.job(job), config, {})
        started = {"sync_id": None, "runs": [{"job": job, "run_id": run_id, "integrations": 0}]}
    report_start(started, as_json)


@click.command(epilog="Example: elt-assets status 0a1b2c3d-…")
@which
@at_url
@as_json
def status(name: str, url: str, as_json: bool) -> None:
    """Show the state of a run, or of every run of a sync, by integration."""
    server = server_at(url)
    timelines = timelines_of(server, server.runs_of(name))
    if as_json:
        print_json({"runs": [_told(timeline) for timeline in timelines]})
        return
    print_table(_COLUMNS, [_row(timeline.run, _ended(timeline)) for timeline in timelines])
    for timeline in timelines:
        for progress in timeline.going.values() if not timeline.run.finished else ():
            note(f"under way: {progress}")
        for partition, error in timeline.failed_so_far.items():
            note(f"{partition} has failed so far: {error}")
        for details in timeline.failures.values():
            note(f"{details.partition} failed: {details.error}")
        if timeline.complaint and not timeline.failures:
            note(timeline.complaint)


@click.command(
    "list",
    epilog="Example: elt-assets list status=ERROR limit=10 org=org-001\n\n"
    f"Filters: status (SUCCESS, ERROR, RUNNING, QUEUED, CANCELED), limit (default {_LISTED}), "
    "job, org, sync_id.",
)
@click.argument("filters", nargs=-1, metavar="[KEY=VALUE]...")
@at_url
@as_json
def list_(filters: tuple[str, ...], url: str, as_json: bool) -> None:
    """List runs, newest first."""
    only, limit, org = _filter(filters)
    server = server_at(url)
    fits = _about(org, server.partition_keys()) if org else lambda _: True
    runs = list(islice(filter(fits, server.runs(only)), limit))
    if as_json:
        print_json([_plain(run) for run in runs])
        return
    if not runs:
        note("no run matches")
        return
    print_table(_COLUMNS[:-1], [_row(run)[:-1] for run in runs])


@click.command(epilog="Example: elt-assets cancel 0a1b2c3d-…")
@which
@at_url
def cancel(name: str, url: str) -> None:
    """Stop a run, or every run of a sync; current batches are committed first."""
    server = server_at(url)
    going = [run.run_id for run in server.runs_of(name) if not run.finished]
    if not going:
        raise InvalidInput(
            f"{name} has ended already; `{program()} status {name}` shows its result"
        )
    server.terminate(going)
    for run_id in going:
        note(f"run {run_id} will stop; `{program()} resume {run_id}` continues it later")


@click.command(epilog="Example: elt-assets queues --json")
@at_url
@as_json
def queues(url: str, as_json: bool) -> None:
    """Show queued runs and why they wait, running runs, and whether the daemon is alive."""
    from elt_assets.client.run_descriptions import RUNNING
    from elt_assets.client.run_queue import explained

    server = server_at(url)
    queue = server.queue()
    running = [*server.runs({"statuses": list(RUNNING)})] if queue.queued else []
    waiting = (
        explained(server.queued(), running, server.tag_limits(), queue) if queue.queued else []
    )
    if as_json:
        print_json({**msgspec.structs.asdict(queue), "waiting": waiting})
        return
    rows: list[tuple[str, int | None, int, int]] = [
        ("runs", queue.limit, queue.running, queue.queued),
        *((f"pool {pool.name}", pool.slots, pool.taken, pool.waiting) for pool in queue.pools),
    ]
    print_table(("queue", "limit", "running", "waiting"), rows)
    if waiting:
        click.echo()
        print_table(
            ("place", "run", "job", "partitions", "priority", "since", "waits because"),
            [
                (
                    one.place,
                    one.run_id,
                    one.job,
                    "…".join(dict.fromkeys(filter(None, (one.first, one.last)))) or None,
                    one.priority,
                    _ago(one.since),
                    one.reason,
                )
                for one in waiting[:_LISTED]
            ],
        )
        if len(waiting) > _LISTED:
            note(f"and {len(waiting) - _LISTED:,} more; --json lists all of them")
    for daemon in queue.daemons:
        if not daemon.alive:
            since = "never" if daemon.last_heartbeat is None else _ago(daemon.last_heartbeat)
            note(
                f"the daemon's {daemon.name.lower()} is not running (last heartbeat: {since}): "
                "no queued run starts without it; start it with `elt-assets dev`"
            )


def _filter(filters: Iterable[str]) -> tuple[dict[str, Any], int, str | None]:
    """Return Dagster's filter, the limit, and the organization, which Dagster cannot filter by."""
    from elt_assets.client.run_arguments import SYNC, SYNC_ALL, pairs, typed
    from elt_assets.orchestration.names import SYNC_ID_TAG

    given = pairs(filters)
    only: dict[str, Any] = {}
    limit = _LISTED
    org: str | None = None
    for key, value in given.items():
        match key:
            case "status":
                if value.upper() not in _STATUSES:
                    raise InvalidInput(f"no status {value!r}: give one of {', '.join(_STATUSES)}")
                only["statuses"] = list(_STATUSES[value.upper()])
            case "limit":
                number = typed(value)
                if type(number) is not int or number < 1:
                    raise InvalidInput(f"limit is {value!r}: give a whole number from 1")
                limit = number
            case "job":
                only["pipelineName"] = SYNC if value == SYNC_ALL else value
            case "sync_id":
                only["tags"] = [{"key": SYNC_ID_TAG, "value": value}]
            case "org":
                org = value
            case _:
                raise InvalidInput(
                    f"list has no filter {key!r}; it has status, limit, job, org, sync_id"
                )
    return only, limit, org


def _about(org: str, instance_keys: Sequence[str]) -> Callable[[Run], bool]:
    """Return a predicate: does a run include an integration of the organization?"""
    return lambda run: any(key.partition(":")[0] == org for key in run.integrations(instance_keys))


_COLUMNS = ("run", "job", "status", "sync", "integrations", "created", "seconds", "settled")


def _row(run: Run, settled: str = "") -> list[Any]:
    return [
        run.run_id,
        run.job,
        run.status,
        run.sync_id if run.syncs else None,
        "…".join(dict.fromkeys(run.ends or ())) or None,
        _clock(run.created_at),
        _seconds(run),
        settled,
    ]


def _ended(timeline: RunTimeline) -> str:
    """`17 of 20; 16 applied, 1 quarantined, 3 failed`."""
    statuses: dict[str, int] = {}
    for outcome in timeline.settled.values():
        statuses[outcome.status] = statuses.get(outcome.status, 0) + 1
    if timeline.failures:
        statuses["failed"] = len(timeline.failures)
    by_status = ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
    return f"{len(timeline.done)} of {len(timeline.tasks)}" + (by_status and f"; {by_status}")


def _told(timeline: RunTimeline) -> dict[str, Any]:
    return {
        **_plain(timeline.run),
        "integrations": timeline.partitions,
        "settled": [outcome.as_json() for outcome in timeline.settled.values()],
        "failed": list(timeline.failures.values()),
        "under_way": [] if timeline.run.finished else list(timeline.going.values()),
        "failed_so_far": timeline.failed_so_far,
        "complaint": timeline.complaint,
    }


def _plain(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "job": run.job,
        "status": run.status,
        "sync_id": run.sync_id if run.syncs else None,
        "first_integration": run.ends and run.ends[0],
        "last_integration": run.ends and run.ends[1],
        "created_at": _clock(run.created_at),
        "seconds": _seconds(run),
        "tags": run.tags,
    }


def _seconds(run: Run) -> float | None:
    if run.started_at is None:
        return None
    return round((run.ended_at or time.time()) - run.started_at, 1)


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ago(moment: float) -> str:
    return f"{_clock(moment)}, {time.time() - moment:,.0f} s ago"
