"""Progress of running syncs: a live display on a terminal, plain lines elsewhere.

The engine reports from many threads at once; the displays take a lock.
"""

from __future__ import annotations

import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from elt_assets.cli.console.output import note, printable
from elt_assets.sync.admin.completeness import completeness
from elt_assets.sync.outcome import Outcome, Status, SyncProgress
from elt_assets.sync.streams import USERS

_SECONDS_BETWEEN_LINES = 10.0
_LINES_AROUND_THE_LIST = 4


class Display(AbstractContextManager["Display"]):
    """Shows how the integrations of one command advance, while its block lasts."""

    @abstractmethod
    def progress(self, progress: SyncProgress) -> None:
        """Show that an integration has advanced."""

    @abstractmethod
    def settled(self, outcome: Outcome) -> None:
        """Show the result of an integration."""

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""


def display(syncs: int) -> Display:
    """The display on standard error for a command that makes this many syncs."""
    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
    return LiveDisplay(syncs, console) if console.is_terminal else PlainDisplay()


class PlainDisplay(Display):
    """A line for every settled integration, and every ten seconds for one that takes long."""

    def __init__(
        self,
        write: Callable[[str], None] = note,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def progress(self, progress: SyncProgress) -> None:
        """Write a line unless the integration's last one is recent."""
        now = self._clock()
        with self._lock:
            if now - self._last.setdefault(progress.partition, now) < _SECONDS_BETWEEN_LINES:
                return
            self._last[progress.partition] = now
            self._write(str(progress))

    def settled(self, outcome: Outcome) -> None:
        """Write the integration's result."""
        with self._lock:
            self._last.pop(outcome.partition, None)
            self._write(one_line(outcome))


class LiveDisplay(Display):
    """One line for each running integration, as many as fit, above a line of totals."""

    def __init__(
        self, syncs: int, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._syncs = syncs
        self._console = console
        self._clock = clock
        self._begun = clock()
        self._lock = threading.Lock()
        self._running: dict[str, SyncProgress] = {}
        self._settled: dict[Status, int] = {}
        self._records = 0

    def progress(self, progress: SyncProgress) -> None:
        """Keep the progress of the integration for the next refresh."""
        with self._lock:
            self._running[progress.partition] = progress

    def settled(self, outcome: Outcome) -> None:
        """Move the integration from the list to the totals; print what is wrong with it."""
        if outcome.status not in (Status.APPLIED, Status.UNCHANGED):
            self._console.print(printable(one_line(outcome)), soft_wrap=True)
        with self._lock:
            self._running.pop(outcome.partition, None)
            self._settled[outcome.status] = self._settled.get(outcome.status, 0) + 1
            self._records += outcome.counts.fetched

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live = Live(
            get_renderable=self.picture,
            console=self._console,
            refresh_per_second=8,
            transient=True,
        )
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the drawing, so that only the command's own output remains."""
        self._live.stop()

    def picture(self) -> RenderableType:
        """The current content of the display."""
        with self._lock:
            running = list(self._running.values())
            settled = dict(self._settled)
            records = self._records + sum(progress.records for progress in running)
        room = max(1, self._console.height - _LINES_AROUND_THE_LIST)
        table = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right"):
            table.add_column(justify=justify, no_wrap=True)
        for progress in running[:room]:
            table.add_row(
                printable(progress.partition),
                Text(progress.stage, style="cyan"),
                progress.amount,
                f"{progress.seconds:,.0f} s" if progress.seconds else "",
            )
        hidden = len(running) - room
        lines: list[RenderableType] = [table]
        if hidden > 0:
            lines.append(Text(f"… and {hidden:,} more running", style="dim"))
        by_status = ", ".join(f"{count:,} {status}" for status, count in sorted(settled.items()))
        lines.append(
            Text(
                f"{sum(settled.values()):,} of {self._syncs:,} syncs done"
                f"{f' ({by_status})' if by_status else ''}, {records:,} records, "
                f"{self._clock() - self._begun:,.0f} s",
                style="bold",
            )
        )
        return Group(*lines)


def one_line(outcome: Outcome) -> str:
    """An integration's result in one line, with the cause if it is not applied."""
    stream = "" if outcome.stream == USERS.name else f" {outcome.stream}"
    name = f"{outcome.partition}{stream} {outcome.status}"
    match outcome.status:
        case Status.APPLIED | Status.UNCHANGED:
            counts = outcome.counts
            future, unreadable = counts.future_times, counts.unreadable_times
            return (
                f"{name}: {counts.staged:,} staged, {counts.inserts:,} inserted, "
                f"{counts.updates:,} updated, {counts.deletes:,} deleted, "
                f"{counts.latest:,} in latest"
                + (f"; {future:,} records have a time of change in the future" if future else "")
                + (f"; {unreadable:,} change times cannot be read" if unreadable else "")
                + _incomplete(outcome)
            )
        case Status.QUARANTINED:
            return f"{name}: {'; '.join(outcome.reasons)}{_incomplete(outcome)}"
        case Status.SUPERSEDED:
            return f"{name}: a sync that began later was applied first"
    cause = outcome.error or "it is not settled"
    return f"{name}: {cause.removeprefix(f'{outcome.partition}: ')}"


def _incomplete(outcome: Outcome) -> str:
    if completeness(outcome.status, outcome.mode, outcome.certificate) is not False:
        return ""
    return f"; the listing is not complete: {'; '.join(outcome.certificate.reasons)}"
