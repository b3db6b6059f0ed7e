"""Ctrl-C and SIGTERM as an event to wait for, instead of an exception at any place."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A request to stop: the first signal sets `requested`, a second one `insisted`."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.insisted = threading.Event()
        self.signal_number = signal.SIGINT

    @property
    def exit_status(self) -> int:
        """The conventional exit status of a process that this signal ended."""
        return 128 + self.signal_number

    def __call__(self, signal_number: int, _: FrameType | None = None) -> None:
        """Handle a signal."""
        if self.requested.is_set():
            self.insisted.set()
        self.signal_number = signal.Signals(signal_number)
        self.requested.set()


@contextmanager
def stopping() -> Iterator[Stop]:
    """Turn Ctrl-C and SIGTERM into a `Stop` during the block."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
