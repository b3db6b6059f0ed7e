"""How much memory the first page of a source takes, each in a process of its own.

The processes are forks of one that has imported everything: imports take most of a measurement.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from elt_assets.connectors.source import Source

Measured = tuple[str, int, int]
"""The error's text, the bytes of the page's body and the bytes of memory that reading took."""
Measuring = Callable[..., Measured]


@contextmanager
def measuring(module: str) -> Iterator[Measuring]:
    """A function that measures `source_at` of that module, given its arguments."""
    code = f"from {module} import source_at\nfrom {__name__} import serve\nserve(source_at)"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        given, found = process.stdin, process.stdout

        def measured(*arguments: object) -> Measured:
            print(json.dumps(arguments), file=given, flush=True)
            error, size, taken = json.loads(found.readline())
            return error, size, taken

        yield measured
        given.close()


def serve(source_at: Callable[..., Source]) -> None:
    """Measure what each line of standard input describes."""
    for module in ("adbc_driver_postgresql.dbapi", "pyarrow"):
        __import__(module)
    for line in sys.stdin:
        if not (child := os.fork()):
            print(json.dumps(_measured(source_at(*json.loads(line)))), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit("a measurement was killed")


def _measured(source: Source) -> Measured:
    before, error, size = _bytes("VmRSS"), "", 0
    try:
        size = len(next(iter(source.pages(None))).body)
    except Exception as failure:  # noqa: BLE001 - the test reads which it is
        error = f"{type(failure).__name__}: {failure}"
    return error, size, _bytes("VmHWM") - before


def _bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
