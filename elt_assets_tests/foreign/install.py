"""Programs from PyPI and npm, each installed once in a folder of its own outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest


def folder() -> Path:
    """Where the programs are kept: $FOREIGN_SERVERS, or a folder of the user's cache."""
    chosen = os.environ.get("FOREIGN_SERVERS")
    return Path(chosen) if chosen else Path.home() / ".cache" / "elt_assets" / "foreign"


def from_pypi(name: str, *packages: str) -> Path:
    """The folder of an environment of its own that has these packages."""
    place = folder() / name
    if not _is_ready(place, "pypi", packages):
        _run(sys.executable, "-m", "venv", place / "venv")
        _run(place / "venv/bin/python", "-m", "pip", "install", "--quiet", *packages)
        _made(place, "pypi", packages)
    return place


def from_npm(name: str, *packages: str) -> Path:
    """The folder whose node_modules has these packages; skips the test without npm."""
    place = folder() / name
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: apt-get install nodejs npm")
    if not _is_ready(place, "npm", packages):
        place.mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--silent", "--no-fund", "--prefix", place, *packages)
        _made(place, "npm", packages)
    return place


def _is_ready(place: Path, kind: str, packages: Sequence[str]) -> bool:
    mark = place / f"{kind}.ready"
    return mark.exists() and mark.read_text() == "\n".join(packages)


def _made(place: Path, kind: str, packages: Sequence[str]) -> None:
    (place / f"{kind}.ready").write_text("\n".join(packages))


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
