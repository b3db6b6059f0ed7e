"""Run the sync job inside a command, with progress, so that Ctrl-C can stop it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from elt_assets.cli.console.output import note
from elt_assets.cli.console.progress import display
from elt_assets.cli.console.stop_signals import Stop, stopping
from elt_assets.config.settings import Settings
from elt_assets.errors import Stopped
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Mode, Outcome, Progress
from elt_assets.sync.streams import STREAMS, Stream
from elt_assets.telemetry import logs

if TYPE_CHECKING:
    import dagster as dg

T = TypeVar("T")

_POLL = 0.1
_GRACE = 3.0
"""Seconds in which a stopped sync may commit the batches under way."""


def run(
    refs: Sequence[IntegrationRef],
    settings: Settings,
    sync_id: str,
    mode: Mode | None = None,
    streams: Collection[Stream] = tuple(STREAMS.values()),
    syncs: int | None = None,
) -> list[Outcome]:
    """Sync through Dagster, with signs of life on standard error; outcomes in the order given.

    Of `streams` each integration syncs those that it offers, `syncs` in all.
    Stopped by Ctrl-C or SIGTERM, it ends the command with the exit status for that.
    """
    from elt_assets.client.in_process_sync import run_sync
    from elt_assets.orchestration.assets.stream_assets import SYNC_ID_TAG
    from elt_assets.orchestration.instance.opening import open_instance

    if settings.log_format:
        logs.configure(settings.log_format, settings.log_level)
    with open_instance(settings) as instance, stopping() as stop:
        with display(len(refs) if syncs is None else syncs) as shown:

            def progress(report: Progress) -> None:
                # The engine reports a batch when it is committed: nothing is lost by ending here.
                if stop.requested.is_set():
                    raise Stopped("stopped on request")
                shown.progress(report)

            work = in_a_thread(
                lambda: run_sync(
                    refs,
                    settings=settings,
                    instance=instance,
                    sync_id=sync_id,
                    mode=mode,
                    streams=streams,
                    progress=progress,
                    settled=shown.settled,
                    stopped=stop.requested.is_set,
                )
            )
            wait_for(work, stop)
        kept = f"stopped; what is committed is kept, continue with --sync-id {sync_id}"
        return result_of(work, stop, instance, {SYNC_ID_TAG: sync_id}, kept)


def in_a_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` outside the main thread, whose signal handlers Dagster would otherwise replace.

    Dagster takes an interrupt for a failed step and retries it: Ctrl-C would go unanswered.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="run")
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def wait_for(work: Future[T], stop: Stop) -> None:
    """Return when the work is done, or has been asked to stop and given time to."""
    finished = threading.Event()
    work.add_done_callback(lambda _: finished.set())
    while not finished.wait(_POLL):
        if stop.requested.is_set():
            note("stopping when the batches under way are committed")
            break
    waited = 0.0
    while not finished.wait(_POLL) and waited < _GRACE and not stop.insisted.is_set():
        waited += _POLL


def result_of(
    work: Future[T], stop: Stop, instance: dg.DagsterInstance, tags: Mapping[str, str], kept: str
) -> T:
    """What the work came to. If it was asked to stop, say what is `kept`, and end the process.

    `tags` are those of its runs, which nobody works on any more.
    """
    if not stop.requested.is_set():
        return work.result()
    note(kept)
    if work.done():
        sys.exit(stop.exit_status)
    _close_runs(instance, tags)
    # Threads of the work would be waited for by an orderly exit. The platform survives
    # a kill at any moment, so this one loses nothing either.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(stop.exit_status)


def _close_runs(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> None:
    """Tell the instance that nobody works on this command's runs any more."""
    import dagster as dg

    mine = dg.RunsFilter(
        tags=dict(tags),
        statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED],
    )
    for unfinished in instance.get_runs(mine):
        instance.report_run_canceled(unfinished, message="Stopped at the command line.")
