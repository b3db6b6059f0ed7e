"""Fault injection: the points at which a sync can be made to fail, and random faults for them.

The faults simulate an API that fails, a database write that fails after it committed, and a process
that dies. Without faults the hooks do nothing. Faults of a provider are in `demo.fault_injection`.
"""

from __future__ import annotations

import ctypes
import logging
import random
import threading
from collections import Counter
from dataclasses import dataclass, field

from elt_assets.errors import ProviderUnavailable, WriteInterrupted

log = logging.getLogger(__name__)


class Faults:
    """Hooks at points of a sync; nothing fails there unless a subclass overrides them."""

    def before_page(self) -> None:
        """Called before each page is fetched. May raise `ProviderUnavailable`."""

    def after_commit(self, batch: int) -> None:
        """Called after batch `batch` (from 0) is committed.

        May raise `WriteInterrupted`, or end the process.
        """


NO_FAULTS = Faults()


@dataclass
class FaultDice(Faults):
    """Faults at random, with configurable probabilities; safe to share between threads.

    `fired` counts the faults by name. A crash ends the process that would count it.
    """

    page_failure: float = 0.02
    failure_after_commit: float = 0.40
    crash: float = 0.05
    crash_after_batch: int = 5
    seed: int | None = None
    fired: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - dice, not keys
        self._guard = threading.Lock()

    def before_page(self) -> None:
        """Fail like a provider that is unavailable for a moment."""
        if self._hit(self.page_failure, "page"):
            raise ProviderUnavailable("simulated failure of the provider")

    def after_commit(self, batch: int) -> None:
        """End the process as if it ran out of memory, or fail after the data is committed."""
        if batch >= self.crash_after_batch and self._hit(self.crash, "crash"):
            ctypes.string_at(0)  # a real segmentation fault: nothing gets to clean up
        if self._hit(self.failure_after_commit, "after_commit"):
            raise WriteInterrupted("simulated failure after a committed write")

    def _hit(self, odds: float, name: str) -> bool:
        with self._guard:
            hit = self._random.random() < odds
            if hit:
                self.fired[name] += 1
        if hit:
            # Logged before the fault: a process that crashes logs nothing afterwards.
            log.warning("simulated fault: %s", name)
        return hit
