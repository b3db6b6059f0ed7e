"""A crew: threads that work off a list in its order, a given number of them at once.

Belongs here: handing out tasks and seats, and collecting results. Does not: what a task is,
or which order is a good one.

A task whose holder can only wait gives up its seat (`elt_assets.connectors.slot`), and the next one
of the list begins: the crew grows by a thread. Who comes back is seated before anybody begins.
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
from elt_assets.connectors.slot import Seat

T = TypeVar("T")
R = TypeVar("R")

_MOMENT = 1.0
"""Seconds after which a caller who waits for results gets a turn of its own."""
_WAITING_ROOM = 3
"""Tasks that may wait without a seat, for each seat. A waiting one holds a file and a few
pages; more of them keep their seats, so that memory stays bounded."""


class Crew(Generic[T, R]):
    """Does `work` on `tasks`, at most `seats` at once; begins one only if `may_begin`.

    The first is begun in any case: who comes too late each time would never get anywhere.
    """

    def __init__(
        self,
        work: Callable[[T], R],
        tasks: Iterable[T],
        *,
        seats: int,
        stop: threading.Event,
        may_begin: Callable[[], bool],
    ) -> None:
        self._work = work
        self._tasks = deque(tasks)
        self._seats = seats
        self._stop = stop
        self._may_begin = may_begin
        self._context = copy_context()
        self._changed = threading.Condition()
        self._seated = self._coming_back = self._members = 0
        self._begun = False
        self._results: SimpleQueue[tuple[R] | Future[None]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(
            max(1, seats * (1 + _WAITING_ROOM)), thread_name_prefix="sync"
        )

    def results(self, meanwhile: Callable[[], None]) -> Generator[R]:
        """Each result as it comes; `meanwhile` is called about once a second, in this thread.

        Whoever stops listening leaves alone what has not begun and waits for what has. What
        a task raises ends all of them and is raised here. For one use.
        """
        with self._threads:
            try:
                with self._changed:
                    self._seat_more()
                while self._members:
                    try:
                        result = self._results.get(timeout=_MOMENT)
                    except Empty:
                        pass
                    else:
                        if isinstance(result, tuple):
                            yield result[0]
                        else:
                            with self._changed:
                                self._members -= 1
                            result.result()
                    meanwhile()
            finally:
                self._stop.set()
                with self._changed:
                    self._changed.notify_all()

    @property
    def left(self) -> list[T]:
        """The tasks that were not begun, in order."""
        return list(self._tasks)

    def _seat_more(self) -> None:
        """Fill free seats while there is something to begin; the lock is held."""
        if not self._more_to_begin():
            return
        free = self._seats - self._seated - self._coming_back
        room = self._seats * (1 + _WAITING_ROOM) - self._members
        for _ in range(min(free, room, len(self._tasks))):
            self._seated += 1
            self._members += 1
            self._threads.submit(self._member).add_done_callback(self._results.put)

    def _member(self) -> None:
        """One thread's work; it begins and ends seated."""
        try:
            while (task := self._next()) is not None:
                self._results.put((self._context.copy().run(self._seated_at, task[0]),))
        except BaseException:
            self._stop.set()
            raise
        finally:
            with self._changed:
                self._seated -= 1
                self._changed.notify_all()
                self._seat_more()

    def _seated_at(self, task: T) -> R:
        slot.take(Seat(self._leave, self._come_back))
        return self._work(task)

    def _next(self) -> tuple[T] | None:
        """The next task, unless nothing is to begin, or somebody comes back and has none."""
        with self._changed:
            if self._coming_back or not self._more_to_begin():
                return None
            self._begun = True
            return (self._tasks.popleft(),)

    def _more_to_begin(self) -> bool:
        return (
            not self._stop.is_set() and bool(self._tasks) and (not self._begun or self._may_begin())
        )

    def _leave(self) -> None:
        with self._changed:
            self._seated -= 1
            self._changed.notify_all()
            self._seat_more()

    def _come_back(self) -> None:
        with self._changed:
            self._coming_back += 1
            self._changed.wait_for(lambda: self._seated < self._seats or self._stop.is_set())
            self._coming_back -= 1
            self._seated += 1
