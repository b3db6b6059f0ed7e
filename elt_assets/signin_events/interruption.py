"""Stop a step from another thread at once, even while it waits or runs a query."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from elt_assets.errors import Stopped


class Interruption:
    """Pass one to a step, and call `request` from any thread to end that step.

    The step raises `Stopped`. Its commits stay, and running the step again continues from there.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._reason = ""
        self._guard = threading.Lock()
        self._reached: list[Callable[[], None]] = []

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def request(self, reason: str = "stopped on request") -> None:
        """End the step; `reason` is the text of its error."""
        with self._guard:
            if self._requested.is_set():
                return
            self._reason = reason
            self._requested.set()
            for reach in self._reached:
                reach()

    def check(self) -> None:
        """Raise `Stopped` if a stop was requested."""
        if self._requested.is_set():
            raise Stopped(self._reason)

    @contextmanager
    def reaching(self, reach: Callable[[], None]) -> Iterator[None]:
        """While the block runs, a request to stop calls `reach` in the requesting thread."""
        self.check()
        with self._guard:
            self._reached.append(reach)
        try:
            yield
        except duckdb.InterruptException:
            self.check()
            raise
        finally:
            with self._guard:
                self._reached.remove(reach)
