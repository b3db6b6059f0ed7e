"""Ctrl-C and SIGTERM as an event to wait for, instead of an exception anywhere.

A second signal shows that the person insists.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A request to stop. `requested` is set by the first signal, `insisted` by the second."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.insisted = threading.Event()
        self.signal_number = signal.SIGINT

    @property
    def exit_status(self) -> int:
        """What a process ended by this signal exits with by convention."""
        return 128 + self.signal_number

    def __call__(self, signal_number: int, _: FrameType | None = None) -> None:
        """Take note of a signal."""
        if self.requested.is_set():
            self.insisted.set()
        self.signal_number = signal.Signals(signal_number)
        self.requested.set()


@contextmanager
def stopping() -> Iterator[Stop]:
    """The request that Ctrl-C or SIGTERM makes for as long as the block lasts."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
