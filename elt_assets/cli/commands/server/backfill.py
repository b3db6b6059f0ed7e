"""`elt-assets backfill`: bring many partitions of a table up to date through the server's daemon.

A table that is not partitioned by integration has a command of its own in TARGETS.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from math import ceil
from typing import TYPE_CHECKING

import click

from elt_assets.cli.commands.server.runs import at_url, server_at
from elt_assets.cli.console.output import as_json, note, print_json, print_table, program
from elt_assets.config.settings import load_settings
from elt_assets.identifiers import checked_name
from elt_assets.sync.streams import STREAMS, USERS, Stream

if TYPE_CHECKING:
    from elt_assets.client.launching import Launched
    from elt_assets.client.partition_selection import Choice
    from elt_assets.client.web_server import Server

TARGETS: dict[str, tuple[str, str]] = {
    "signin_events": ("server.signin_backfill", "Load days of sign-in events again."),
}
"""The module of a table's command under `elt_assets.cli.commands`, and its help."""

in_parallel = click.option(
    "--parallel",
    type=click.IntRange(min=1),
    help="Most runs of this backfill at once; the limits of the run queue apply too.",
)

_TABLES = {stream.latest: stream for stream in STREAMS.values()}


class Tables(click.Group):
    """A command for each table; `users_latest` is the default."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default table."""
        if args and args[0] not in self.list_commands(ctx) and args[0].startswith("-"):
            helping = args[0] in ctx.help_option_names
            args = args if helping else [USERS.latest, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every table that can be backfilled."""
        return [*_TABLES, *TARGETS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that table; None for an unknown one."""
        if cmd_name in _TABLES:
            return _of_stream(_TABLES[cmd_name])
        if cmd_name not in TARGETS:
            return None
        module = import_module(f"elt_assets.cli.commands.{TARGETS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the tables without importing anything."""
        lines = [
            (name, f"Sync {stream.name.replace('_', ' ')} again.")
            for name, stream in _TABLES.items()
        ]
        lines += [(name, text) for name, (_, text) in TARGETS.items()]
        with formatter.section("Tables"):
            formatter.write_dl(lines)


@click.group(
    cls=Tables,
    epilog="Example: elt-assets backfill --failed\n\n"
    "Example: elt-assets backfill users_latest --all --org org-001 --parallel 2",
)
def backfill() -> None:
    """Bring partitions of a table (default: users_latest) up to date in as few runs as possible."""


def report(name: str, launched: list[Launched], what: str, as_json: bool) -> None:
    """Print what was launched and how to follow it."""
    if as_json:
        print_json({"backfill": name, "runs": launched})
        return
    print_table(
        ("run", "job", "first", "last", what),
        [(run.run_id, run.job, run.first, run.last, run.partitions) for run in launched],
    )
    note(
        f"backfill {name} has started; follow it with `{program()} watch {name}`, and continue "
        f"its failed part with `{program()} resume {name}`"
    )


def warn_without_lanes(server: Server, parallel: int | None) -> None:
    """Warn if the server's dagster.yaml does not limit the runs of a lane."""
    from elt_assets.client.run_queue import is_lane_limit
    from elt_assets.orchestration.names import LANE_TAG

    if parallel and not any(map(is_lane_limit, server.tag_limits())):
        note(
            f"the server's dagster.yaml has no limit of one run for each value of {LANE_TAG}, so "
            f"--parallel {parallel} has no effect; see docs/operations.md"
        )


def _of_stream(stream: Stream) -> click.Command:
    @click.command(
        stream.latest,
        help=f"Sync {stream.name} of many integrations again.",
        epilog=f"Example: elt-assets backfill {stream.latest} --stale --parallel 2",
    )
    @click.option(
        "--failed",
        "which",
        flag_value="failed",
        help="Sync integrations whose partition has failed.",
    )
    @click.option(
        "--stale",
        "which",
        flag_value="stale",
        help="Sync integrations that were not synced for --hours, or never.",
    )
    @click.option("--all", "which", flag_value="all", help="Sync every integration.")
    @click.option("--org", help="Sync only integrations of this organization.")
    @click.option(
        "--hours",
        type=click.FloatRange(min=0),
        help="Age of a stale sync. Default: ELT_ASSETS_STALE_HOURS.",
    )
    @in_parallel
    @click.option(
        "--name", help="Name of the backfill; a repeated name syncs only what is not settled yet."
    )
    @at_url
    @as_json
    def command(
        which: Choice | None,
        org: str | None,
        hours: float | None,
        parallel: int | None,
        name: str | None,
        url: str,
        as_json: bool,
    ) -> None:
        if which is None:
            raise click.UsageError("choose integrations with --failed, --stale or --all")
        if hours is not None and which != "stale":
            raise click.UsageError("--hours needs --stale")
        _backfill(
            stream,
            _Wanted(
                which,
                org and checked_name(org, "organization"),
                load_settings().stale_hours if hours is None else hours,
            ),
            name=checked_name(name, "name") if name else None,
            parallel=parallel,
            url=url,
            as_json=as_json,
        )

    return command


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The integrations that a backfill selects."""

    which: Choice
    org: str | None
    hours: float

    def __str__(self) -> str:
        return f"--{self.which}" + (f" --org {self.org}" if self.org else "")


def _backfill(
    stream: Stream,
    of: _Wanted,
    *,
    name: str | None,
    parallel: int | None,
    url: str,
    as_json: bool,
) -> None:
    server = server_at(url)

    from elt_assets.cli.commands.sync import new_sync_id
    from elt_assets.client.launching import Lanes, Launch, launch_ranges
    from elt_assets.client.partition_selection import chosen
    from elt_assets.orchestration.assets.stream_assets import step_name
    from elt_assets.orchestration.jobs.sync_jobs import Urgency
    from elt_assets.orchestration.names import SYNC_ID_TAG, job_name
    from elt_assets.orchestration.partitions import RANGE_LIMIT, contiguous_ranges

    keys = server.partition_keys()
    wanted = chosen(server, stream, of.which, of.hours, of.org)
    if not wanted:
        if as_json:
            print_json({"backfill": None, "runs": []})
        note(f"nothing to do: no integration matches {of}")
        return
    name = name or new_sync_id("backfill")
    failed = of.which == "failed"
    at_most = RANGE_LIMIT
    if parallel and not failed:
        at_most = min(RANGE_LIMIT, ceil(len(wanted) / parallel))
    launch = Launch(
        job=server.job(job_name(stream)),
        # Integrations between two failed ones are not synced; they cost less than another run.
        config={"ops": {step_name(stream): {"config": {"only_unsettled": True}}}} if failed else {},
        tags={SYNC_ID_TAG: name, **Urgency.BACKFILL.tags},
        lanes=Lanes(name, parallel),
        wanted=set(wanted),
        to_go_on=f"repeat with --name {name} to start the rest",
    )
    ranges = contiguous_ranges(keys, wanted, at_most, carried=keys if failed else ())
    launched = launch_ranges(server, launch, ranges)
    report(name, launched, "integrations", as_json)
    warn_without_lanes(server, parallel)
