"""Files through the whole engine: landed, rejected by line, continued after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.connectors.files import csv_file
from elt_assets.sync.outcome import SyncProgress
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.files.conftest import HR, drop

pytestmark = pytest.mark.slow

PROVIDER_DATA: dict[str, Any] = {
    "settle_seconds": 0,
    "streams": {"users": {"path": "users.csv", "fields": {"external_id": "id", "name": "name"}}},
}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[SyncService]:
    with SyncService.open(load_settings(home=tmp_path / "home")) as platform:
        platform.registry.add(HR, "files", PROVIDER_DATA)
        yield platform


def test_a_dropped_file_becomes_the_latest_users(platform: SyncService, folder: Path) -> None:
    drop(folder, "users.csv", "id,name\n1,Ann\n2,Bob\n")
    (outcome,) = platform.sync(USERS, [HR], sync_id="s1")
    assert (outcome.status, outcome.certificate.complete) == ("applied", True)
    names = [(row["external_id"], row["name"]) for row in platform.records(USERS, HR)]
    assert names == [("1", "Ann"), ("2", "Bob")]


def test_a_damaged_line_is_a_dead_letter_with_its_number_and_deletes_nobody(
    platform: SyncService, folder: Path
) -> None:
    people = "id,name\n" + "".join(f"{n},Ann\n" for n in range(50))
    drop(folder, "users.csv", people)
    list(platform.sync(USERS, [HR], sync_id="s1"))
    drop(folder, "users.csv", people.replace("\n7,Ann\n", "\n7,A,nn\n").replace("\n9,Ann\n", "\n"))
    (outcome,) = platform.sync(USERS, [HR], sync_id="s2")
    (rejected,) = platform.rejected(stream=USERS, ref=HR)
    assert rejected["reason"] == "line 9 has 3 values, not 2"
    assert outcome.status == "quarantined"
    assert len(platform.records(USERS, HR)) == 50


def test_rows_that_a_file_lacks_go_once_it_has_stood_for_a_while(
    platform: SyncService, folder: Path
) -> None:
    def synced(sync_id: str) -> tuple[int, int]:
        (outcome,) = platform.sync(USERS, [HR], sync_id=sync_id)
        return outcome.counts.deletes, outcome.counts.pending_deletes

    drop(folder, "users.csv", "id,name\n" + "".join(f"{n},Ann\n" for n in range(50)))
    assert synced("s1") == (0, 0)
    # Half of an upload reads like a whole file.
    drop(folder, "users.csv", "id,name\n" + "".join(f"{n},Ann\n" for n in range(48)))
    assert synced("s2") == (0, 2)
    assert synced("s3") == (0, 2)
    with platform.warehouses.open(HR) as warehouse, warehouse.transaction():
        warehouse.update("missing_records", "since = since - INTERVAL 14 MINUTE", "true")
    assert synced("s4") == (0, 2)
    with platform.warehouses.open(HR) as warehouse, warehouse.transaction():
        warehouse.update("missing_records", "since = since - INTERVAL 1 MINUTE", "true")
    assert synced("s5") == (2, 0)


def test_rows_that_a_proven_file_lacks_go_at_once(platform: SyncService, folder: Path) -> None:
    stream = PROVIDER_DATA["streams"]["users"] | {"complete": {"marker": "{name}.done"}}
    platform.registry.update(HR, PROVIDER_DATA | {"streams": {"users": stream}})
    for sync_id, people in (("s1", 50), ("s2", 48)):
        drop(folder, "users.csv", "id,name\n" + "".join(f"{n},Ann\n" for n in range(people)))
        drop(folder, "users.csv.done", "")
        (outcome,) = platform.sync(USERS, [HR], sync_id=sync_id)
    assert outcome.counts.deletes == 2


def test_a_line_with_a_total_makes_nothing_incomplete_once_it_is_left_out(
    platform: SyncService, folder: Path
) -> None:
    people = "id,name\n" + "".join(f"{n},Ann\n" for n in range(50))
    drop(folder, "users.csv", people + "Total: 50\n")
    (outcome,) = platform.sync(USERS, [HR], sync_id="s1")
    assert (outcome.counts.rejected, outcome.certificate.complete) == (1, False)
    for number, choice in enumerate(({"skip_last": 1}, {"where": "name != null"}), start=2):
        stream = PROVIDER_DATA["streams"]["users"] | choice
        platform.registry.update(HR, PROVIDER_DATA | {"streams": {"users": stream}})
        (outcome,) = platform.sync(USERS, [HR], sync_id=f"s{number}")
        assert (outcome.counts.rejected, outcome.certificate.complete) == (0, True)


def test_a_stopped_sync_goes_on_behind_the_last_chunk_it_committed(
    platform: SyncService, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "RECORDS", 10)
    drop(folder, "users.csv", "id,name\n" + "".join(f"{n},Ann\n" for n in range(45)))
    list(platform.sync(USERS, [HR], sync_id="s0"))
    drop(folder, "users.csv", "id,name\n" + "".join(f"{n},Bea\n" for n in range(45)))
    stopping = _Stop(after=3)
    with pytest.raises(KeyboardInterrupt):
        list(
            platform.sync(USERS, [HR], sync_id="s1", pages_per_batch=1, progress=stopping.progress)
        )
    (outcome,) = platform.sync(USERS, [HR], sync_id="s1", pages_per_batch=1)
    assert outcome.resumed_batches == 3
    assert (outcome.status, outcome.counts.updates) == ("applied", 45)


class _Stop:
    """Ends the process's work, as a signal would, after so many batches."""

    def __init__(self, after: int) -> None:
        self._left = after

    def progress(self, progress: SyncProgress) -> None:
        self._left -= progress.stage == "extract"
        if not self._left:
            raise KeyboardInterrupt
