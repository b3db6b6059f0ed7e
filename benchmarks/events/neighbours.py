"""Processor time that other processes on the machine used during a measurement.

It is counted where the operating system reports it. The reader of a result decides whether the
figure is usable.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # positions of idle time and of time waiting for a disk
_GUEST = 8  # from there on, time that earlier figures include


class Neighbours:
    """Counts the processor time of others from its creation on.

    The time of this process and of its ended children is left out.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._busy = _busy()
        self._own = _own()

    def share(self) -> float | None:
        """The share of processor time that others took, 0 to 1; None if the system reports none."""
        busy = _busy()
        if busy is None or self._busy is None:
            return None
        passed = (time.perf_counter() - self._began) * (os.cpu_count() or 1)
        others = (busy - self._busy) - (_own() - self._own)
        return round(min(max(others / passed, 0.0), 1.0), 2)


def _busy() -> float | None:
    """Seconds in which a processor worked for any process, since the machine started."""
    if not _STAT.exists():
        return None
    return busy_seconds(_STAT.read_text("ascii"), os.sysconf("SC_CLK_TCK"))


def busy_seconds(stat: str, ticks: int) -> float:
    """Return those seconds from the text of `/proc/stat`, which counts `ticks` a second."""
    spent = [int(one) for one in stat.split("\n", 1)[0].split()[1:]][:_GUEST]
    return sum(one for place, one in enumerate(spent) if place not in _IDLE) / ticks


def _own() -> float:
    """Seconds of this process and of its ended children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)
