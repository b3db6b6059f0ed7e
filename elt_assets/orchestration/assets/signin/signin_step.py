"""Run one step on sign-in events with a timeout, progress in the run's log, and retries."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import dagster as dg

from elt_assets.errors import EltAssetsError, SyncError
from elt_assets.orchestration.assets.progress_log import ProgressLog, reporter
from elt_assets.orchestration.assets.signin.signin_specs import EventAsset, following
from elt_assets.orchestration.assets.step_retries import is_retried
from elt_assets.orchestration.placement import Placement
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.results import EventListener, EventProgress

T = TypeVar("T")

Work = Callable[[Interruption, EventListener], T]
"""The work of a step; it receives its interruption, and a listener for its progress."""

SKIPPED_BY = "skipped_by"
"""Label of the metadata entry that names the asset whose failure caused the skip."""
SKIPPED_ERROR = "error"
"""Label of the metadata entry with the error of that asset."""

_LOOK_EVERY = 0.05


def as_text(progress: EventProgress) -> str:
    """`people-001: 12,000 rows, 40%, 3,000 a second, 6 s left`."""
    parts = [f"{progress.rows:,} rows"]
    if progress.share is not None:
        parts.append(f"{progress.share:.0%}")
    parts.append(f"{progress.rate:,.0f} a second")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:,.0f} s left")
    return f"{progress.what}: {', '.join(parts)}"


def worked(
    context: dg.AssetExecutionContext,
    asset: EventAsset,
    timeout: float,
    work: Work[T],
    at: Placement,
) -> T:
    """The result of `work`, which is interrupted after `timeout` seconds.

    Raises `Failure`, which allows a retry while another attempt can help; otherwise the assets that
    are skipped because of it are reported first.
    """
    try:
        return bounded(asset.name, timeout, work, ProgressLog(reporter(context, as_text), _item))
    except EltAssetsError as error:
        raise end(context, asset, str(error), at, retryable=_can_pass(error)) from error


def end(
    context: dg.AssetExecutionContext,
    asset: EventAsset,
    error: str,
    at: Placement,
    *,
    retryable: bool,
) -> dg.Failure:
    """Return a failure that Dagster retries, or the final one, which lists the skipped assets."""
    attempt = context.retry_number + 1
    if retryable and is_retried(context):
        context.log.warning("attempt %d failed and will be retried: %s", attempt, error)
        return dg.Failure(error)
    return dg.Failure(
        description=error,
        metadata={
            "source": asset.source,
            "stage": str(asset.queue),
            "attempts": attempt,
            "retryable": retryable,
            "skipped": report_skipped(context, asset, error, at),
        },
        allow_retries=False,
    )


def report_skipped(
    context: dg.AssetExecutionContext, asset: EventAsset, error: str, at: Placement
) -> str:
    """Report every asset that this run skips because `asset` failed; return their names.

    Dagster has no event for that: a step that is not executed leaves no trace on its asset.
    """
    day = context.partition_key
    selected = context.run.asset_selection
    missed = [one for one in following(asset.name) if not selected or at.key(one.name) in selected]
    cause = f"{asset.name} of {day} failed: {error}"
    for one in missed:
        context.log_event(
            dg.AssetObservation(
                at.key(one.name),
                partition=day,
                description=f"skipped, because {cause}",
                metadata={SKIPPED_BY: asset.name, SKIPPED_ERROR: error},
            )
        )
    names = ", ".join(one.name for one in missed) or "nothing"
    context.log.error("%s; skipped because of it: %s", cause, names)
    return names


def bounded(name: str, timeout: float, work: Work[T], log: ProgressLog[EventProgress]) -> T:
    """Run `work` in another thread; this thread keeps the time and can be interrupted."""
    stop = Interruption()
    with ThreadPoolExecutor(1, thread_name_prefix=name) as pool:
        future: Future[T] = pool.submit(work, stop, log.heard)
        started = time.monotonic()
        try:
            while not wait([future], _LOOK_EVERY).done:
                log.write()
                if time.monotonic() - started > timeout:
                    stop.request(
                        f"{name} was interrupted after {timeout:g} s; what it committed is kept "
                        "(ELT_ASSETS_STEP_TIMEOUT, or timeout_seconds of the run, allows more)"
                    )
        finally:
            # A terminated run gets here too, and must not wait until the work ends by itself.
            stop.request()
    return future.result()


def _item(progress: EventProgress) -> str:
    return progress.what


def _can_pass(error: EltAssetsError) -> bool:
    return isinstance(error, SyncError) and error.retryable
