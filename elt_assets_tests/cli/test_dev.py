"""The development server comes up with the asset graph and goes down without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest
import urllib3

from elt_assets_tests.cli.conftest import Command, wait_for

QUESTION = """
{
  workspaceOrError { ... on Workspace { locationEntries {
    locationOrLoadError { ... on PythonError { message } }
  } } }
  assetNodes { assetKey { path } isPartitioned dependencyKeys { path } }
}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def processes_of(home: Path) -> set[int]:
    """Every process that was started for this installation, by its environment."""
    marker = f"ELT_ASSETS_HOME={home}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:  # it ended meanwhile, or is not ours
            continue
    return found


def test_the_ui_shows_the_three_assets_and_sigterm_leaves_no_process(
    elt_assets: Command, request: pytest.FixtureRequest
) -> None:
    port = free_port()
    log = elt_assets.folder / "log"
    with log.open("w") as output:
        running = elt_assets.start("dev", "--port", str(port), stdout=output, stderr=output)
    # However this test ends: `dev` listens to nobody but its signals.
    request.addfinalizer(running.terminate)
    http = urllib3.PoolManager(retries=False, timeout=60)
    answers = []

    def answered() -> bool:
        assert running.poll() is None, log.read_text()
        try:
            answer = http.request(
                "POST",
                f"http://127.0.0.1:{port}/graphql",
                body=json.dumps({"query": QUESTION}),
                headers={"Content-Type": "application/json"},
            )
        except urllib3.exceptions.HTTPError:
            return False
        answers.append(answer.json())
        assert "message" not in json.dumps(answers[-1]), answers[-1]
        return bool(answers[-1]["data"]["assetNodes"])

    wait_for(answered)
    assets = {
        node["assetKey"]["path"][-1]: [key["path"][-1] for key in node["dependencyKeys"]]
        for node in answers[-1]["data"]["assetNodes"]
    }
    assert assets == {
        "users_staging": [],
        "users_cdc": ["users_staging"],
        "users_latest": ["users_cdc"],
    }
    assert all(node["isPartitioned"] for node in answers[-1]["data"]["assetNodes"])
    assert len(processes_of(elt_assets.home)) >= 2

    os.kill(running.pid, signal.SIGTERM)
    assert running.wait() == 0, log.read_text()
    assert processes_of(elt_assets.home) == set()
    assert (elt_assets.home / "dagster" / "dagster.yaml").exists()
