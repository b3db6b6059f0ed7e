"""Events that are stored together are the events that Dagster stores one by one."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.orchestration.instance.event_groups import EventGroups, is_grouped
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.jobs.sync_jobs import QUIET_CONSOLE
from elt_assets_tests.testbed.servers import Server

KEYS = [f"p-{number:03}" for number in range(130)]
TABLES = [dg.AssetKey("staging"), dg.AssetKey("latest")]
Opener = Callable[[], dg.DagsterInstance]


@dg.multi_asset(
    specs=[dg.AssetSpec(key, skippable=True) for key in TABLES],
    partitions_def=dg.StaticPartitionsDefinition(KEYS),
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def tables(context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization]:
    """Every partition of the run but the last; then it fails, as a run of ours does."""
    for number, partition in enumerate(context.partition_keys[:-1]):
        for key in TABLES:
            yield dg.AssetMaterialization(key, partition=partition, metadata={"rows": number})
        if number % 50 == 0:
            context.log.info("fifty done")
    raise dg.Failure("the last one failed", allow_retries=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Opener:
    """Opens the instance that we ship, in files and in PostgreSQL."""
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgresql")
        schema = f"dagster_{uuid.uuid4().hex[:12]}"
        server.execute(f"CREATE SCHEMA {schema}")
        for name, value in server.settings(schema).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(
            "ELT_ASSETS_DAGSTER_URL",
            f"postgresql://owner@127.0.0.1:{server.port}/hr"
            f"?sslmode=disable&options=-csearch_path%3D{schema}",
        )
        monkeypatch.setenv("ELT_ASSETS_DAGSTER_PASSWORD", "env:ELT_ASSETS_TEST_PASSWORD")
    return lambda: open_instance(load_settings(home=tmp_path / "home"))


def run_all(instance: dg.DagsterInstance) -> str:
    """A run of every partition; its id."""
    tags = {
        "dagster/asset_partition_range_start": KEYS[0],
        "dagster/asset_partition_range_end": KEYS[-1],
    }
    job = dg.Definitions([tables]).resolve_implicit_global_asset_job_def()
    config = {"loggers": QUIET_CONSOLE}
    return job.execute_in_process(
        instance=instance, tags=tags, run_config=config, raise_on_error=False
    ).run_id


def shown(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What the web UI asks for: the run's log, its statistics, the tables and their partitions."""
    events = [entry for entry in instance.all_logs(run_id) if entry.is_dagster_event]
    entries = {
        record.asset_entry.asset_key: record.asset_entry
        for record in instance.get_asset_records(TABLES)
    }
    return {
        # Dagster plans partitions in no order.
        "log": sorted(_named(event) for event in events if _is_planned(event))
        + [_named(event) for event in events if not _is_planned(event)],
        "materializations": instance.get_run_stats(run_id).materializations,
        "partitions": {key: instance.get_materialized_partitions(key) for key in TABLES},
        "planned": [
            instance.event_log_storage.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
            ).keys()
            for key in TABLES
        ],
        "newest": {key: _newest(entry.last_materialization) for key, entry in entries.items()},
        "last runs": {entry.last_run_id == run_id for entry in entries.values()},
        "ids": {key: _newest(instance.get_latest_materialization_event(key)) for key in TABLES},
    }


def a_materialization(instance: dg.DagsterInstance, run_id: str) -> dg.EventLogEntry:
    return instance.all_logs(run_id, of_type={dg.DagsterEventType.ASSET_MATERIALIZATION})[0]


def _is_planned(event: dg.EventLogEntry) -> bool:
    return event.dagster_event_type is dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED


def _named(event: dg.EventLogEntry) -> tuple[str, ...]:
    found = event.get_dagster_event()
    return found.event_type_value, str(found.asset_key), str(found.partition)


def _newest(event: dg.EventLogEntry | None) -> tuple[str | None, object]:
    found = None if event is None else event.asset_materialization
    assert found is not None
    return found.partition, found.metadata["rows"].value


def test_the_ui_is_shown_what_it_is_shown_of_dagster_s_own_log(opened: Opener) -> None:
    with dg.DagsterInstance.ephemeral() as plain:
        expected = shown(plain, run_all(plain))
    assert len(expected["log"]) > 4 * len(KEYS) - 2, "planned and materialized"
    with opened() as instance, opened() as other:
        run_id = run_all(instance)
        assert shown(other, run_id) == expected, "another process sees all once the run has ended"
        assert shown(instance, run_id) == expected


def test_what_waits_is_seen_by_whatever_reads_through_the_same_storage(opened: Opener) -> None:
    with opened() as instance:
        run_id = run_all(instance)
        one = a_materialization(instance, run_id)
        storage = instance.event_log_storage
        before = len(instance.all_logs(run_id))
        for _ in range(3):
            storage.store_event(one)
        assert len(instance.all_logs(run_id)) == before + 3


def test_closing_the_instance_stores_what_waits(opened: Opener) -> None:
    with opened() as instance:
        run_id = run_all(instance)
        one = a_materialization(instance, run_id)
        before = len(instance.all_logs(run_id))
        instance.event_log_storage.store_event(one)
    with opened() as instance:
        assert len(instance.all_logs(run_id)) == before + 1


class Stored:
    """What was stored, in groups; storing fails while `error` is set."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self.error: Exception | None = None
        self.any = threading.Event()

    def __call__(self, events: Sequence[Any]) -> None:
        if self.error is not None:
            raise self.error
        self.groups.append([*events])
        self.any.set()

    def __iter__(self) -> Iterator[Any]:
        return (event for group in self.groups for event in group)


def test_a_hundred_events_are_stored_together() -> None:
    stored = Stored()
    groups: Any = EventGroups(stored)
    for number in range(250):
        groups.add(number)
    groups.flush()
    assert [*stored] == [*range(250)]
    assert len(stored.groups) <= 3 + 1, "a second may end while they are added"


def test_a_few_events_are_stored_without_another_call() -> None:
    stored = Stored()
    groups: Any = EventGroups(stored)
    groups.add("one")
    assert stored.any.wait(60)
    assert [*stored] == ["one"]


def test_events_that_cannot_be_stored_wait_on_in_their_order() -> None:
    stored = Stored()
    stored.error = OSError("disk full")
    groups: Any = EventGroups(stored)
    groups.add(1)
    with pytest.raises(OSError, match="disk full"):
        groups.flush()
    groups.add(2)
    stored.error = None
    groups.flush()
    assert [*stored] == [1, 2]


def test_no_event_is_lost_or_doubled_between_threads() -> None:
    stored = Stored()
    groups: Any = EventGroups(stored)

    def add(name: int) -> None:
        for number in range(300):
            groups.add((name, number))
            if number % 7 == 0:
                with groups.flushed():
                    assert (name, number) in set(stored)

    threads = [threading.Thread(target=add, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    groups.flush()
    assert sorted(stored) == [(name, number) for name in range(4) for number in range(300)]
    for name in range(4):
        assert [number for one, number in stored if one == name] == [*range(300)]


def test_only_events_of_partitions_wait(tmp_path: Path) -> None:
    with open_instance(load_settings(home=tmp_path)) as instance:
        run_id = run_all(instance)
        waits = {
            entry.dagster_event_type for entry in instance.all_logs(run_id) if is_grouped(entry)
        }
    assert waits == {
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    }
