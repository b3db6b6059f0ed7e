"""Store events of partitions in groups: of up to 100 events, or those of a second.

Storing an event costs two commits and an update of its asset's newest event, which is several times
the cost of its row. A read or write through the same storage stores the waiting events first;
another process sees them a second later. A process that is killed loses those of its last second,
and the run that continues its work reports every partition again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

_TYPES = frozenset(
    {
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        dg.DagsterEventType.ASSET_OBSERVATION,
    }
)
_MOST = 100
_LONGEST = 1.0
"""The most seconds that an event waits."""

Store = Callable[[Sequence[dg.EventLogEntry]], None]


def is_grouped(event: dg.EventLogEntry) -> bool:
    """Whether runs report many events of this type, and nothing waits for one."""
    return bool(event.run_id) and event.is_dagster_event and event.dagster_event_type in _TYPES


def newest_of_assets(
    events: Sequence[dg.EventLogEntry], ids: Sequence[int]
) -> list[tuple[dg.EventLogEntry, int]]:
    """The last event of each type of each asset, with its id, in their order.

    Earlier events of an asset and type add nothing to the last one.
    """
    newest = {
        (event.get_dagster_event().asset_key, event.dagster_event_type): place
        for place, event in enumerate(events)
    }
    return [(events[place], ids[place]) for place in sorted(newest.values())]


class EventGroups:
    """Events that wait to be stored together by `store`; safe to use from many threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[dg.EventLogEntry] = []
        self._guard = threading.Lock()
        self._storing = threading.RLock()
        self._thread = threading.local()
        self._timer: threading.Timer | None = None

    def add(self, event: dg.EventLogEntry) -> None:
        """Let the event wait; store all waiting events if there are many."""
        with self._guard:
            self._waiting.append(event)
            full = len(self._waiting) >= _MOST
            if self._timer is None:
                self._timer = threading.Timer(_LONGEST, self._store_late)
                self._timer.daemon = True
                self._timer.start()
        if full:
            self.flush()

    def flush(self) -> None:
        """Store the waiting events. If that fails, they go on waiting, and the error is raised."""
        # A caller that finds no event still waits for a thread that is storing some.
        with self._storing:
            with self._guard:
                events, self._waiting = self._waiting, []
                timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
            if not events:
                return
            self._thread.stores = True
            try:
                self._store(events)
            except BaseException:
                with self._guard:
                    self._waiting = events + self._waiting
                raise
            finally:
                self._thread.stores = False

    @contextmanager
    def flushed(self) -> Iterator[None]:
        """Store the waiting events before the block, unless the block is part of storing them."""
        if not getattr(self._thread, "stores", False):
            self.flush()
        yield

    def _store_late(self) -> None:
        try:
            self.flush()
        except Exception:  # noqa: BLE001
            # The run's own thread meets the error with its next event, and reports it.
            return
