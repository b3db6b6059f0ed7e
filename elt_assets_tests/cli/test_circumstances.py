"""Commands in odd circumstances end in one line that names the thing and what to do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import DatabaseRefused, InvalidInput, StorageFull
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets.sync.service import SyncService
from elt_assets_tests.cli.conftest import Process
from elt_assets_tests.storage.processes import fill, small_disk
from elt_assets_tests.sync.worlds import ACME, PROVIDER_DATA


def test_removing_with_standard_input_closed_asks_for_yes(tmp_path: Path) -> None:
    process = Process(tmp_path)
    with SyncService.open(load_settings(home=process.home)) as platform:
        platform.registry.add(ACME, "rest", PROVIDER_DATA)
    ended = subprocess.run(
        process.arguments("integrations", "remove", "acme:main"),
        cwd=tmp_path,
        env=process.variables(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.close(0),
    )
    assert ended.returncode == 2, ended.stderr
    assert "add --yes" in ended.stderr
    assert "defect" not in ended.stderr


@pytest.mark.parametrize(
    "moment", ["2999-01-01T00:00:00Z", "2999-01-01T00:00:00.5Z", "2999-01-01T00:00:00.25"]
)
def test_a_moment_is_read_with_and_without_fractions(tmp_path: Path, moment: str) -> None:
    command = Process(tmp_path)
    with SyncService.open(load_settings(home=command.home)) as platform:
        platform.registry.add(ACME, "rest", PROVIDER_DATA)
    ended = command("users", "acme:main", "--as-of", moment, "--json")
    assert (ended.status, json.loads(ended.out)) == (0, [])


def test_a_question_mark_in_the_path_of_the_home_is_refused_at_once(
    tmp_path: Path,
) -> None:
    home = tmp_path / "what?"
    with pytest.raises(InvalidInput, match=r"has a '\?' in its path.*ELT_ASSETS_HOME"):
        SyncService.open(load_settings(home=home))
    assert not home.exists()


@pytest.mark.files
def test_a_full_disk_is_called_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        fill(disk)
        database = SqliteDatabase(disk / "oltp.db", attempts=1)
        with pytest.raises(StorageFull, match="no space left"):
            database.migrate()
        database.close()


@pytest.mark.files
def test_a_read_only_disk_is_called_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        made = SqliteDatabase(disk / "oltp.db", attempts=1)
        made.migrate()
        made.close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        database = SqliteDatabase(disk / "oltp.db", attempts=1)
        with pytest.raises(DatabaseRefused, match="read-only; make it writable"):
            database.migrate(also=["CREATE TABLE IF NOT EXISTS more (id INTEGER)"])
        database.close()
