"""Stop a step from another thread, at once, whatever it waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from elt_assets.errors import Stopped


class Interruption:
    """Hand one to a step, and call `request` from any thread to end that step.

    The step raises `Stopped`; what it had committed stays, and the same step goes on there.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._reason = ""
        self._guard = threading.Lock()
        self._reached: list[Callable[[], None]] = []

    @property
    def requested(self) -> bool:
        """Whether the step was requested to stop."""
        return self._requested.is_set()

    def request(self, reason: str = "stopped on request") -> None:
        """End the step; `reason` is what its error says."""
        with self._guard:
            if self._requested.is_set():
                return
            self._reason = reason
            self._requested.set()
            for reach in self._reached:
                reach()

    def check(self) -> None:
        """Raise `Stopped` if it was requested."""
        if self._requested.is_set():
            raise Stopped(self._reason)

    @contextmanager
    def reaching(self, reach: Callable[[], None]) -> Iterator[None]:
        """While the block runs, a request calls `reach`, from the thread that makes it."""
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
