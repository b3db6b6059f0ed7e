"""The event log answers as Dagster's own does, from the same files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from elt_assets.config.settings import load_settings
from elt_assets.orchestration.instance.config_file import shipped_config
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.instance.sqlite_event_log import PooledSqliteEventLogStorage

LATEST = dg.AssetKey("users_latest")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(load_settings(home=tmp_path)) as found:
        yield found


def materialize(instance: dg.DagsterInstance, partition: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(LATEST, partition=partition))


@dg.asset(name="users_latest", partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def a_table() -> None:
    """Something to materialize."""


def test_an_installation_stores_its_events_in_its_home(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.event_log_storage, PooledSqliteEventLogStorage)


def test_a_command_uses_the_event_log_that_its_dagster_home_names(tmp_path: Path) -> None:
    chosen = yaml.safe_load(shipped_config(load_settings()))
    del chosen["event_log_storage"]
    settings = load_settings(home=tmp_path)
    settings.dagster_path.mkdir(parents=True)
    (settings.dagster_path / "dagster.yaml").write_text(yaml.safe_dump(chosen), encoding="utf-8")
    with open_instance(settings) as instance:
        assert not isinstance(instance.event_log_storage, PooledSqliteEventLogStorage)


def test_dagster_s_own_storage_reads_what_was_written(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    dg.materialize([a_table], instance=instance, partition_key="a")
    materialize(instance, "b")
    run = instance.get_runs()[0]
    written = [event.message for event in instance.all_logs(run.run_id)]
    settings = load_settings(home=tmp_path)
    plain = yaml.safe_load(shipped_config(load_settings()))
    del plain["event_log_storage"]
    config = settings.dagster_path / "dagster.yaml"
    config.write_text(yaml.safe_dump(plain), encoding="utf-8")
    with open_instance(settings) as other:
        assert other.get_materialized_partitions(LATEST) == {"a", "b"}
        assert [event.message for event in other.all_logs(run.run_id)] == written


def test_another_process_sees_events_while_the_writer_has_them_open(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    materialize(instance, "a")
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import dagster as dg\n"
            "with dg.DagsterInstance.get() as instance:\n"
            "    print(*instance.get_materialized_partitions(dg.AssetKey('users_latest')))",
        ],
        env={**os.environ, "DAGSTER_HOME": str(load_settings(home=tmp_path).dagster_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["a"]


def schema(file: Path) -> set[tuple[Any, ...]]:
    """Everything that a database is made of, and its revision."""
    asked = (
        "SELECT sql FROM sqlite_master",
        "SELECT * FROM alembic_version",
        "PRAGMA journal_mode",
    )
    with create_engine(f"sqlite:///{file}", poolclass=NullPool).connect() as connection:
        return {tuple(row) for one in asked for row in connection.execute(text(one))}


def test_the_database_of_every_run_is_as_dagster_makes_it(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with SqliteEventLogStorage(str(tmp_path / "plain")).run_connection("r"):
        plain = schema(tmp_path / "plain" / "r.db")
    runs = [dg.materialize([a_table], instance=instance, partition_key=key) for key in "aba"]
    folder = load_settings(home=tmp_path).dagster_path / "history" / "runs"
    assert [schema(folder / f"{run.run_id}.db") for run in runs] == [plain] * 3


def test_two_processes_can_make_the_database_of_a_run_at_once(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    dg.materialize([a_table], instance=instance, partition_key="a")
    with open_instance(load_settings(home=tmp_path)) as another:
        storages = [one.event_log_storage for one in (instance, another)]
        # The limit ends a test of which one side has failed.
        both = threading.Barrier(2, timeout=120)

        def begin(storage: Any) -> bool:
            for number in range(20):
                both.wait()
                with storage.run_connection(f"r-{number}") as connection:
                    connection.execute(text("SELECT * FROM event_logs"))
            return True

        with ThreadPoolExecutor() as pool:
            assert all(pool.map(begin, storages))


def test_the_caller_of_a_run_gets_its_progress(instance: dg.DagsterInstance) -> None:
    heard = threading.Event()
    run = instance.create_run_for_job(
        dg.Definitions([a_table]).resolve_implicit_global_asset_job_def()
    )
    storage = instance.event_log_storage
    instance.report_engine_event("one", run)
    storage.watch(run.run_id, None, lambda *_: heard.set())
    try:
        instance.report_engine_event("two", run)
        assert heard.wait(30)
    finally:
        storage.end_watch(run.run_id, next(iter(storage._watchers[run.run_id])))


def test_the_databases_of_old_runs_are_closed(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    for _ in range(12):
        dg.materialize([a_table], instance=instance, partition_key="a")
    folder = str(load_settings(home=tmp_path).dagster_path / "history" / "runs")
    held = {
        target
        for number in os.listdir("/proc/self/fd")
        if (target := _target(number)).startswith(folder) and target.endswith(".db")
    }
    assert f"{folder}/index.db" in held
    assert len(held) <= 9


def test_wiping_the_event_log_leaves_nothing_open_or_behind(instance: dg.DagsterInstance) -> None:
    dg.materialize([a_table], instance=instance, partition_key="a")
    instance.event_log_storage.wipe()
    assert instance.get_materialized_partitions(LATEST) == set()
    materialize(instance, "b")
    assert instance.get_materialized_partitions(LATEST) == {"b"}


def test_the_list_of_tables_is_read_once(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def watch(name: str) -> None:
        real = getattr(SqliteEventLogStorage, name)

        def watched(*arguments: object) -> object:
            asked.append(name)
            return real(*arguments)

        monkeypatch.setattr(SqliteEventLogStorage, name, watched)

    watch("has_table")
    watch("_has_asset_key_col_on_connection")
    storage = instance.event_log_storage
    for partition in ("a", "b"):
        materialize(instance, partition)
        assert storage.has_table("asset_event_tags")
    assert sorted(asked) == ["_has_asset_key_col_on_connection", "has_table"]
    assert not storage.has_table("no_such_table")


def test_many_threads_can_store_events_at_once(instance: dg.DagsterInstance) -> None:
    threads = [
        threading.Thread(target=materialize, args=(instance, f"p{number}")) for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(instance.get_materialized_partitions(LATEST)) == 20


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""
