"""The drop sensor: a new file is one sync, the same file is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.connectors.files.drop_watch import complete_drop
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.orchestration.partitions import PARTITION_TAG, add_partition_keys
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.sensors.drop_sensor import Seen, news
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet

HR = IntegrationRef("acme", "hr")
LONG_AGO = 1_700_000_000
DATA = {"streams": {"users": {"path": "users*.csv", "fields": {"external_id": "id"}}}}


@pytest.fixture
def fleet(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as fleet:
        fleet.platform.registry.add(HR, "files", DATA)
        add_partition_keys(fleet.instance, [HR])
        yield fleet


@pytest.fixture
def folder(fleet: Fleet) -> Path:
    folder = fleet.platform.settings.home / "drops" / "acme" / "hr"
    folder.mkdir(parents=True)
    return folder


class Ticks:
    """The sensor, evaluated again and again with the cursor it left."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.cursor: str | None = None

    def tick(self) -> list[dg.RunRequest]:
        definitions = self._fleet.definitions()
        with dg.build_sensor_context(
            instance=self._fleet.instance,
            definitions=definitions,
            resources={STANDALONE.resource: self._fleet.platform},
            cursor=self.cursor,
        ) as context:
            data = definitions.resolve_sensor_def("drop_sensor").evaluate_tick(context)
        self.cursor = data.cursor
        return list(data.run_requests or [])


def drop(folder: Path, content: str, name: str = "users.csv", at: float = LONG_AGO) -> Path:
    path = folder / name
    path.write_text(content)
    os.utime(path, (at, at))
    return path


def test_a_new_file_is_one_sync_of_its_integration(fleet: Fleet, folder: Path) -> None:
    ticks = Ticks(fleet)
    assert ticks.tick() == []
    drop(folder, "id\n1\n")
    (request,) = ticks.tick()
    assert request.tags[PARTITION_TAG] == "acme:hr"
    assert request.tags[SYNC_ID_TAG].startswith("drop-")
    assert ticks.tick() == []


def test_the_same_content_dropped_again_starts_no_sync(fleet: Fleet, folder: Path) -> None:
    ticks = Ticks(fleet)
    drop(folder, "id\n1\n")
    assert len(ticks.tick()) == 1
    drop(folder, "id\n1\n", at=LONG_AGO + 60)
    assert ticks.tick() == []
    drop(folder, "id\n2\n", at=LONG_AGO + 120)
    assert len(ticks.tick()) == 1


def test_a_tick_that_is_repeated_asks_for_the_same_sync(fleet: Fleet, folder: Path) -> None:
    drop(folder, "id\n1\n")
    (first,), (again,) = Ticks(fleet).tick(), Ticks(fleet).tick()
    assert first.run_key == again.run_key
    assert first.tags == again.tags


def test_a_file_is_waited_for_until_it_stands_still(fleet: Fleet, folder: Path) -> None:
    ticks = Ticks(fleet)
    path = drop(folder, "id\n1\n", at=LONG_AGO * 2)
    assert ticks.tick() == []
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert len(ticks.tick()) == 1


def test_a_disabled_integration_and_one_without_a_partition_are_left_alone(
    fleet: Fleet, folder: Path
) -> None:
    drop(folder, "id\n1\n")
    ticks = Ticks(fleet)
    fleet.platform.registry.set_enabled(HR, False)
    assert ticks.tick() == []
    fleet.platform.registry.set_enabled(HR, True)
    fleet.instance.delete_dynamic_partition("connected_integrations", HR.partition_key)
    assert ticks.tick() == []
    add_partition_keys(fleet.instance, [HR])
    assert len(ticks.tick()) == 1


def test_content_that_comes_back_is_a_new_sync() -> None:
    seen, ids = None, []
    for number, content in enumerate("ababa"):
        seen, is_new = news("acme:hr", f"look-{number}", lambda found=content: found, seen)
        assert is_new
        ids.append(seen.sync_id)
    assert len(set(ids)) == 5


def test_content_is_read_only_when_the_look_has_changed() -> None:
    def never() -> str:
        raise AssertionError("read")

    seen = Seen("look", "content", "drop-1")
    assert news("acme:hr", "look", never, seen) == (seen, False)


def test_a_folder_with_a_growing_file_is_not_complete(folder: Path, fleet: Fleet) -> None:
    home = fleet.platform.settings.home
    drop(folder, "id\n1\n")
    drop(folder, "id\n2\n", name="users-2.csv", at=LONG_AGO + 100)
    assert complete_drop(DATA, HR, home, now=LONG_AGO + 102) is None
    drop_now = complete_drop(DATA, HR, home, now=LONG_AGO + 103)
    assert drop_now is not None
    assert [file.name for file in drop_now.files] == ["users-2.csv", "users.csv"]
