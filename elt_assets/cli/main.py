"""The `elt-assets` command: its subcommands, `--debug`, and how errors become exit statuses.

Subcommands are imported when they are called, so that a command that only reads does not wait for
Dagster (1.4 s).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any

import click

from elt_assets.cli.console.as_person import as_person
from elt_assets.cli.console.exit_statuses import FAILED, INTERRUPTED
from elt_assets.cli.console.log_lines import log_to_standard_error
from elt_assets.cli.console.output import complain, note
from elt_assets.errors import EltAssetsError
from elt_assets.sync.state.actor import on_own_behalf

COMMANDS = {
    "demo": ("demo.demo", "Sync demo organizations and compare with their provider."),
    "dev": ("server.dev", "Run web UI, daemon, health endpoint and feed."),
    "worker": ("server.worker", "Carry out runs that a server distributes."),
    "provider": ("demo.provider", "Run the embedded provider alone."),
    "integrations": (
        "connections.integrations",
        "Connect, show, test and disconnect integrations.",
    ),
    "connectors": (
        "connections.connectors",
        "Verify that a connector fulfils what a sync relies on.",
    ),
    "sync": ("sync", "Bring integrations up to date."),
    "users": ("read_tables", "Show the users of an integration."),
    "records": ("read_tables", "Show users, groups or group memberships of an integration."),
    "changes": ("read_tables", "Show the change log: inserts, updates and deletes."),
    "rejected": ("read_tables", "Show the records that could not be used, and why."),
    "syncs": ("read_tables", "Show past syncs and their results."),
    "events": ("signin_events", "Load and show sign-in events, day by day."),
    "counts": ("read_tables", "Count staged, unique, duplicate and latest records."),
    "start": ("server.runs", "Start a job on a running server."),
    "backfill": (
        "server.backfill",
        "Bring many partitions of a table up to date through a server.",
    ),
    "watch": ("server.watch", "Follow a run or a sync until it ends."),
    "status": ("server.runs", "Show the state of a run or a sync."),
    "list": ("server.runs", "List runs."),
    "resume": ("server.resume", "Continue the failed part of a run or a sync."),
    "cancel": ("server.runs", "Stop a run or a sync; what is committed is kept."),
    "queues": ("server.runs", "Show queued and running runs, and the daemon."),
    "health": ("health", "Report what is wrong now."),
    "serve-health": ("health", "Serve /health, /ready and /metrics."),
    "feed": ("feed", "Let applications hear of every applied change."),
    "serve-feed": ("feed", "Serve /feed and /snapshot."),
    "check": ("check", "Run the standing asset checks; for CI and cron."),
    "quarantine": ("quarantine", "Decide about withheld changes."),
    "undo": ("undo", "Reverse one sync."),
    "export": ("export", "Write Parquet files for analysts."),
    "audit": ("audit", "Show who decided or changed what."),
    "backup": ("backup", "Copy the installation while it is in use."),
    "repair-status": ("backup", "Give partitions their status back after a restore."),
    "migrate": ("migrate", "Move an installation to PostgreSQL or a lake."),
    "config": ("config", "Check the settings, and secure the home."),
    "maintain": ("maintain", "Apply the retention policy and reclaim disk space."),
    "rebuild": ("undo", "Rebuild the latest table from the change log."),
}
"""Command name to its module under `elt_assets.cli.commands`, and its line in `--help`."""


class CommandsByName(click.Group):
    """A group whose subcommands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name; None for an unknown one."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"elt_assets.cli.commands.{COMMANDS[cmd_name][0]}")
        # The function of a command whose name is taken in Python or its module ends in `_`.
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(module, f"{name}_", None) or getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@dataclass(slots=True)
class Invocation:
    """What the handling of errors needs from the command line."""

    debug: bool = False


@click.group(
    cls=CommandsByName,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: elt-assets demo",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@as_person
@click.version_option(package_name="elt-assets", message="%(package)s %(version)s")
@click.pass_obj
def cli(invocation: Invocation, debug: bool) -> None:
    """Keep a current copy of every customer's users, without deleting one by mistake.

    Everything the platform writes is under ELT_ASSETS_HOME (default ./.elt_assets).
    """
    if debug:
        invocation.debug = True
        sys.excepthook = sys.__excepthook__
    log_to_standard_error(tracebacks=debug)


def main() -> None:
    """Run the command line of this process and exit with its status."""
    invocation = Invocation()
    if sys.stdin is None:
        # The caller closed standard input: there is nothing to read and no person to ask.
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (open until the process ends)
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot encode must not end the command.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")

    def one_line(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        complain(f"unexpected {kind.__name__}: {error} (a defect; `--debug` shows where)")

    # A defect is reported in one line too, unless --debug restores Python's own hook.
    sys.excepthook = one_line
    sys.exit(run(sys.argv[1:], invocation))


def run(arguments: Sequence[str], invocation: Invocation) -> int:
    """Run one command and return its exit status; wrong usage is 2, any other error 1."""
    try:
        with on_own_behalf():
            status: Any = cli.main(
                list(arguments), prog_name="elt-assets", standalone_mode=False, obj=invocation
            )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "elt-assets"
        complain(f"{error.format_message().rstrip('.')}; see `{command} --help`")
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        note("stopped")
        return INTERRUPTED
    except EltAssetsError as error:
        if invocation.debug:
            raise
        complain(str(error))
        return FAILED
    except OSError as error:
        if invocation.debug:
            raise
        what = error.strerror or str(error) or type(error).__name__
        complain(f"{error.filename}: {what}" if error.filename else what)
        return FAILED
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    main()
