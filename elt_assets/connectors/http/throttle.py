"""Space the requests of an app across the threads, workers and integrations that send them.

Providers count requests by app and token, not by integration. Integrations with the same app
therefore share the time at which the next request may start. It is in a small file that all
processes of an installation lock; without a folder for the file, each source has its own time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_LONGEST = 3600.0
"""Seconds. We know no quota that is refilled more seldom. A start that is further away comes from a
changed clock or a wrong header; it is ignored, as it would stop an app for good."""
_MOMENT = struct.Struct("<d")


class _Moment(Protocol):
    """When the next request may start, in seconds since 1970."""

    def read(self) -> float:
        """The current value."""

    def change(self, change: Callable[[float], float]) -> None:
        """Replace the value by the result of `change`, atomically."""


class Throttle:
    """Spaces requests evenly over any number of senders. Safe to share among threads."""

    def __init__(self, requests_per_second: float | None, shared: Path | None = None) -> None:
        """`shared` is the file of the app's budget, if other senders may use the same app."""
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._free: _Moment = _Remembered() if shared is None else _InFile(shared)

    def reserve(self) -> float:
        """Reserve the next start, and return the seconds until then."""
        start = now = time.time()
        if not self._interval:
            # Requests are not spaced, so there is nothing to reserve; only `hold` delays them.
            return max(0.0, self._free.read() - now)

        def taken(free_at: float) -> float:
            nonlocal start
            start = max(now, free_at)
            return start + self._interval

        self._free.change(taken)
        return start - now

    def hold(self, seconds: float) -> None:
        """Let no request start before `seconds` have passed."""
        until = time.time() + min(seconds, _LONGEST)
        self._free.change(lambda free_at: max(free_at, until))


def budget(folder: Path | None, *app: object) -> Path | None:
    """The file in `folder` of the budget that everything with the same `app` shares.

    `app` identifies the app by JSON values, without a secret. If it is empty, the result is None.
    """
    if folder is None or not app:
        return None
    named = json.dumps(app, sort_keys=True)
    return folder / hashlib.sha256(named.encode()).hexdigest()[:32]


class _Remembered:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moment = 0.0

    def read(self) -> float:
        return _possible(self._moment)

    def change(self, change: Callable[[float], float]) -> None:
        with self._lock:
            self._moment = change(_possible(self._moment))


_SEEN: dict[Path, tuple[float, float]] = {}
"""By file: when this process last read it, and the moment in it."""
_SEEN_FOR = 0.2
"""Seconds until a file is read again. Each read makes a thread wait for the interpreter, and the
pages of many integrations are fetched at once."""


class _InFile:
    """A moment in a file. If the file cannot be written, the moment is in this object alone.

    `read` may see the change of another process only after `_SEEN_FOR`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = _Remembered()

    def read(self) -> float:
        now = time.monotonic()
        read_at, moment = _SEEN.get(self._path, (-_SEEN_FOR, 0.0))
        if now - read_at >= _SEEN_FOR:
            moment = self._stored()
            _SEEN[self._path] = now, moment
        return max(_possible(moment), self._own.read())

    def _stored(self) -> float:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0.0
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            return _moment(file)
        finally:
            os.close(file)

    def change(self, change: Callable[[float], float]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Each change opens a descriptor of its own. The lock belongs to the descriptor, so
            # that threads exclude each other like processes.
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._own.change(change)
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            moment = change(_possible(_moment(file)))
            os.pwrite(file, _MOMENT.pack(moment), 0)
            _SEEN[self._path] = time.monotonic(), moment
        finally:
            os.close(file)


def _moment(file: int) -> float:
    held = os.pread(file, _MOMENT.size, 0)
    return float(_MOMENT.unpack(held)[0]) if len(held) == _MOMENT.size else 0.0


def _possible(moment: float) -> float:
    return moment if moment <= time.time() + _LONGEST else 0.0
