"""Run days of sign-in events inside a command, so that Ctrl-C can stop them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from elt_assets.cli.console.stop_signals import stopping
from elt_assets.cli.sync_run import in_a_thread, result_of, wait_for
from elt_assets.config.settings import Settings
from elt_assets.telemetry import logs

if TYPE_CHECKING:
    from elt_assets.client.in_process_days import DayRun

_COMMAND_TAG = "elt_assets/command"


def run(
    days: Sequence[date],
    settings: Settings,
    *,
    files_only: bool = False,
    ended: Callable[[DayRun], None] = lambda _: None,
) -> list[DayRun]:
    """Load the days through Dagster, one after the other; `ended` hears of each.

    Stopped by Ctrl-C or SIGTERM, it ends the command with the exit status for that.
    """
    from elt_assets.client.in_process_days import run_days
    from elt_assets.orchestration.instance.opening import open_instance

    if settings.log_format:
        logs.configure(settings.log_format, settings.log_level)
    tags = {_COMMAND_TAG: secrets.token_hex(6)}
    with open_instance(settings) as instance, stopping() as stop:

        def work() -> list[DayRun]:
            done = []
            for day in run_days(
                days, settings=settings, instance=instance, files_only=files_only, tags=tags
            ):
                done.append(day)
                ended(day)
                if stop.requested.is_set():
                    break
            return done

        running = in_a_thread(work)
        wait_for(running, stop)
        kept = "stopped; what is committed is kept, repeat the command to go on"
        return result_of(running, stop, instance, tags, kept)
