"""Bound the arenas in which the C library keeps freed memory.

glibc creates up to eight arenas for each processor, and memory that one thread has freed is not
given to threads of other arenas. A run has a thread for each integration that is being fetched.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_ARENA_MAX = -8  # of malloc.h


def bound_arenas() -> None:
    """Keep at most one arena for each processor; where MALLOC_ARENA_MAX is set, that decides.

    Other C libraries have no arenas and no `mallopt`. Call it before threads are started.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, os.cpu_count() or 1)
