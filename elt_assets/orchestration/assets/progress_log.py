"""Progress of running syncs in the run's log, as text that clients parse.

Every event is stored, so one event covers all running integrations, and only if some of them
advanced.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from elt_assets.sync.outcome import Progress, ProgressListener

_SECONDS_BETWEEN = 5.0
_TITLE = "under way:"
_LINE = re.compile(r"(\S+) (\w+): ([\d,]+) batches, ([\d,]+) records")


class ProgressLog:
    """Hears of progress from many threads; writes of it when the run's own thread asks."""

    def __init__(
        self,
        write: Callable[[str], None],
        also: ProgressListener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._also = also
        self._clock = clock
        self._lock = threading.Lock()
        self._news: dict[str, Progress] = {}
        self._written = clock()

    def heard(self, progress: Progress) -> None:
        """Remember how far an integration is, and pass it on."""
        with self._lock:
            self._news[progress.partition] = progress
        self._also(progress)

    def write(self) -> None:
        """Write what is new, unless that was done a moment ago."""
        now = self._clock()
        with self._lock:
            if not self._news or now - self._written < _SECONDS_BETWEEN:
                return
            news, self._news = self._news, {}
        self._written = now
        self._write(as_text(list(news.values())))


def as_text(progress: list[Progress]) -> str:
    """One line for each integration."""
    return "\n".join(
        [
            _TITLE,
            *(
                f"{one.partition} {one.stage}: {one.batches:,} batches, {one.records:,} records"
                for one in progress
            ),
        ]
    )


def from_text(message: str) -> list[Progress]:
    """What `as_text` made a text of; nothing from any other message."""
    title, *lines = message.splitlines() or [""]
    if title != _TITLE:
        return []
    return [
        Progress(found[1], found[2], int(found[3].replace(",", "")), int(found[4].replace(",", "")))
        for found in map(_LINE.fullmatch, lines)
        if found
    ]
