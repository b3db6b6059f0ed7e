"""A flame graph of the fleet's contender, sampled by another process while it runs.

The sampler is py-spy, https://github.com/benfred/py-spy. The contender is defined in
`fleet.contenders`.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from benchmarks.contender import command, environment
from benchmarks.extract.provider import serving

_RATE = 200
"""Samples a second."""


def record(integrations: int, users: int, page_size: int, target: Path) -> None:
    """Write the flame graph of two syncs of a fleet to `target` (SVG).

    Native frames, those of DuckDB and SQLite, are part of it. Raises `RuntimeError`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sampler = Path(sysconfig.get_path("scripts")) / "py-spy"
    with (
        serving(users, 0) as url,
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
    ):
        arguments = {
            "url": url,
            "integrations": integrations,
            "users": users,
            "page_size": page_size,
        }
        result = subprocess.run(
            [
                *(str(sampler), "record", "--native", "--rate", str(_RATE)),
                *("--output", str(target.absolute()), "--"),
                *command("benchmarks.fleet.contenders:elt_assets"),
            ],
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment(Path(folder)),
            check=False,
        )
    if result.returncode != 0 or not target.exists():
        raise RuntimeError(f"the sampler failed:\n{result.stderr[-4000:]}")
