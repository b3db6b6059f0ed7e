"""Erasure: once an integration is removed, its people are in no file of the home.

What is searched is the disk, byte by byte: tables, write-ahead logs, pages that were freed,
Dagster's events. What the documentation says remains is tested, too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.definitions import own_runs
from elt_assets.orchestration.instance.run_retention import delete_old_runs
from elt_assets.sync.streams import USERS
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as opened:
        yield opened


def individual(number: int, tenant: str, **changed: Any) -> dict[str, Any]:
    """A person whose name, address and id occur nowhere else."""
    return {
        "id": f"key-of-{tenant}-{number:03}",
        "name": f"Zebulon {tenant} {number:03}",
        "email": f"zebulon-{number:03}@{tenant}.example",
    } | changed


def lived_through(fleet: Fleet) -> None:
    """Two tenants whose people came, were renamed, rejected, deleted and withheld."""
    keys = fleet.connect(2)
    people = fleet.directory.people
    tenants = {"dir-00": "leaving", "dir-01": "staying"}
    for integration, tenant in tenants.items():
        people[integration] = [individual(n, tenant) for n in range(40)]
    fleet.run(keys)
    for integration, tenant in tenants.items():
        people[integration] = [
            individual(0, tenant, name=f"Zebulon {tenant} renamed"),
            individual(1, tenant, email=[f"rejected@{tenant}.example"]),
            *[individual(n, tenant) for n in range(2, 39)],
        ]
    fleet.run(keys)
    for integration in tenants:
        people[integration] = people[integration][:4]
    fleet.run(keys)


def found(home: Path, *texts: str) -> dict[str, int]:
    """How often any of `texts` occurs in each file that has one, by path in the home."""
    counts = {}
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        content = path.read_bytes()
        count = sum(content.count(text.encode()) for text in texts)
        if count:
            counts[str(path.relative_to(home))] = count
    return counts


PERSONAL = ("Zebulon leaving", "@leaving.example")


def remove(*more: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "elt_assets", "integrations", "remove", "org-001:dir-00", "--yes"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done


def test_a_removed_tenants_people_are_in_no_file_and_keys_only_in_dagsters_events(
    fleet: Fleet,
) -> None:
    lived_through(fleet)
    home = fleet.settings.home
    assert len(found(home, *PERSONAL)) >= 2, "the search finds what is there"
    remove()
    assert found(home, *PERSONAL) == {}
    assert len(fleet.platform.records(USERS, fleet.refs[1])) > 30
    assert found(home, "Zebulon staying")
    assert {path.split("/")[0] for path in found(home, "key-of-leaving")} == {"dagster"}
    delete_old_runs(fleet.instance, 0, own_runs())
    assert found(home, "key-of-leaving") == {}


def test_values_that_the_operator_let_be_shown_remain_until_runs_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ELT_ASSETS_SHOW_PERSONAL_VALUES", "true")
    with opened_fleet(monkeypatch) as fleet:
        lived_through(fleet)
        remove()
        home = fleet.settings.home
        assert {path.split("/")[0] for path in found(home, *PERSONAL)} == {"dagster"}
        delete_old_runs(fleet.instance, 0, own_runs())
        assert found(home, *PERSONAL) == {}


def test_deleted_people_stay_in_the_log_only_while_somebody_reads(fleet: Fleet) -> None:
    lived_through(fleet)
    with fleet.platform.database.reader(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
        " SELECT i FROM n, (SELECT count(*) FROM users_latest)"
    ):
        assert not fleet.platform.remove(fleet.refs[0])
    assert "oltp.db-wal" in found(fleet.settings.home, *PERSONAL)
    fleet.platform.database.empty_log()
    assert found(fleet.settings.home, *PERSONAL) == {}
