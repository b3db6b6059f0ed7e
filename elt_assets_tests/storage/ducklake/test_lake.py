"""The warehouse as a lake: what counts together, who may write, and what is left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.addresses import DatabaseAddress
from elt_assets.config.secret_refs import SecretRef
from elt_assets.errors import (
    BooksUnbalanced,
    DatabaseRefused,
    PermanentError,
    RetryableError,
    WarehouseBusy,
    WarehouseDamaged,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.ducklake import lake_upkeep
from elt_assets.storage.ducklake.lake import S3, LakeWarehouses
from elt_assets.storage.warehouse import duckdb_extensions
from elt_assets.storage.warehouse.warehouse import Table, View, Warehouse, WarehouseLayout
from elt_assets_tests.storage.processes import another_process
from elt_assets_tests.testbed.s3 import Storage, object_storage, on_bad_days
from elt_assets_tests.testbed.servers import PASSWORD, Server

ACME = IntegrationRef("acme", "main")
OTHER = IntegrationRef("other", "main")
LAYOUT = WarehouseLayout(
    tables=(
        Table("numbers", "batch INTEGER NOT NULL, n INTEGER NOT NULL, word VARCHAR", records=True),
        Table("batches", "batch INTEGER NOT NULL, landed TIMESTAMP", key=("batch",)),
        Table("warehouse_schema", "version INTEGER NOT NULL"),
    ),
    views=(View("known_numbers", "SELECT n FROM numbers JOIN batches USING (batch)"),),
)
Opener = Callable[..., LakeWarehouses]

# Opens the lake as the test does, and does what it is told.
PREAMBLE = """
import os, signal, sys
from elt_assets.storage.ducklake.lake_catalog import LakeCatalog
from elt_assets_tests.storage.ducklake.test_lake import ACME, land, lake_at
warehouses = lake_at(int(sys.argv[1]), sys.argv[2], sys.argv[3])
"""
DIES_BEFORE_THE_BOOKS = (
    PREAMBLE
    + """
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

LakeCatalog.fence = die
with warehouses.open(ACME) as warehouse:
    land(warehouse, 7, 10)
"""
)
HOLDS = (
    PREAMBLE
    + """
with warehouses.open(ACME) as warehouse:
    print("holds", flush=True)
    input()
"""
)
FILLS = (
    PREAMBLE
    + """
from elt_assets.identifiers import IntegrationRef
for number in range(6):
    with warehouses.open(IntegrationRef("acme", f"{sys.argv[4]}-{number}")) as warehouse:
        for batch in range(3):
            land(warehouse, batch, 20)
print("filled", flush=True)
"""
)


def lake_at(
    port: int, schema: str, data: str, user: str = "owner", **options: Any
) -> LakeWarehouses:
    """A lake on the tests' server, opened by somebody who does not wait."""
    os.environ["LAKE_PASSWORD"] = PASSWORD
    given: dict[str, Any] = {
        "data": data,
        "schema": schema,
        "layout": LAYOUT,
        "spill": Path(data).parent / "spill",
        "lock_wait": 0,
    }
    address = DatabaseAddress.parse(
        f"postgresql://{user}@127.0.0.1:{port}/hr?sslmode=disable", SecretRef(env="LAKE_PASSWORD")
    )
    return LakeWarehouses(address, **given | options)


def land(warehouse: Warehouse, batch: int, count: int) -> None:
    """Records and the book about them, in one transaction."""
    with warehouse.transaction():
        warehouse.add(
            "numbers",
            "SELECT $batch AS batch, n, 'word ' || n AS word FROM range($count) AS listed(n)",
            {"batch": batch, "count": count},
        )
        warehouse.insert("batches", "SELECT $batch AS batch", {"batch": batch})


def seen(warehouses: LakeWarehouses, ref: IntegrationRef = ACME) -> tuple[int, int]:
    """How many records and how many batches an integration has."""
    with warehouses.open(ref, read_only=True) as warehouse:
        (numbers,) = warehouse.execute("SELECT count(*) FROM numbers").fetchall()[0]
        (batches,) = warehouse.execute("SELECT count(*) FROM batches").fetchall()[0]
    return numbers, batches


@pytest.fixture
def opened(postgresql: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens one and the same empty lake, as often as it is asked to."""
    made: list[LakeWarehouses] = []
    schema = f"lake_{abs(hash(request.node.nodeid)):x}"

    def open_one(**options: Any) -> LakeWarehouses:
        data = options.pop("data", str(tmp_path / "data"))
        options.setdefault("spill", tmp_path / "spill")
        made.append(lake_at(postgresql.port, schema, data, **options))
        return made[-1]

    yield open_one
    for warehouses in made:
        warehouses.close()
    postgresql.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture
def lake(opened: Opener) -> LakeWarehouses:
    return opened()


def elsewhere(lake: LakeWarehouses, server: Server) -> tuple[object, ...]:
    """What another process needs to open the same lake."""
    return server.port, lake._catalog.schema, lake._data


def stored(lake: LakeWarehouses) -> int:
    """Records in the lake, whether or not anything names them."""
    with lake._instances.lent() as instance:
        rows = instance.root.execute("SELECT count(*) FROM lake.numbers").fetchall()
    return int(rows[0][0])


def test_records_and_the_books_about_them_are_there_together(lake: LakeWarehouses) -> None:
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 30)
        assert warehouse.execute("SELECT count(*), max(word) FROM numbers").fetchall() == [
            (30, "word 9")
        ]
        assert warehouse.execute("SELECT count(*) FROM known_numbers").fetchall() == [(30,)]
    assert seen(lake) == (30, 1)


def test_a_block_that_fails_leaves_nothing(lake: LakeWarehouses) -> None:
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 5)
        with pytest.raises(KeyError), warehouse.transaction():  # noqa: PT012 - it fails last
            warehouse.add("numbers", "SELECT 1 AS batch, 1 AS n")
            warehouse.delete("batches", "true")
            raise KeyError
    assert seen(lake) == (5, 1)


def test_a_process_killed_between_records_and_books_leaves_records_that_nobody_sees(
    lake: LakeWarehouses, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 30)
    with another_process(DIES_BEFORE_THE_BOOKS, *elsewhere(lake, postgresql)) as process:
        assert process.end() == -9
    assert stored(lake) == 40
    assert seen(lake) == (30, 1)
    lake.look_after(dry_run=False)
    assert stored(lake) == 40, "they may be those of a transaction under way"
    monkeypatch.setattr(lake_upkeep, "_UNNAMED", 0)
    (found, *_) = lake.look_after(dry_run=True)
    assert found.count == 10
    assert stored(lake) == 40
    lake.look_after(dry_run=False)
    assert stored(lake) == 30
    assert seen(lake) == (30, 1)


def test_an_integration_sees_its_own_and_a_connection_of_nobody_sees_nothing(
    lake: LakeWarehouses,
) -> None:
    for ref, count in ((ACME, 30), (OTHER, 7)):
        with lake.open(ref) as warehouse:
            land(warehouse, 0, count)
    assert seen(lake) == (30, 1)
    assert seen(lake, OTHER) == (7, 1)
    with lake.open(ACME) as warehouse:
        assert warehouse.reading().execute("SELECT count(*) FROM numbers").fetchall() == [(30,)]
        of_nobody = warehouse.connection.cursor()
        assert of_nobody.execute("SELECT count(*) FROM numbers").fetchall() == [(0,)]
        warehouse.delete("numbers", "true")
        warehouse.update("batches", "landed = now()::TIMESTAMP", "true")
        warehouse.delete("batches", "true")
    assert seen(lake) == (0, 0)
    assert seen(lake, OTHER) == (7, 1)


def test_books_change_in_the_order_in_which_it_was_said(lake: LakeWarehouses) -> None:
    with lake.open(ACME) as warehouse:
        with warehouse.transaction():
            warehouse.delete("batches", "true")
            warehouse.insert("batches", "SELECT 1 AS batch")
            warehouse.update("batches", "batch = 2", "batch = 1")
            warehouse.insert("batches", "SELECT 1 AS batch")
        assert warehouse.execute("SELECT batch FROM batches ORDER BY 1").fetchall() == [(1,), (2,)]


def test_records_of_one_write_are_dropped_together_or_not_at_all(lake: LakeWarehouses) -> None:
    with lake.open(ACME) as warehouse:
        for batch in range(3):
            land(warehouse, batch, 5)
        with pytest.raises(BooksUnbalanced, match="written together"):
            warehouse.delete("numbers", "n = 3")
        warehouse.delete("numbers", "batch >= $from", {"from": 1})
        warehouse.delete("numbers", "NOT EXISTS (FROM batches AS b WHERE b.batch = numbers.batch)")
    assert seen(lake) == (5, 3)


def test_who_only_reads_writes_nothing_and_reads_beside_others(
    lake: LakeWarehouses, opened: Opener
) -> None:
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 5)
    with lake.open(ACME, read_only=True) as warehouse:
        assert seen(opened()) == (5, 1)
        with pytest.raises(PermanentError, match="for reading only"):
            land(warehouse, 1, 5)
        with pytest.raises(WarehouseBusy), opened().open(ACME):
            pass


def test_who_holds_an_integration_is_said_and_ends_with_its_process(
    lake: LakeWarehouses, postgresql: Server
) -> None:
    with another_process(HOLDS, *elsewhere(lake, postgresql)) as holder:
        assert holder.hears() == "holds"
        assert lake.is_held(ACME)
        assert not lake.is_held(OTHER)
        with (
            pytest.raises(WarehouseBusy, match=rf"in use by process {holder.pid} on "),
            lake.open(ACME),
        ):
            pass
        with lake.open(OTHER):
            pass
        holder.kill()
        patient = lake_at(*elsewhere(lake, postgresql), lock_wait=600)  # type: ignore[arg-type]
        with patient.open(ACME) as warehouse:
            land(warehouse, 0, 5)
        patient.close()
    assert not lake.is_held(ACME)


def test_who_begins_to_work_does_not_wait_for_others_to_have_added(
    lake: LakeWarehouses, opened: Opener
) -> None:
    with lake.open(ACME) as warehouse, warehouse.transaction():
        warehouse.add("numbers", "SELECT 1 AS batch, 1 AS n")
        with opened().open(OTHER) as other:
            land(other, 0, 5)
    assert seen(lake, OTHER) == (5, 1)


def test_a_holder_is_waited_for(lake: LakeWarehouses, opened: Opener) -> None:
    patient = opened(lock_wait=600)
    found: list[tuple[int, int]] = []
    waiting = threading.Thread(target=lambda: found.append(seen(patient)))
    with lake.open(ACME) as warehouse:
        waiting.start()
        land(warehouse, 0, 5)
        assert not found
    waiting.join()
    assert found == [(5, 1)]


def cut_off(server: Server) -> None:
    """End every session that holds a lock, as the server does when its peer is gone."""
    server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks"
        " WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
    )


def test_a_worker_that_was_cut_off_and_comes_back_changes_nothing(
    lake: LakeWarehouses, opened: Opener, postgresql: Server
) -> None:
    other = opened()
    with (  # noqa: PT012 - it must hold the integration first
        pytest.raises(RetryableError),
        lake.open(ACME) as warehouse,
    ):
        land(warehouse, 0, 5)
        cut_off(postgresql)
        with other.open(ACME) as taken_over:
            land(taken_over, 1, 7)
        land(warehouse, 2, 100)
    assert seen(other) == (12, 2)


def test_a_lease_that_was_taken_over_is_refused_by_the_books_themselves(
    lake: LakeWarehouses, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off at the last moment: between the commit of the records and that of the books."""
    other = opened()
    fence = lake._catalog.fence

    def late(lease: Any) -> str:
        monkeypatch.setattr(lake._catalog, "fence", fence)
        lease.session.unlock()
        with other.open(ACME) as taken_over:
            land(taken_over, 1, 7)
        return fence(lease)

    monkeypatch.setattr(lake._catalog, "fence", late)
    with pytest.raises(WarehouseBusy, match="another worker took it over"):  # noqa: SIM117
        with lake.open(ACME) as warehouse:
            land(warehouse, 0, 5)
    assert seen(other) == (7, 1)


def test_a_server_that_went_away_is_tried_again_later_and_nothing_is_lost(
    lake: LakeWarehouses, postgresql: Server
) -> None:
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 5)
    with (  # noqa: PT012 - it must be at work when the server goes
        pytest.raises(RetryableError) as failed,
        lake.open(ACME) as warehouse,
    ):
        postgresql.restart()
        land(warehouse, 1, 5)
    assert PASSWORD not in str(failed.value)
    with lake.open(ACME) as warehouse:
        land(warehouse, 2, 5)
    numbers, batches = seen(lake)
    assert numbers == 5 * batches


def test_who_comes_after_a_restart_of_the_server_notices_nothing(
    lake: LakeWarehouses, postgresql: Server
) -> None:
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 5)
    postgresql.restart()
    with lake.open(ACME) as warehouse:
        land(warehouse, 1, 5)
    assert seen(lake) == (10, 2)


def test_workers_that_begin_at_once_on_an_empty_database_make_one_lake(
    lake: LakeWarehouses, postgresql: Server
) -> None:
    place = elsewhere(lake, postgresql)
    with (
        another_process(FILLS, *place, "one") as one,
        another_process(FILLS, *place, "two") as two,
        another_process(FILLS, *place, "three") as three,
    ):
        assert [process.hears() for process in (one, two, three)] == ["filled"] * 3
    assert seen(lake, IntegrationRef("acme", "three-5")) == (60, 3)


def test_processes_that_write_at_once_lose_nothing_while_others_are_removed_and_files_merged(
    lake: LakeWarehouses, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lake.open(OTHER) as warehouse:
        land(warehouse, 0, 50)
    place = elsewhere(lake, postgresql)
    with (
        another_process(FILLS, *place, "one") as one,
        another_process(FILLS, *place, "two") as two,
    ):
        lake.remove(OTHER)
        monkeypatch.setattr(lake_upkeep, "_READ", "0 seconds")
        for _ in range(3):
            lake.look_after(dry_run=False)
        assert (one.hears(), two.hears()) == ("filled", "filled")
    for name in ("one", "two"):
        for number in range(6):
            assert seen(lake, IntegrationRef("acme", f"{name}-{number}")) == (60, 3)
    assert seen(lake, OTHER) == (0, 0)


def test_after_a_removal_everybody_still_sees_what_is_their_own(
    lake: LakeWarehouses, opened: Opener
) -> None:
    """Whatever is added next: what the catalog forgot of all rows is not what it says of one."""
    other = opened()
    with other.open(OTHER) as warehouse:
        land(warehouse, 0, 50)
        land(warehouse, 1, 5)
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 50)
    lake.remove(ACME)
    with lake.open(IntegrationRef("zzz", "last")) as warehouse:
        warehouse.add(
            "numbers", "SELECT 7 AS batch, n, 'x' || n AS word FROM range(1000, 1030) AS listed(n)"
        )
    assert seen(other, OTHER) == seen(lake, OTHER) == (55, 2)
    with lake.open(OTHER, read_only=True) as warehouse:
        assert warehouse.execute("SELECT n FROM numbers WHERE word = 'word 30'").fetchall() == [
            (30,)
        ]


def test_removing_leaves_no_trace_of_people(
    lake: LakeWarehouses, opened: Opener, postgresql: Server, tmp_path: Path
) -> None:
    with lake.open(OTHER) as warehouse:
        land(warehouse, 0, 50)
    with lake.open(ACME) as warehouse:
        for batch, count in enumerate((50, 3)):
            warehouse.add(
                "numbers",
                "SELECT $batch AS batch, n, 'zz-secret-' || n AS word FROM range($count) AS l(n)",
                {"batch": batch, "count": count},
            )
        warehouse.insert("warehouse_schema", "SELECT 1 AS version")
    # A worker that knows of them, and goes on; its rows are after theirs in the catalog itself.
    elsewhere = opened()
    with elsewhere.open(OTHER) as warehouse:
        land(warehouse, 1, 3)
        assert warehouse.execute("SELECT max(word) FROM numbers").fetchall() == [("word 9",)]
    assert lake.exists(ACME)
    assert lake.refs() == [ACME]
    assert traces(lake, postgresql, tmp_path)
    lake.remove(ACME)
    assert not lake.exists(ACME)
    assert traces(lake, postgresql, tmp_path) == []
    assert seen(lake, OTHER) == (53, 2)
    with elsewhere.open(OTHER) as warehouse:
        land(warehouse, 2, 30)
    assert traces(lake, postgresql, tmp_path) == [], "nor does it come back"
    with lake.open(OTHER) as warehouse:
        found = warehouse.execute(
            "SELECT count(*) FILTER (word = 'word 2'), count(*) FROM numbers WHERE word > 'w'"
        ).fetchall()
    assert found == [(3, 83)], "what the catalog knows of values is still right"


def traces(lake: LakeWarehouses, server: Server, tmp_path: Path) -> list[str]:
    """Files and rows of the catalog in which one of ACME's people can be found."""
    found = [
        str(path)
        for path in (tmp_path / "data").rglob("*.parquet")
        if b"zz-secret" in path.read_bytes() or "organization_id=acme" in str(path)
    ]
    with lake._instances.lent() as instance:
        tables = instance.root.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'books'"
        ).fetchall()
        for (table,) in tables:
            rows = instance.root.execute(
                f'SELECT t::VARCHAR FROM books."{lake._catalog.schema}".{table} AS t'
            ).fetchall()
            # Bytes are shown in hexadecimal.
            signs = ("zz-secret", r"\x7A\x7A\x2D", "7a7a2d", "zz\\x2Dsecret")
            found += [table for (row,) in rows if any(sign in row for sign in signs)]
    return found


def test_small_files_are_merged_and_what_they_were_is_deleted(
    lake: LakeWarehouses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lake.open(ACME) as warehouse:
        for batch in range(4):
            land(warehouse, batch, 50)
    assert len(list((tmp_path / "data").rglob("*.parquet"))) == 4
    monkeypatch.setattr(lake_upkeep, "_READ", "0 seconds")
    lake.look_after(dry_run=False)
    assert len(list((tmp_path / "data").rglob("*.parquet"))) == 1
    assert seen(lake) == (200, 4)


def test_what_does_not_fit_into_memory_is_put_aside_in_a_home_that_is_new(
    opened: Opener, tmp_path: Path
) -> None:
    spill = tmp_path / "home" / "olap" / ".spill"
    with opened(spill=spill, memory_limit="64MB").open(ACME) as warehouse:
        warehouse.execute(
            "CREATE TEMP TABLE sorted AS"
            " SELECT md5(n::VARCHAR) AS word FROM range(2_000_000) AS listed(n) ORDER BY word"
        )
        assert any(spill.iterdir())


def test_files_in_another_place_than_the_catalog_says_are_an_error(
    lake: LakeWarehouses, opened: Opener, tmp_path: Path
) -> None:
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 5)
    moved = opened(data=str(tmp_path / "elsewhere"))
    with pytest.raises(PermanentError, match="ELT_ASSETS_WAREHOUSE_DATA"), moved.open(ACME):
        pass


def test_a_catalog_of_another_release_is_an_error(
    lake: LakeWarehouses, opened: Opener, postgresql: Server
) -> None:
    assert lake.refs() == []
    postgresql.execute(f"UPDATE {lake._catalog.schema}.lake_version SET version = 99")
    with pytest.raises(WarehouseDamaged, match="has version 99"):
        opened().refs()


def test_an_extension_that_is_not_there_is_an_error_that_says_what_to_install(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(duckdb_extensions, "find_spec", lambda name: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(PermanentError, match=r"pip install 'elt-assets\[lake\]'"):
        opened().inspect()


def test_what_it_is_can_be_told(lake: LakeWarehouses, tmp_path: Path) -> None:
    said = lake.inspect()
    assert str(tmp_path / "data") in said
    assert "PostgreSQL 1" in said
    assert said.endswith("made when it is first used")
    assert PASSWORD not in said
    assert lake.refs() == []
    assert not lake.inspect().endswith("made when it is first used")


def test_an_account_that_may_make_no_tables_is_told_so(
    lake: LakeWarehouses, opened: Opener, postgresql: Server
) -> None:
    schema = lake._catalog.schema
    postgresql.execute(
        f"CREATE ROLE {schema}_guest LOGIN PASSWORD '{PASSWORD}'", f"CREATE SCHEMA {schema}"
    )
    guest = opened(user=f"{schema}_guest")
    with pytest.raises(DatabaseRefused, match=f"make tables in schema {schema}"):
        guest.inspect()
    postgresql.execute(f"DROP ROLE {schema}_guest")


@pytest.fixture(scope="session")
def storage() -> Iterator[Storage]:
    with object_storage() as running:
        yield running


def test_records_can_be_in_object_storage(
    opened: Opener, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_KEY", storage.key_id)
    monkeypatch.setenv("LAKE_SECRET", storage.secret)
    given = S3(
        storage.endpoint, "us-east-1", SecretRef(env="LAKE_KEY"), SecretRef(env="LAKE_SECRET")
    )
    lake = opened(data=f"s3://{storage.bucket}/{id(opened)}", s3=given)
    with lake.open(ACME) as warehouse:
        land(warehouse, 0, 500)
    assert seen(lake) == (500, 1)
    assert any("organization_id=acme" in name for name in storage.names())
    with lake.open(ACME) as warehouse:
        warehouse.insert("warehouse_schema", "SELECT 1 AS version")
    lake.remove(ACME)
    assert not any("organization_id=acme" in name for name in storage.names())
    assert storage.secret not in lake.inspect()


def test_object_storage_that_is_away_is_tried_again_later(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with object_storage() as storage:
        monkeypatch.setenv("LAKE_KEY", storage.key_id)
        monkeypatch.setenv("LAKE_SECRET", storage.secret)
        given = S3(
            storage.endpoint, "us-east-1", SecretRef(env="LAKE_KEY"), SecretRef(env="LAKE_SECRET")
        )
        lake = opened(data=f"s3://{storage.bucket}/{id(opened)}", s3=given)
        with lake.open(ACME) as warehouse:
            land(warehouse, 0, 500)
    with pytest.raises(RetryableError, match="cannot be reached"), lake.open(ACME) as warehouse:
        land(warehouse, 1, 500)


@pytest.mark.campaign
def test_object_storage_that_is_slow_or_refuses_now_and_then_loses_nothing(
    opened: Opener, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_KEY", storage.key_id)
    monkeypatch.setenv("LAKE_SECRET", storage.secret)
    with on_bad_days(storage) as (reached, days):
        given = S3(
            reached.endpoint, "us-east-1", SecretRef(env="LAKE_KEY"), SecretRef(env="LAKE_SECRET")
        )
        lake = opened(data=f"s3://{reached.bucket}/{id(days)}", s3=given)
        days.latency = 0.05
        with lake.open(ACME) as warehouse:
            for batch in range(3):
                days.failing = 1
                land(warehouse, batch, 500)
        assert seen(lake) == (1_500, 3)
        assert days.refused == 3
        days.failing = 1_000
        with pytest.raises(RetryableError), lake.open(ACME) as warehouse:
            land(warehouse, 3, 500)
        days.failing = 0
        assert seen(lake) == (1_500, 3)
