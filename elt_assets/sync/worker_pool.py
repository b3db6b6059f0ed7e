"""A worker pool: threads that process a list of tasks in its order, a fixed number at a time.

A task that can only wait releases its slot (`connectors.slot`), and the next task of the list
starts in another thread. A task that wants its slot back goes before tasks that have not started.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from elt_assets.connectors import slot
from elt_assets.connectors.slot import Slot

T = TypeVar("T")
R = TypeVar("R")

_MOMENT = 1.0
"""Seconds after which a caller that waits for results is called back."""
_WAITING_PER_SLOT = 3
"""Tasks that may wait without a slot, for each slot. A waiting task holds a file and a few
pages; further ones keep their slots, so that memory stays bounded."""


class WorkerPool(Generic[T, R]):
    """Runs `work` on each of `tasks`, at most `slots` at a time, while `may_begin` allows it.

    The first task always starts, so that a run whose budget is spent still makes progress.
    """

    def __init__(
        self,
        work: Callable[[T], R],
        tasks: Iterable[T],
        *,
        slots: int,
        stop: threading.Event,
        may_begin: Callable[[], bool],
    ) -> None:
        self._work = work
        self._tasks = deque(tasks)
        self._slots = slots
        self._stop = stop
        self._may_begin = may_begin
        self._context = copy_context()
        self._changed = threading.Condition()
        self._occupied = self._reacquiring = self._threads_busy = 0
        self._begun = False
        self._results: SimpleQueue[tuple[R] | Future[None]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(
            max(1, slots * (1 + _WAITING_PER_SLOT)), thread_name_prefix="sync"
        )

    def results(self, meanwhile: Callable[[], None]) -> Generator[R]:
        """Yield each result as it arrives; call `meanwhile` about once a second, in this thread.

        A caller that closes the generator starts no further task and waits for the running ones.
        An exception of one task ends all of them and is raised here. Can be used once.
        """
        with self._threads:
            try:
                with self._changed:
                    self._fill_slots()
                while self._threads_busy:
                    try:
                        result = self._results.get(timeout=_MOMENT)
                    except Empty:
                        pass
                    else:
                        if isinstance(result, tuple):
                            yield result[0]
                        else:
                            with self._changed:
                                self._threads_busy -= 1
                            result.result()
                    meanwhile()
            finally:
                self._stop.set()
                with self._changed:
                    self._changed.notify_all()

    @property
    def left(self) -> list[T]:
        """The tasks that were not started, in order."""
        return list(self._tasks)

    def _fill_slots(self) -> None:
        """Start tasks in the free slots. The caller holds the lock."""
        if not self._more_to_begin():
            return
        free = self._slots - self._occupied - self._reacquiring
        room = self._slots * (1 + _WAITING_PER_SLOT) - self._threads_busy
        for _ in range(min(free, room, len(self._tasks))):
            self._occupied += 1
            self._threads_busy += 1
            self._threads.submit(self._work_through).add_done_callback(self._results.put)

    def _work_through(self) -> None:
        """Run tasks in one thread, which holds a slot when it starts and when it ends."""
        try:
            while (task := self._next()) is not None:
                self._results.put((self._context.copy().run(self._run_in_slot, task[0]),))
        except BaseException:
            self._stop.set()
            raise
        finally:
            with self._changed:
                self._occupied -= 1
                self._changed.notify_all()
                self._fill_slots()

    def _run_in_slot(self, task: T) -> R:
        slot.take(Slot(self._release, self._reacquire))
        return self._work(task)

    def _next(self) -> tuple[T] | None:
        """The next task; none while nothing may start or a waiting task wants its slot back."""
        with self._changed:
            if self._reacquiring or not self._more_to_begin():
                return None
            self._begun = True
            return (self._tasks.popleft(),)

    def _more_to_begin(self) -> bool:
        return (
            not self._stop.is_set() and bool(self._tasks) and (not self._begun or self._may_begin())
        )

    def _release(self) -> None:
        with self._changed:
            self._occupied -= 1
            self._changed.notify_all()
            self._fill_slots()

    def _reacquire(self) -> None:
        with self._changed:
            self._reacquiring += 1
            self._changed.wait_for(lambda: self._occupied < self._slots or self._stop.is_set())
            self._reacquiring -= 1
            self._occupied += 1
