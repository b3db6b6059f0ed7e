"""Run one step on sign-in events with a timeout, progress in the run's log, and retries."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar

import dagster as dg

from elt_assets.errors import EltAssetsError, SyncError
from elt_assets.orchestration.assets.signin.signin_specs import EventAsset, following
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.results import EventListener, EventProgress

T = TypeVar("T")

Work = Callable[[Interruption, EventListener], T]
"""What a step does, with a way to end it and somebody who listens."""

SKIPPED_BY = "skipped_by"
"""Label of the metadata entry that names the asset whose failure left this one out."""

_LOOK_EVERY = 0.05
_SECONDS_BETWEEN = 5.0
_PROGRESS = "under way: "
_SKIPPED = "; skipped because of it: "


class ProgressLines:
    """Hears of progress from any thread; writes the newest when the step's own thread asks."""

    def __init__(self, write: Callable[[str], None], every: float = _SECONDS_BETWEEN) -> None:
        self._write = write
        self._every = every
        self._lock = Lock()
        self._news: dict[str, EventProgress] = {}
        self._written = time.monotonic()

    def heard(self, progress: EventProgress) -> None:
        """Remember how far it is."""
        with self._lock:
            self._news[progress.what] = progress

    def write(self) -> None:
        """Write what is new, unless that was done a moment ago: every line is stored."""
        if time.monotonic() - self._written < self._every:
            return
        with self._lock:
            news, self._news = self._news, {}
        if news:
            self._written = time.monotonic()
            self._write(_PROGRESS + "; ".join(map(as_text, news.values())))


def as_text(progress: EventProgress) -> str:
    """`people-001: 12,000 rows, 40%, 3,000 a second, 6 s left`."""
    parts = [f"{progress.rows:,} rows"]
    if progress.share is not None:
        parts.append(f"{progress.share:.0%}")
    parts.append(f"{progress.rate:,.0f} a second")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:,.0f} s left")
    return f"{progress.what}: {', '.join(parts)}"


def is_progress(message: str) -> bool:
    """Whether a line of a run's log is one that `ProgressLines` wrote."""
    return message.startswith(_PROGRESS)


def is_failure(message: str) -> bool:
    """Whether a line of a run's log says what failed, and what was left out because of it."""
    return _SKIPPED in message


def worked(
    context: dg.AssetExecutionContext, asset: EventAsset, timeout: float, work: Work[T]
) -> T:
    """The result of `work`, which is interrupted after `timeout` seconds.

    Raises `RetryRequested` while trying again can help, otherwise `Failure`, after saying what
    is left out because of it.
    """
    try:
        return bounded(asset.name, timeout, work, ProgressLines(context.log.info))
    except EltAssetsError as error:
        raise end(context, asset, str(error), retryable=_can_pass(error)) from error


def end(
    context: dg.AssetExecutionContext, asset: EventAsset, error: str, *, retryable: bool
) -> dg.RetryRequested | dg.Failure:
    """How a step that came to nothing is to end: what to raise, once its cost has been told."""
    attempt = context.retry_number + 1
    if retryable and attempt <= asset.retries.max_retries:
        context.log.warning("attempt %d failed and is tried again: %s", attempt, error)
        return dg.RetryRequested(
            max_retries=asset.retries.max_retries,
            seconds_to_wait=asset.retries.calculate_delay(attempt),
        )
    return dg.Failure(
        description=error,
        metadata={
            "source": asset.source,
            "stage": str(asset.queue),
            "attempts": attempt,
            "retryable": retryable,
            "skipped": tell_skipped(context, asset, error),
        },
        allow_retries=False,
    )


def tell_skipped(context: dg.AssetExecutionContext, asset: EventAsset, error: str) -> str:
    """Say of every asset that follows that this run leaves it out, and why; returns their names.

    Dagster has no event for that: a step that is not executed leaves no trace on its asset.
    """
    day = context.partition_key
    selected = context.run.asset_selection
    missed = [one for one in following(asset.name) if not selected or one.key in selected]
    cause = f"{asset.name} of {day} failed: {error}"
    for one in missed:
        context.log_event(
            dg.AssetObservation(
                one.key,
                partition=day,
                description=f"skipped, because {cause}",
                metadata={SKIPPED_BY: asset.name, "error": error},
            )
        )
    names = ", ".join(one.name for one in missed) or "nothing"
    context.log.error("%s%s%s", cause, _SKIPPED, names)
    return names


def bounded(name: str, timeout: float, work: Work[T], lines: ProgressLines) -> T:
    """Run `work` in another thread; this one keeps time and can be interrupted by a person."""
    stop = Interruption()
    with ThreadPoolExecutor(1, thread_name_prefix=name) as pool:
        future: Future[T] = pool.submit(work, stop, lines.heard)
        started = time.monotonic()
        try:
            while not wait([future], _LOOK_EVERY).done:
                lines.write()
                if time.monotonic() - started > timeout:
                    stop.request(
                        f"{name} was interrupted after {timeout:g} s; what it committed is kept "
                        "(ELT_ASSETS_STEP_TIMEOUT, or timeout_seconds of the run, allows more)"
                    )
        finally:
            # A person's interrupt ends up here too, and must not wait for the work's own end.
            stop.request()
    return future.result()


def _can_pass(error: EltAssetsError) -> bool:
    return isinstance(error, SyncError) and error.retryable
