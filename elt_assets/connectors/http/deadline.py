"""Deadlines that no peer can extend: one thread shuts down the sockets of a late exchange.

A socket's own timeout restarts with each byte, so a peer that sends one byte a second never exceeds
it: in a header, a chunk extension, a trailer or a TLS handshake. Shutting the socket down ends
every such wait. How long an exchange may take is set in `limits`.
"""

from __future__ import annotations

import heapq
import itertools
import socket
import threading
import time
from contextlib import suppress
from typing import Self


class Deadline:
    """Shuts down the sockets given to `watch` when its time is over. A context manager."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._handles: list[socket.socket] = []
        self.over = False
        """Whether the work has ended, so that the deadline no longer applies."""
        self.passed = False
        """Whether the time was over before the work ended."""

    @property
    def left(self) -> float:
        """Seconds until the deadline, not below zero."""
        return max(0.0, self._ends - time.monotonic())

    def __enter__(self) -> Self:
        _WATCH.add(self._ends, self)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.over = True
            self._sockets.clear()
            while self._handles:
                self._handles.pop().close()

    def watch(self, one: socket.socket, *, connected: bool = False) -> None:
        """Shut down this socket too at the deadline; at once if the time is already over.

        Unless the socket is `connected`, the deadline watches a duplicate of its descriptor: the
        TLS handshake detaches the original one from the socket.
        """
        if not connected:
            one = socket.fromfd(one.fileno(), one.family, one.type)
        with self._lock:
            (self._sockets if connected else self._handles).append(one)
            if self.passed:
                shut(one)

    def expire(self) -> None:
        """Shut down the watched sockets, unless the work has ended."""
        with self._lock:
            if self.over:
                return
            self.passed = True
            for one in (*self._sockets, *self._handles):
                shut(one)


def shut(one: socket.socket) -> None:
    """End every wait on a socket, in all threads."""
    # `SSLSocket.shutdown` would also drop the TLS layer while another thread reads through it.
    with suppress(OSError):
        socket.socket.shutdown(one, socket.SHUT_RDWR)


class _Watch:
    """One thread that expires deadlines; it is started for the first deadline."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, moment: float, deadline: Deadline) -> None:
        """Expire `deadline` at `moment` unless its work is over by then."""
        with self._changed:
            heapq.heappush(self._line, (moment, next(self._numbers), deadline))
            # A forked process does not have the threads of its parent.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif self._line[0][2] is deadline:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (due := self._due()):
                    self._changed.wait(self._line[0][0] - time.monotonic() if self._line else None)
            due.expire()

    def _due(self) -> Deadline | None:
        """The first deadline whose time has come, or None; deadlines of ended work are dropped.

        Almost all work ends before its deadline, so the thread is not woken for each of them.
        """
        while self._line:
            moment, _, deadline = self._line[0]
            if not deadline.over and moment > time.monotonic():
                return None
            heapq.heappop(self._line)
            if not deadline.over:
                return deadline
        return None


_WATCH = _Watch()
