"""What every test starts from: a home of its own, and nothing of the machine's settings.

Belongs here: isolation that every test needs. Does not: builders and servers of one part of
the tree, which have a conftest.py beside their tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A property that holds on a fast machine holds on a slow one: no example has a time limit.
settings.register_profile(
    "house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


def pytest_configure() -> None:
    """Forget what the person running the tests has configured, before any fixture reads it."""
    for name in [*os.environ]:
        if name.startswith("ELT_ASSETS_") or name == "DAGSTER_HOME":
            del os.environ[name]
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Send everything a test or its subprocess writes to a folder that only it knows."""
    home = tmp_path / "elt-assets-home"
    monkeypatch.setenv("ELT_ASSETS_HOME", str(home))
    return home
