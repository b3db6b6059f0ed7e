"""What every test starts from: a home of its own, and none of the machine's settings.

The stores are files, unless a test requests each `backend` in turn or the command line has
`--operational postgresql` or `--warehouse lake`. Builders and servers of one part of the tree are
in the conftest.py of its folder.
"""

from __future__ import annotations

import gc
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from elt_assets_tests.testbed.lakes import Lake
    from elt_assets_tests.testbed.servers import Broker, Server

# A property that holds on a fast machine holds on a slow one: no example has a time limit.
settings.register_profile(
    "house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")

LAKES = pytest.StashKey[tuple[str, ...]]()
"""Schemas of PostgreSQL that outlive a test."""


_PRINTED = "printed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let every test have its stores on servers."""
    parser.addoption("--operational", choices=["sqlite", "postgresql"], default="sqlite")
    parser.addoption("--warehouse", choices=["files", "lake"], default="files")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a lake has no part in."""
    if config.getoption("warehouse") != "lake":
        return
    for item in items:
        marker = item.get_closest_marker("files")
        if marker is not None:
            what = marker.args[0] if marker.args else "a file for each integration"
            item.add_marker(pytest.mark.skip(reason=f"on a lake there is none of it: {what}"))
        elif getattr(item, "callspec", None) and item.callspec.params.get("backend") == "sqlite":
            item.add_marker(pytest.mark.skip(reason="a lake goes with PostgreSQL"))


def pytest_configure() -> None:
    """Forget what the person running the tests has configured, before any fixture reads it."""
    for name in [*os.environ]:
        if name.startswith("ELT_ASSETS_") or name == "DAGSTER_HOME":
            del os.environ[name]
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
    # What collection makes lives to the end, so to look for garbage in it is lost time.
    gc.disable()
    # As every command of the platform does, so that no test depends on an earlier one for it.
    os.umask(0o077)


def pytest_collection_finish() -> None:
    """Collect garbage of the tests only."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests gave to `printed`, in whichever process they ran."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == _PRINTED and getattr(report, "when", "") == "call":
                    terminalreporter.section(report.nodeid)
                    terminalreporter.line(text)


@pytest.fixture
def printed(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Adds a text to the end of the test runner's output, also if it is another process."""
    return partial(record_property, _PRINTED)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """One server for all tests of this process; skips those that need it where there is none."""
    from elt_assets_tests.testbed.servers import postgresql

    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """One Redis for all tests of this process; skips those that need it where there is none."""
    from elt_assets_tests.testbed.servers import redis

    with redis() as found:
        yield found


@pytest.fixture(scope="session", autouse=True)
def copied_instances() -> Iterator[None]:
    """Dagster's databases are made once in a process that has anything to do with Dagster."""
    if "elt_assets.orchestration" not in sys.modules:
        yield
        return
    from elt_assets_tests.testbed.instances import copied_instances

    with copied_instances():
        yield


@pytest.fixture(autouse=True)
def own_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """Send everything a test or its subprocess writes to a folder that only it knows."""
    home = tmp_path / "elt-assets-home"
    monkeypatch.setenv("ELT_ASSETS_HOME", str(home))
    if request.config.getoption("warehouse") == "lake":
        request.getfixturevalue("lake")
    elif request.config.getoption("operational") == "postgresql":
        request.getfixturevalue("own_schema")
    return home


@pytest.fixture
def own_schema(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[None]:
    """An empty operational database on PostgreSQL; it ends with the test."""
    on_postgresql(postgresql, monkeypatch)
    yield
    postgresql.clear(*request.config.stash.get(LAKES, ()))


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(own_home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Each kind of operational database in turn, as settings of the environment."""
    if request.param == "postgresql":
        request.getfixturevalue("own_schema")
    else:
        monkeypatch.delenv("ELT_ASSETS_OPERATIONAL_URL", raising=False)
    return str(request.param)


@pytest.fixture(scope="session")
def lake_of_all_tests(
    postgresql: Server,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Lake:
    """A lake for this process: making one takes longer than most tests do."""
    from elt_assets_tests.testbed.lakes import Lake

    lake = Lake(postgresql, f"lake_{uuid.uuid4().hex[:12]}", tmp_path_factory.mktemp("lake"))
    pytestconfig.stash[LAKES] = (lake.schema, lake.kept)
    return lake


@pytest.fixture
def lake(lake_of_all_tests: Lake, own_schema: None, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """An empty lake as the warehouse, and an operational database that goes with it."""
    monkeypatch.setattr(type(lake_of_all_tests), "current", lake_of_all_tests)
    for name, value in lake_of_all_tests.settings().items():
        monkeypatch.setenv(name, value)
    lake_of_all_tests.empty()
    return lake_of_all_tests


def on_postgresql(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give whatever reads settings an empty schema of its own on `server`."""
    for name, value in server.settings(f"test_{uuid.uuid4().hex[:12]}").items():
        monkeypatch.setenv(name, value)
