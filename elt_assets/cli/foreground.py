"""Run syncs and days of sign-in events inside a command, so that Ctrl-C can stop them."""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from elt_assets.cli.console.output import note
from elt_assets.cli.console.progress import display
from elt_assets.cli.console.stop_signals import Stop, stopping
from elt_assets.client.sync_command import SyncCommand
from elt_assets.config.settings import Settings
from elt_assets.errors import Stopped
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome, SyncProgress
from elt_assets.telemetry import logs

if TYPE_CHECKING:
    import dagster as dg

    from elt_assets.client.in_process_days import DayRun

T = TypeVar("T")

_COMMAND_TAG = "elt_assets/command"
_POLL = 0.1
_GRACE = 3.0
"""Seconds in which a stopped sync may commit its current batches."""


def run_syncs(
    refs: Sequence[IntegrationRef],
    settings: Settings,
    command: SyncCommand,
    syncs: int | None = None,
) -> list[Outcome]:
    """Sync through Dagster, with progress on standard error; return outcomes in order of `refs`.

    `syncs` is their number for the display. Ctrl-C or SIGTERM ends the command with the exit
    status of the signal.
    """
    from elt_assets.client.in_process_sync import run_sync
    from elt_assets.orchestration.names import SYNC_ID_TAG
    from elt_assets.orchestration.resources import RunListener

    shown = display(len(refs) if syncs is None else syncs)

    def work(instance: dg.DagsterInstance, stop: Stop) -> list[Outcome]:
        def progress(report: SyncProgress) -> None:
            # The engine reports a batch when it is committed, so stopping here loses nothing.
            if stop.requested.is_set():
                raise Stopped("stopped on request")
            shown.progress(report)

        return run_sync(
            refs,
            command,
            settings=settings,
            instance=instance,
            listener=RunListener(progress, shown.settled, stop.requested.is_set),
        )

    to_continue = f"continue with --sync-id {command.sync_id}"
    return _run(work, settings, {SYNC_ID_TAG: command.sync_id}, to_continue, shown)


def run_days(
    days: Sequence[date],
    settings: Settings,
    *,
    files_only: bool = False,
    ended: Callable[[DayRun], None] = lambda _: None,
) -> list[DayRun]:
    """Load days of sign-in events through Dagster, one after the other; call `ended` for each.

    Ctrl-C or SIGTERM ends the command with the exit status of the signal.
    """
    from elt_assets.client.in_process_days import run_days as runs

    tags = {_COMMAND_TAG: secrets.token_hex(6)}

    def work(instance: dg.DagsterInstance, stop: Stop) -> list[DayRun]:
        done = []
        for day in runs(
            days, settings=settings, instance=instance, files_only=files_only, tags=tags
        ):
            done.append(day)
            ended(day)
            if stop.requested.is_set():
                break
        return done

    return _run(work, settings, tags, "repeat the command to continue")


def _run(
    work: Callable[[dg.DagsterInstance, Stop], T],
    settings: Settings,
    tags: Mapping[str, str],
    to_continue: str,
    shown: AbstractContextManager[object] | None = None,
) -> T:
    """Return the result of `work`; if stopped, print how `to_continue` and end the process.

    `tags` identify the Dagster runs of the work; `shown` is open while the command waits.
    """
    from elt_assets.orchestration.instance.opening import open_instance

    if settings.log_format:
        logs.configure(settings.log_format, settings.log_level)
    with open_instance(settings) as instance, stopping() as stop:
        # In a thread, because Dagster replaces the signal handlers of the main thread, takes an
        # interrupt for a failed step and retries the step.
        pool = ThreadPoolExecutor(1, thread_name_prefix="run")
        with shown or nullcontext():
            running = pool.submit(work, instance, stop)
            pool.shutdown(wait=False)
            _wait(running, stop)
        if not stop.requested.is_set():
            return running.result()
        note(f"stopped; what is committed is kept, {to_continue}")
        if running.done():
            sys.exit(stop.exit_status)
        _close_runs(instance, tags)
        # An orderly exit would wait for the threads of the work. The platform survives being
        # killed at any moment, so ending the process at once loses nothing.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.exit_status)


def _wait(running: Future[T], stop: Stop) -> None:
    """Return when the work is done, or has been stopped and given time to commit."""
    finished = threading.Event()
    running.add_done_callback(lambda _: finished.set())
    while not finished.wait(_POLL):
        if stop.requested.is_set():
            note("stopping when the current batches are committed")
            break
    waited = 0.0
    while not finished.wait(_POLL) and waited < _GRACE and not stop.insisted.is_set():
        waited += _POLL


def _close_runs(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> None:
    """Report the runs of this command as canceled: no process works on them any more."""
    import dagster as dg

    mine = dg.RunsFilter(
        tags=dict(tags),
        statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
    )
    for unfinished in instance.get_runs(mine):
        instance.report_run_canceled(unfinished, message="Stopped at the command line.")
