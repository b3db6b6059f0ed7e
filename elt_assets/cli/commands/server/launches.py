"""The runs that `elt-assets start` and `resume` launch for a sync, and how they are reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from elt_assets.cli.console.output import note, print_json, program

if TYPE_CHECKING:
    from elt_assets.client.launching import Launch
    from elt_assets.client.web_server import Server


def launch_sync(
    server: Server,
    launch: Launch,
    wanted: Iterable[str],
    ranges: Iterable[Sequence[str]],
    *,
    sync_id: str | None,
) -> dict[str, Any]:
    """Start one run for each of `ranges`, all under one sync id; the ranges cover `wanted`."""
    from elt_assets.cli.commands.sync import new_sync_id
    from elt_assets.client.launching import launch_ranges
    from elt_assets.orchestration.jobs.sync_jobs import Urgency
    from elt_assets.orchestration.names import SYNC_ID_TAG

    sync_id = sync_id or new_sync_id()
    launch = msgspec.structs.replace(
        launch,
        wanted=set(wanted),
        tags={SYNC_ID_TAG: sync_id, **Urgency.INTERACTIVE.tags, **launch.tags},
        to_go_on=f"repeat with sync_id={sync_id} to start the rest",
    )
    launched = launch_ranges(server, launch, ranges)
    runs = [
        {"job": run.job, "run_id": run.run_id, "integrations": run.partitions} for run in launched
    ]
    return {"sync_id": sync_id, "runs": runs}


def report_start(started: Mapping[str, Any], as_json: bool) -> None:
    """Print the runs that have started, and how to follow them."""
    if as_json:
        print_json(started)
        return
    runs, sync_id = started["runs"], started["sync_id"]
    for run in runs:
        click.echo(run["run_id"])
    if sync_id is None:
        (only,) = runs
        note(f"{only['job']} has started; follow it with `{program()} watch {only['run_id']}`")
        return
    count = sum(run["integrations"] for run in runs)
    note(
        f"sync {sync_id} of {count:,} {'integration' if count == 1 else 'integrations'} has "
        f"started; follow it with `{program()} watch {sync_id}`"
    )
