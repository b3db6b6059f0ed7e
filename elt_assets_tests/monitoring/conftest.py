"""A web server's answers, canned, and an installation to look at."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.sync.worlds import Company


@dataclass
class Dagster:
    """What a web server says of itself; the test dictates it."""

    heartbeat_age: float | None = 5.0
    load_error: str | None = None

    def __call__(self, asked: Asked) -> Reply:
        if json.loads(asked.body)["operationName"] == "Locations":
            return as_json({"data": self._locations()})
        return as_json({"data": self._queue()})

    def _locations(self) -> dict[str, Any]:
        found: dict[str, Any] = {"__typename": "RepositoryLocation"}
        if self.load_error:
            found = {"__typename": "PythonError", "message": self.load_error}
        entry = {"name": "elt_assets.definitions", "locationOrLoadError": found}
        return {"workspaceOrError": {"__typename": "Workspace", "locationEntries": [entry]}}

    def _queue(self) -> dict[str, Any]:
        beat = None if self.heartbeat_age is None else time.time() - self.heartbeat_age
        daemon = {
            "name": "SENSOR",
            "required": True,
            "last_heartbeat": beat,
            "errors": [],
        }
        pool = {
            "name": "extract",
            "slots": 4,
            "taken": 3,
            "waiting": 2,
        }
        return {
            "queued": {"__typename": "Runs", "count": 2, "results": [{"creationTime": 1.0}]},
            "running": {"__typename": "Runs", "count": 1},
            "instance": {
                "runQueueConfig": {"maxConcurrentRuns": 2},
                "concurrencyLimits": [pool],
                "daemonHealth": {"allDaemonStatuses": [daemon]},
            },
        }


@pytest.fixture
def dagster() -> Dagster:
    return Dagster()


@pytest.fixture
def web_server(dagster: Dagster) -> Iterator[Provider]:
    with Provider(dagster) as running:
        yield running


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path / "home")
    yield made
    made.platform.close()
