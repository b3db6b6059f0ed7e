"""Profile one command, all threads, into a file that snakeviz, pstats and others load."""

from __future__ import annotations

import cProfile
import pstats
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elt_assets.errors import InvalidInput


@contextmanager
def profiled(path: Path | None) -> Iterator[None]:
    """Profile the block into `path`; without a path do nothing.

    Before Python 3.12 a profiler sees only the thread that enabled it, and the work of a
    sync is done in threads, so that each gets a profiler of its own.
    """
    if path is None:
        yield
        return
    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"{path}: there is no folder {path.absolute().parent} to write to")
    profiles = [cProfile.Profile()]

    def profile_this_thread(*_: Any) -> None:
        profile = cProfile.Profile()
        profiles.append(profile)
        profile.enable()

    if sys.version_info < (3, 12):
        threading.setprofile(profile_this_thread)
    profiles[0].enable()
    try:
        yield
    finally:
        profiles[0].disable()
        if sys.version_info < (3, 12):
            threading.setprofile(None)
        stats = pstats.Stats(profiles[0])
        for profile in profiles[1:]:
            if profile.getstats():  # pstats refuses a thread that called nothing
                stats.add(profile)
        stats.dump_stats(path)
