"""A worker pool: threads that process a list of tasks in its order, a fixed number at a time.

A task that can only wait releases its slot (`connectors.slot`), and the next task of the list
starts in another thread. Tasks that want a slot back get one in the order in which they ask, and
go before tasks that have not started.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from elt_assets.connectors import slot
from elt_assets.connectors.slot import Slot

T = TypeVar("T")
R = TypeVar("R")

_MOMENT = 1.0
"""Seconds after which `meanwhile` is called while the caller waits for results."""
_HOLDING_PER_SLOT = 3
"""Tasks that may hold memory while they wait without a slot, for each slot. Further tasks keep
their slots, so that memory stays bounded."""


class WorkerPool(Generic[T, R]):
    """Runs `work` on each of `tasks`, at most `slots` at a time, while `may_begin` allows it.

    At most `at_once` have started and not ended: those in slots and those that wait. The first
    task always starts, so that a run whose budget is spent still makes progress.
    """

    def __init__(
        self,
        work: Callable[[T], R],
        tasks: Iterable[T],
        *,
        slots: int,
        at_once: int,
        stop: threading.Event,
        may_begin: Callable[[], bool],
    ) -> None:
        self._work = work
        self._tasks = deque(tasks)
        self._slots = min(slots, at_once)
        self._at_once = at_once
        self._stop = stop
        self._may_begin = may_begin
        self._context = copy_context()
        self._lock = threading.Lock()
        self._occupied = self._running = self._holding = 0
        self._returning: deque[threading.Event] = deque()
        self._begun = False
        self._results: SimpleQueue[tuple[R] | BaseException | threading.Thread] = SimpleQueue()
        self._threads: set[threading.Thread] = set()

    def results(self, meanwhile: Callable[[], None]) -> Generator[R]:
        """Yield each result as it arrives; call `meanwhile` about once a second, in this thread.

        A caller that closes the generator starts no further task and waits for the running ones.
        An exception of one task ends all of them and is raised here. Can be used once.
        """
        try:
            with self._lock:
                self._fill_slots()
            while self._threads:
                try:
                    result = self._results.get(timeout=_MOMENT)
                except Empty:
                    pass
                else:
                    if isinstance(result, tuple):
                        yield result[0]
                    elif isinstance(result, BaseException):
                        raise result
                    else:
                        result.join()
                        with self._lock:
                            self._threads.discard(result)
                meanwhile()
        finally:
            self._stop.set()
            with self._lock:
                running = list(self._threads)
            for thread in running:
                thread.join()

    @property
    def left(self) -> list[T]:
        """The tasks that were not started, in order."""
        return list(self._tasks)

    def _fill_slots(self) -> None:
        """Start tasks in the free slots. The caller holds the lock."""
        if not self._more_to_begin():
            return
        free = self._slots - self._occupied
        room = self._at_once - self._running
        for _ in range(min(free, room, len(self._tasks))):
            self._occupied += 1
            self._running += 1
            thread = threading.Thread(target=self._work_through, name="sync")
            self._threads.add(thread)
            thread.start()

    def _work_through(self) -> None:
        """Run tasks in one thread, which holds a slot when it starts and when it ends."""
        try:
            task = self._next()
            while task is not None:
                self._results.put((self._context.copy().run(self._run_in_slot, task[0]),))
                # A thread that has run queries keeps megabytes until it ends. Threads beyond the
                # number of slots therefore end after one task, and new ones start in their place.
                task = None if self._running > self._slots else self._next()
        except BaseException as error:  # noqa: BLE001 - raised by the thread that reads results
            self._stop.set()
            self._results.put(error)
        finally:
            with self._lock:
                self._running -= 1
                self._pass_on()
            self._results.put(threading.current_thread())

    def _run_in_slot(self, task: T) -> R:
        slot.take(Slot(self._release, self._reacquire))
        return self._work(task)

    def _next(self) -> tuple[T] | None:
        """The next task; None while nothing may start or a waiting task wants its slot back."""
        with self._lock:
            if self._returning or not self._more_to_begin():
                return None
            self._begun = True
            return (self._tasks.popleft(),)

    def _more_to_begin(self) -> bool:
        return (
            not self._stop.is_set() and bool(self._tasks) and (not self._begun or self._may_begin())
        )

    def _release(self, holding: bool) -> bool:
        with self._lock:
            if holding and self._holding >= self._slots * _HOLDING_PER_SLOT:
                return False
            self._holding += holding
            self._pass_on()
            return True

    def _reacquire(self, holding: bool) -> None:
        with self._lock:
            self._holding -= holding
            if self._occupied < self._slots:
                self._occupied += 1
                return
            turn = threading.Event()
            self._returning.append(turn)
        turn.wait()

    def _pass_on(self) -> None:
        """Give a slot to the task that has waited longest for one. The caller holds the lock."""
        if self._returning:
            self._returning.popleft().set()
            return
        self._occupied -= 1
        self._fill_slots()
