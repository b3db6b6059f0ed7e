"""Profile all threads of a command into a file for snakeviz or pstats."""

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

    Before Python 3.12 a profiler sees only the thread that enabled it, so each thread gets its
    own profiler.
    """
    if path is None:
        yield
        return
    if not path.absolute().parent.is_dir():
        raise InvalidInput(
            f"{path}: the folder {path.absolute().parent} does not exist; create it first"
        )
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
