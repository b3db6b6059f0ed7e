"""What commands import: a command that only reads must not wait for Dagster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from elt_assets.cli.main import COMMANDS
from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets_tests.cli.commands.connections.test_integration_lists import DATA, lines, row

_RUN_IN_ORDER = """
import json, sys
from contextlib import redirect_stdout
from io import StringIO
from elt_assets.cli.main import Invocation, run

found = []
for arguments in json.load(sys.stdin):
    with redirect_stdout(StringIO()):
        status = run(arguments, Invocation())
    found.append([status, sorted({name.partition(".")[0] for name in sys.modules})])
print(json.dumps(found))
"""
_SLOW = {"dagster", "duckdb", "numpy", "opentelemetry", "pyarrow", "pydantic"}
_NO_STORE = ("config", "start", "status", "list", "queues", "cancel", "backfill", "resume", "dev")
"""Commands that import no store before they run."""


def imported(folder: Path, *commands: list[str], status: int = 0) -> list[set[str]]:
    """Run the commands in one new process; the slow packages that are loaded after each."""
    process = subprocess.run(
        [sys.executable, "-c", _RUN_IN_ORDER],
        env={**os.environ, "ELT_ASSETS_HOME": str(folder)},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(process.stdout)
    assert [ended for ended, _ in answers] == [status] * len(commands), process.stderr
    return [_SLOW.intersection(names) for _, names in answers]


def test_help_loads_nothing_slow_and_commands_of_a_server_no_store(tmp_path: Path) -> None:
    commands = [[name, "--help"] for name in _NO_STORE]
    first, *others = imported(tmp_path, ["--help"], *commands)
    assert first == set()
    assert others[-1] <= {"pydantic"}


def test_commands_that_only_read_never_load_dagster(tmp_path: Path) -> None:
    listed = tmp_path / "integrations.jsonl"
    listed.write_text(lines(row(1)), encoding="utf-8")
    with SyncService.open(load_settings(home=tmp_path)) as platform:
        platform.registry.add(IntegrationRef("org-001", "main"), "rest", DATA)
    commands = [
        # Only a list that adds an integration needs Dagster, whose partitions it extends.
        ["integrations", "import", str(listed)],
        ["integrations", "list"],
        ["syncs"],
        ["users", "org-001:main"],
        ["counts"],
        ["audit", "list"],
        ["health", "--no-server"],
        *([name, "--help"] for name in COMMANDS),
    ]
    for command, packages in zip(commands, imported(tmp_path, *commands), strict=True):
        assert "dagster" not in packages, command


def test_commands_that_query_a_server_never_load_dagster(tmp_path: Path) -> None:
    SyncService.open(load_settings(home=tmp_path)).close()
    commands = [["health"], ["list"], ["status", "r"], ["cancel", "r"], ["start", "sync"]]
    at = ["--url", "http://127.0.0.1:1"]
    found = imported(tmp_path, *([*command, *at] for command in commands), status=1)
    for command, packages in zip(commands, found, strict=True):
        assert "dagster" not in packages, command
