"""Spacing the requests of an app across the threads, workers and integrations that send them.

Providers count requests by app and token, not by integration. Whatever uses the same one
therefore shares when the next request may start, in a small file that all processes of an
installation lock. Without a folder for it, one source keeps the time for itself.
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
"""Seconds. No quota that we know is refilled more seldom; a moment further away than this is a
clock that was set, or a header that is wrong, and would stop an app for good."""
_MOMENT = struct.Struct("<d")


class _Moment(Protocol):
    """When the next request may start, in seconds since 1970."""

    def read(self) -> float:
        """As it stands."""

    def change(self, change: Callable[[float], float]) -> None:
        """Replace it by what `change` makes of it; no other change comes between."""


class Throttle:
    """Spaces requests evenly, from any number of senders. Safe to share among threads."""

    def __init__(self, requests_per_second: float | None, shared: Path | None = None) -> None:
        """`shared` is the file of an app's budget, if others may use the same app."""
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._free: _Moment = _Remembered() if shared is None else _InFile(shared)

    def reserve(self) -> float:
        """Take the next start; how many seconds it is away."""
        start = now = time.time()
        if not self._interval:
            # Requests are not spaced, so that there is nothing to reserve.
            return max(0.0, self._free.read() - now)

        def taken(free_at: float) -> float:
            nonlocal start
            start = max(now, free_at)
            return start + self._interval

        self._free.change(taken)
        return start - now

    def hold(self, seconds: float) -> None:
        """Let nobody start before `seconds` have passed."""
        until = time.time() + min(seconds, _LONGEST)
        self._free.change(lambda free_at: max(free_at, until))


def budget(folder: Path | None, *app: object) -> Path | None:
    """The file in `folder` of the budget that everything with the same `app` shares.

    `app` identifies it without a secret, as JSON values; an app of nothing shares none.
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
"""By file: when this process last saw its moment, and the moment."""
_SEEN_FOR = 0.2
"""Seconds until a file is read again. Each read makes a thread wait for the interpreter, and the
pages of many integrations are fetched at once."""


class _InFile:
    """A moment in a file. Where the file cannot be written, this process keeps it alone.

    `read` may be late by `_SEEN_FOR` to see what another process changed.
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
            # A descriptor for each change: a lock belongs to it, so that threads exclude each
            # other as processes do.
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
