"""The engine's tests, workers that die and processes that share, on PostgreSQL and DuckLake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from elt_assets_tests.campaign.crash.moments import BOUNDARIES_ON_A_LAKE
from elt_assets_tests.campaign.test_on_postgresql import run
from elt_assets_tests.testbed.lakes import Lake
from elt_assets_tests.testbed.servers import Server

ENGINE = (
    "test_engine",
    "test_safeguards",
    "test_streams",
    "test_removal",
    "detect/test_log_repair",
    "extract/test_page_reuse",
    "admin/test_maintenance",
)


@pytest.mark.campaign(250)
def test_the_engines_tests_pass_on_a_lake(postgresql: Server, tmp_path: Path) -> None:
    """Those that say what a sync does; a subprocess, because it is a choice for all tests."""
    modules = [
        # The longest first, beside which the others run.
        "elt_assets_tests/sync/test_state_machine.py"
        "::test_a_crash_at_any_commit_leaves_what_an_uninterrupted_twin_has",
        *(f"elt_assets_tests/sync/{name}.py" for name in ENGINE),
    ]
    options = ["-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider"]
    options += ["--warehouse", "lake"]
    done = run("pytest", *options, "--basetemp", str(tmp_path / "tests"), *modules)
    assert done.returncode == 0, done.stdout[-5000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 120
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert all("lake" in line for line in skipped), skipped


@pytest.mark.campaign(250)
def test_workers_that_die_at_every_boundary_of_a_lake_leave_no_trace(
    postgresql: Server, tmp_path: Path
) -> None:
    done = run(
        "elt_assets_tests.campaign", "crash", "--scale", "0.1", **on_a_lake(postgresql, tmp_path)
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    killed = re.search(r"([\d,]+)  workers killed", done.stdout)
    assert killed is not None, done.stdout
    assert int(killed[1]) >= 30
    spared = [one for one in BOUNDARIES_ON_A_LAKE if f"  SIGKILL {one}\n" not in done.stdout]
    assert spared == [], done.stdout


@pytest.mark.campaign(110)
def test_processes_that_share_integrations_leave_the_books_right_on_a_lake(
    postgresql: Server, tmp_path: Path
) -> None:
    environment = on_a_lake(postgresql, tmp_path)
    done = run("elt_assets_tests.campaign", "concurrency", "--scale", "0.1", **environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "  sync applied" in done.stdout


def on_a_lake(server: Server, folder: Path) -> dict[str, str]:
    """The environment of campaigns, whose homes have each a lake of their own there."""
    return server.settings("unused") | Lake(server, "unused", folder).settings()
