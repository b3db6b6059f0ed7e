"""The workplace of an extraction: a slot of the worker pool and the attached warehouse.

Both are released while every thread of the extraction waits for the provider. The extraction keeps
the integration's lease, so that no other sync of the integration begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from elt_assets.connectors import slot
from elt_assets.storage.warehouse.warehouse import Warehouse

_GRACE = 0.05
"""Seconds without a new page after which the workplace is released. Releasing and reacquiring it
takes a few milliseconds; a provider without latency always answers sooner."""


class Workplace:
    """Counts the working threads of an extraction, beginning with the thread that creates it.

    With `may_leave` false, nothing is ever released: the pages come from the warehouse itself, or
    from a source that computes them while a reader waits.
    """

    def __init__(self, warehouse: Warehouse, *, may_leave: bool) -> None:
        self._warehouse = warehouse
        self._may_leave = may_leave
        self._slot = slot.current()
        self._working = 1
        self._arrived = 0
        self._detached = False
        self._slot_released = False
        self._lock = threading.Lock()

    def arrived(self) -> None:
        """Record that another page has arrived."""
        self._arrived += 1

    def join(self) -> None:
        """Record that another thread begins to work."""
        with self._lock:
            self._working += 1

    def quit(self) -> None:
        """Record that a thread has ended; the items that others await exist or will never come."""
        with self._lock:
            self._working -= 1

    def wait(self, changed: threading.Condition, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, which `changed` notifies; release the workplace if no page arrives.

        Raises the errors of attaching the warehouse again.
        """
        with changed:
            if not self._may_leave:
                changed.wait_for(ready)
                return
            arrived = None
            while arrived != self._arrived:
                arrived = self._arrived
                if changed.wait_for(ready, _GRACE):
                    return
        self._leave()
        try:
            with changed:
                changed.wait_for(ready)
        finally:
            self._return()

    def _leave(self) -> None:
        with self._lock:
            self._working -= 1
            if self._working:
                return
            self._detached = self._warehouse.attached and self._warehouse.detach()
            if self._slot is not None:
                self._slot_released = self._slot.release(holding=self._warehouse.attached)

    def _return(self) -> None:
        with self._lock:
            self._working += 1
            if self._slot is not None and self._slot_released:
                self._slot.reacquire(holding=self._warehouse.attached)
                self._slot_released = False
            if self._detached:
                self._warehouse.attach()
                self._detached = False
