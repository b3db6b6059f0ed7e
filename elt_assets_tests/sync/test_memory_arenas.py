"""The arenas of the C library: one for each processor, however many threads allocate."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has arenas")

_THREADS = """
import ctypes, sys, threading
from elt_assets.sync.memory_arenas import bound_arenas

if sys.argv[1] == "bound":
    bound_arenas()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
together = threading.Barrier(int(sys.argv[2]))

def allocate():
    library.malloc(1000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(together.parties)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
library.fflush(None)
"""


def arenas(how: str, **environment: str) -> int:
    """Arenas of a process in which many threads allocated memory at once."""
    inherited = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    threads = 8 * (os.cpu_count() or 1)
    found = subprocess.run(
        [sys.executable, "-c", _THREADS, how, str(threads)],
        check=True,
        capture_output=True,
        text=True,
        env=inherited | environment,
    )
    return found.stdout.count("<heap nr=")


def test_threads_share_one_arena_for_each_processor() -> None:
    bound, unbound = arenas("bound"), arenas("unbound")
    assert bound <= (os.cpu_count() or 1) < unbound


def test_a_limit_of_the_environment_is_kept() -> None:
    assert arenas("bound", MALLOC_ARENA_MAX="1") == 1
