"""Run a measured contender in a process of its own, so that no contender inherits warm caches.

The parent gets the contender's result and its peak memory.

    python -m benchmarks.contender package.module:function   (arguments as JSON on stdin)
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
"""The checkout that this module is in."""
_QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DAGSTER_DISABLE_TELEMETRY": "1"}
"""Turns off the telemetry of the packages that are measured."""


class Clock:
    """Seconds and processor seconds since its creation; the latter are steadier under load."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()
        self._seconds: dict[str, float] = {}
        self._cpu: dict[str, float] = {}

    def read(self, name: str) -> None:
        """Record both under `name`."""
        self._seconds[name] = time.perf_counter() - self._started[0]
        self._cpu[name] = time.process_time() - self._started[1]

    def answer(self, rows: int) -> dict[str, Any]:
        """Return the result of a contender that processed this many rows."""
        return {"rows": rows, "seconds": self._seconds, "cpu": self._cpu}


def command(function: str) -> list[str]:
    """The command that calls `function` with the arguments on its standard input."""
    return [sys.executable, "-m", "benchmarks.contender", function]


def environment(folder: Path, root: Path = ROOT) -> dict[str, str]:
    """The environment of a contender that works in `folder` with the code in `root`."""
    return {**os.environ, **_QUIET, "PYTHONPATH": str(root), "HOME": str(folder)}


def run(
    function: str, arguments: dict[str, Any], folder: Path, root: Path = ROOT
) -> dict[str, Any]:
    """Call `function` (package.module:function) with `arguments` in `folder`; return its result.

    `root` is the checkout with its code. The result gets `peak_mib`. Raises `RuntimeError` with the
    end of the process's error output.
    """
    result = subprocess.run(
        command(function),
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(folder, root),
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"{function} failed:\n{result.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Call the function that the command line names, and print its result."""
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    answer = function(**json.loads(sys.stdin.read()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(answer | {"peak_mib": round(peak)}))


if __name__ == "__main__":
    main()
