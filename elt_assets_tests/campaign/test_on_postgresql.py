"""The engine's tests, processes that die and processes that share, on PostgreSQL."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from elt_assets_tests.campaign.feed.campaign import VICTIMS
from elt_assets_tests.testbed.servers import Server

ROOT = Path(__file__).parents[2]
ENGINE = (
    "test_engine",
    "test_safeguards",
    "test_streams",
    "test_removal",
)


@pytest.mark.campaign(90)
def test_the_engines_tests_pass_on_postgresql(postgresql: Server, tmp_path: Path) -> None:
    """Those that say what a sync does; a subprocess, because it is a choice for all tests."""
    modules = [f"elt_assets_tests/sync/{name}.py" for name in ENGINE]
    modules.append(
        "elt_assets_tests/sync/test_state_machine.py"
        "::test_a_crash_at_any_commit_leaves_what_an_uninterrupted_twin_has"
    )
    options = ["-q", "-p", "no:cacheprovider", "--operational", "postgresql"]
    done = run("pytest", *options, "--basetemp", str(tmp_path / "tests"), *modules)
    assert done.returncode == 0, done.stdout[-5000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 80
    assert "skipped" not in done.stdout


@pytest.mark.campaign(80)
def test_thirty_deaths_leave_no_trace_on_postgresql(postgresql: Server) -> None:
    environment = postgresql.settings("unused")
    done = run("elt_assets_tests.campaign", "crash", "--scale", "0.1", **environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    killed = re.search(r"([\d,]+)  workers killed", done.stdout)
    assert killed is not None, done.stdout
    assert int(killed[1]) >= 30


@pytest.mark.campaign(40)
def test_processes_that_share_integrations_leave_the_books_right_on_postgresql(
    postgresql: Server,
) -> None:
    environment = postgresql.settings("unused")
    done = run("elt_assets_tests.campaign", "concurrency", "--scale", "0.1", **environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "  sync applied" in done.stdout


@pytest.mark.campaign(50)
def test_deaths_around_the_feed_lose_nothing_on_postgresql(postgresql: Server) -> None:
    environment = postgresql.settings("unused")
    done = run("elt_assets_tests.campaign", "feed", "--scale", "0.2", **environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    killed = re.search(r"([\d,]+)  kills", done.stdout)
    assert killed is not None, done.stdout
    assert int(killed[1]) >= 60
    for victim in VICTIMS:
        assert f"  {victim}, " in done.stdout


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
