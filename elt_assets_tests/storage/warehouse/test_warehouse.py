from __future__ import annotations

import fcntl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elt_assets.errors import (
    PermanentError,
    RetryableError,
    StorageFull,
    WarehouseBusy,
    WarehouseDamaged,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses, one_row
from elt_assets_tests.storage.processes import (
    another_process,
    fill,
    small_disk,
    wait_until_it_waits,
)

ACME = IntegrationRef("acme", "main")
OTHER = IntegrationRef("acme", "other")

# Commits 1,000 rows in each of 3 transactions, leaves 77 uncommitted and holds the file.
HOLDER = """
import sys
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
with FileWarehouses(Path(sys.argv[1])).open(IntegrationRef("acme", "main")) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS numbers (number INTEGER)")
    for _ in range(3):
        connection.execute("BEGIN; INSERT INTO numbers SELECT range FROM range(1000); COMMIT")
    connection.execute("BEGIN; INSERT INTO numbers SELECT range FROM range(77)")
    print("holding", flush=True)
    input()
    connection.execute("COMMIT")
"""

OPENER = """
import sys
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
with FileWarehouses(Path(sys.argv[1]), lock_wait=0).open(IntegrationRef("acme", "main")):
    print("opened", flush=True)
"""

READER = """
import sys
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
with FileWarehouses(Path(sys.argv[1])).open(IntegrationRef("acme", "main"), read_only=True):
    print("holding", flush=True)
    input()
"""


@pytest.fixture
def warehouses(tmp_path: Path) -> Iterator[FileWarehouses]:
    """FileWarehouses that wait for nobody."""
    made = FileWarehouses(tmp_path / "olap", lock_wait=0)
    yield made
    made.close()


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[FileWarehouses]:
    """The same warehouses for one who waits."""
    made = FileWarehouses(tmp_path / "olap", lock_wait=600)
    yield made
    made.close()


def put(warehouses: FileWarehouses, ref: IntegrationRef, rows: int = 1) -> None:
    with warehouses.open(ref) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number INTEGER)")
        connection.execute(f"INSERT INTO numbers SELECT range FROM range({rows})")


def held(warehouses: FileWarehouses, ref: IntegrationRef, *, read_only: bool = False) -> int:
    with warehouses.open(ref, read_only=read_only) as connection:
        (count,) = one_row(connection, "SELECT count(*) FROM numbers", {})
    return int(count)


def another_process_can_open(root: Path) -> bool:
    with another_process(OPENER, root) as opener:
        return opener.hears() == "opened"


def test_what_was_committed_is_there_when_the_file_is_opened_again(
    warehouses: FileWarehouses,
) -> None:
    assert not warehouses.exists(ACME)
    put(warehouses, ACME, rows=3)
    assert warehouses.exists(ACME)
    assert held(warehouses, ACME) == 3


def test_a_file_lies_under_its_organization(warehouses: FileWarehouses, tmp_path: Path) -> None:
    put(warehouses, ACME)
    assert warehouses.path(ACME) == tmp_path / "olap" / "acme" / "main.duckdb"


def test_a_folder_with_a_quote_in_its_name_is_no_trouble(tmp_path: Path) -> None:
    warehouses = FileWarehouses(tmp_path / "it's here", lock_wait=0)
    put(warehouses, ACME)
    assert held(warehouses, ACME) == 1
    warehouses.close()


def test_a_file_is_small_and_an_open_one_is_bounded(tmp_path: Path) -> None:
    warehouses = FileWarehouses(tmp_path / "olap", threads=2, memory_limit="64MiB")
    with warehouses.open(ACME) as connection:
        assert one_row(
            connection,
            "SELECT block_size FROM pragma_database_size() WHERE database_name = 'warehouse'",
            {},
        ) == (16_384,)
        assert one_row(
            connection,
            "SELECT current_setting('threads'), current_setting('memory_limit'),"
            " current_setting('TimeZone')",
            {},
        ) == (2, "64.0 MiB", "UTC")
    warehouses.close()


def test_a_large_file_is_compressed_while_it_grows_whoever_had_the_instance_before(
    tmp_path: Path,
) -> None:
    warehouses = FileWarehouses(tmp_path / "olap", log_size="1MB")
    put(warehouses, OTHER)
    with warehouses.open(ACME) as opened:
        opened.execute("CREATE TABLE names (name VARCHAR)")
        for _ in range(4):
            with opened.transaction():
                opened.execute("INSERT INTO names SELECT repeat('x', 100) FROM range(60000)")
            opened.grow()
        written = opened.execute(
            "SELECT sum(count) FILTER (compression = 'Uncompressed'),"
            " sum(count) FILTER (compression <> 'Uncompressed')"
            " FROM pragma_storage_info('names') WHERE persistent AND segment_type = 'VARCHAR'"
        ).fetchone()
    assert written is not None
    # The first rows were written before anybody could know how many would come.
    assert written[1] > written[0]
    warehouses.close()


def test_a_file_that_is_large_already_is_compressed_from_the_first_row(tmp_path: Path) -> None:
    warehouses = FileWarehouses(tmp_path / "olap", log_size="1MB")
    with warehouses.open(ACME) as opened:
        opened.execute("CREATE TABLE numbers AS SELECT random() AS number FROM range(1000000)")
    put(warehouses, OTHER)
    with warehouses.open(ACME) as opened:
        opened.execute("CREATE TABLE names AS SELECT repeat('x', 100) AS name FROM range(60000)")
        opened.execute("CHECKPOINT")
        methods = opened.execute(
            "SELECT DISTINCT compression FROM pragma_storage_info('names')"
            " WHERE segment_type = 'VARCHAR'"
        ).fetchall()
    assert methods
    assert ("Uncompressed",) not in methods
    warehouses.close()


def test_a_file_that_another_process_holds_is_busy_and_the_message_names_that_process(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    with another_process(HOLDER, tmp_path / "olap") as holder:
        assert holder.hears() == "holding"
        for read_only in (False, True):
            with (
                pytest.raises(WarehouseBusy) as busy,
                warehouses.open(ACME, read_only=read_only),
            ):
                pass
            assert str(busy.value).startswith(f"acme:main: warehouse file {warehouses.path(ACME)}")
            assert f"(PID {holder.pid})" in str(busy.value)
        put(warehouses, OTHER)


def test_who_reads_a_file_that_another_wants_to_write_is_named(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    put(warehouses, ACME)
    with another_process(READER, tmp_path / "olap") as reader:
        assert reader.hears() == "holding"
        with pytest.raises(WarehouseBusy, match=rf"\(PID {reader.pid}\); wait for .* to end"):
            put(warehouses, ACME)
        assert held(warehouses, ACME, read_only=True) == 1


def test_a_process_that_holds_the_file_is_waited_for(
    patient: FileWarehouses, tmp_path: Path
) -> None:
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(held(patient, ACME)))
    with another_process(HOLDER, tmp_path / "olap") as holder:
        assert holder.hears() == "holding"
        waiting.start()
        wait_until_it_waits(waiting)
        assert found == []
        holder.go_on()
        waiting.join()
        assert holder.end() == 0
    assert found == [3077]


def test_a_file_that_another_thread_holds_is_busy(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    beside = FileWarehouses(tmp_path / "olap", lock_wait=0)
    with warehouses.open(ACME):
        for second in (warehouses, beside):
            with (
                pytest.raises(WarehouseBusy, match=r"^acme:main: .* another sync of this process"),
                second.open(ACME),
            ):
                pass
        put(warehouses, OTHER)
    put(beside, ACME)
    beside.close()


def test_a_thread_that_holds_the_file_is_waited_for(patient: FileWarehouses) -> None:
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(held(patient, ACME)))
    with patient.open(ACME) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        waiting.start()
        wait_until_it_waits(waiting)
        connection.execute("INSERT INTO numbers VALUES (1)")
    waiting.join()
    assert found == [1]


def test_threads_with_files_of_their_own_do_not_meet(warehouses: FileWarehouses) -> None:
    refs = [IntegrationRef("acme", f"integration-{number}") for number in range(8)]
    everybody_is_inside = threading.Barrier(len(refs))

    def work(ref: IntegrationRef, rows: int) -> None:
        with warehouses.open(ref) as connection:
            everybody_is_inside.wait()
            connection.execute("CREATE TEMP TABLE mapped AS SELECT range AS number FROM range(5)")
            connection.execute(f"CREATE TABLE numbers AS SELECT range FROM range({rows})")

    threads = [
        threading.Thread(target=work, args=(ref, rows)) for rows, ref in enumerate(refs, start=1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [held(warehouses, ref) for ref in refs] == list(range(1, len(refs) + 1))


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, WarehouseDamaged])
def test_an_error_inside_the_block_rolls_back_and_gives_the_file_back(
    warehouses: FileWarehouses, tmp_path: Path, error: type[BaseException]
) -> None:
    put(warehouses, ACME)

    def fail_inside() -> None:
        with warehouses.open(ACME) as connection:
            connection.execute("BEGIN; INSERT INTO numbers VALUES (2)")
            raise error

    with pytest.raises(error):
        fail_inside()
    assert another_process_can_open(tmp_path / "olap")
    assert held(warehouses, ACME) == 1


def test_a_mistake_in_our_own_sql_stays_what_it_is_and_gives_the_file_back(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    put(warehouses, ACME)
    with pytest.raises(duckdb.CatalogException), warehouses.open(ACME) as connection:
        connection.execute("SELECT * FROM no_such_table")
    assert another_process_can_open(tmp_path / "olap")


def test_a_transaction_left_open_is_never_committed(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    put(warehouses, ACME)
    with pytest.raises(duckdb.TransactionException), warehouses.open(ACME) as connection:
        connection.execute("BEGIN; INSERT INTO numbers VALUES (2)")
    assert another_process_can_open(tmp_path / "olap")
    assert held(warehouses, ACME) == 1


def test_a_killed_process_leaves_what_it_committed_and_no_lock(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    with another_process(HOLDER, tmp_path / "olap") as holder:
        assert holder.hears() == "holding"
        holder.kill()
    assert held(warehouses, ACME) == 3000
    put(warehouses, ACME)
    assert held(warehouses, ACME) == 3001


def test_reading_alone_sees_what_a_killed_process_committed_and_changes_no_file(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    with another_process(HOLDER, tmp_path / "olap") as holder:
        assert holder.hears() == "holding"
        holder.kill()
    files = {path: path.read_bytes() for path in (tmp_path / "olap" / "acme").iterdir()}
    assert sorted(path.name for path in files) == ["main.duckdb", "main.duckdb.wal"]
    assert held(warehouses, ACME, read_only=True) == 3000
    assert {path: path.read_bytes() for path in (tmp_path / "olap" / "acme").iterdir()} == files


def test_who_only_reads_cannot_write(warehouses: FileWarehouses) -> None:
    put(warehouses, ACME)
    with (
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
        warehouses.open(ACME, read_only=True) as connection,
    ):
        connection.execute("INSERT INTO numbers VALUES (2)")


def test_nothing_of_one_integration_is_left_for_the_next(warehouses: FileWarehouses) -> None:
    with warehouses.open(ACME) as connection:
        connection.execute("CREATE TEMP TABLE mapped AS SELECT 'a person' AS name")
        connection.execute("CREATE TABLE people AS SELECT 'a person' AS name")
    with warehouses.open(OTHER) as connection:
        for table in ("mapped", "people"):
            with pytest.raises(duckdb.CatalogException):
                connection.execute(f"SELECT * FROM {table}")


def test_closing_removes_what_was_spilled_and_opening_goes_on_working(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    put(warehouses, ACME)
    spill = tmp_path / "olap" / ".spill"
    spill.mkdir()
    (spill / "left-behind.tmp").touch()
    warehouses.close()
    assert not spill.exists()
    assert held(warehouses, ACME) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage" * 5000, bytes(50_000), b"SQLite format 3\0" + bytes(50_000)],
    ids=["nothing", "garbage", "zeros", "another format"],
)
def test_a_file_that_is_no_warehouse_is_damaged_and_named(
    warehouses: FileWarehouses, content: bytes
) -> None:
    put(warehouses, ACME)
    path = warehouses.path(ACME)
    path.write_bytes(content)
    with pytest.raises(WarehouseDamaged) as damaged, warehouses.open(ACME):
        pass
    assert str(damaged.value).startswith(f"acme:main: warehouse file {path} is damaged")
    assert len(str(damaged.value).splitlines()) == 1
    put(warehouses, OTHER)


def test_a_file_cut_short_anywhere_is_damaged_or_lacks_nothing(warehouses: FileWarehouses) -> None:
    put(warehouses, ACME, rows=3000)
    path = warehouses.path(ACME)
    whole = path.read_bytes()
    noticed = 0
    for length in range(0, len(whole), 1021):
        path.write_bytes(whole[:length])
        try:
            with warehouses.open(ACME) as connection:
                found = one_row(connection, "SELECT count(*), sum(number) FROM numbers", {})
        except WarehouseDamaged:
            noticed += 1
        else:
            assert found == (3000, sum(range(3000)))
    assert noticed > 20


def begun(warehouses: FileWarehouses, written: int) -> Path:
    """ACME's file as a process leaves it that is killed when so many bytes of it are written."""
    with warehouses.open(ACME):
        pass
    path = warehouses.path(ACME)
    path.write_bytes(path.read_bytes()[:written])
    (path.parents[1] / ".making").write_text("acme/main.duckdb")
    return path


@pytest.mark.parametrize("written", [0, 4096, 8192])
def test_a_file_whose_maker_was_killed_is_made_anew(
    warehouses: FileWarehouses, written: int
) -> None:
    begun(warehouses, written)
    put(warehouses, ACME, rows=3)
    assert held(warehouses, ACME) == 3


@pytest.mark.parametrize("written", [0, 4096, 8192])
def test_a_file_whose_maker_was_killed_can_be_removed(
    warehouses: FileWarehouses, written: int
) -> None:
    path = begun(warehouses, written)
    warehouses.remove(ACME)
    assert not path.exists()


def test_who_only_reads_finds_nothing_of_a_file_whose_maker_was_killed(
    warehouses: FileWarehouses,
) -> None:
    path = begun(warehouses, 4096)
    with (
        pytest.raises(RetryableError, match="was removed before it could be read"),
        warehouses.open(ACME, read_only=True),
    ):
        pass
    assert not path.exists()


def test_whoever_makes_another_file_takes_away_what_was_left(warehouses: FileWarehouses) -> None:
    path = begun(warehouses, 4096)
    put(warehouses, OTHER)
    assert not path.exists()


@pytest.mark.parametrize("written", [0, 4096, 8192])
def test_a_file_that_was_made_and_has_lost_its_end_is_damaged(
    warehouses: FileWarehouses, written: int
) -> None:
    put(warehouses, ACME)
    path = warehouses.path(ACME)
    path.write_bytes(path.read_bytes()[:written])
    put(warehouses, OTHER)
    with pytest.raises(WarehouseDamaged), warehouses.open(ACME):
        pass
    assert path.exists()


def test_who_finds_a_file_that_is_being_made_waits_until_it_is(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    path = begun(warehouses, 0)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(held(warehouses, ACME)))
    with (tmp_path / "olap" / ".making").open("w") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert path.exists()
        elsewhere = FileWarehouses(tmp_path / "elsewhere")
        put(elsewhere, ACME, rows=5)
        elsewhere.close()
        elsewhere.path(ACME).replace(path)
    thread.join()
    assert found == [5]


def test_a_damaged_file_moved_away_is_made_anew(warehouses: FileWarehouses) -> None:
    put(warehouses, ACME)
    path = warehouses.path(ACME)
    path.write_bytes(b"garbage" * 5000)
    with pytest.raises(WarehouseDamaged), warehouses.open(ACME):
        pass
    path.rename(path.with_suffix(".damaged"))
    put(warehouses, ACME)
    assert held(warehouses, ACME) == 1


@cache
def killed_in_the_middle() -> dict[str, bytes]:
    """The files of a process killed after three commits, the first of them checkpointed."""
    with tempfile.TemporaryDirectory() as folder:
        warehouses = FileWarehouses(Path(folder), lock_wait=0)
        put(warehouses, ACME, rows=1000)
        with another_process(HOLDER, folder) as holder:
            assert holder.hears() == "holding"
            holder.kill()
        warehouses.close()
        return {path.name: path.read_bytes() for path in (Path(folder) / "acme").iterdir()}


@given(
    st.sampled_from(["main.duckdb", "main.duckdb.wal"]),
    st.integers(0, 10**9),
    st.integers(1, 255),
)
@example("main.duckdb.wal", 5, 1)  # the log's version: one that needs what the file has not
@example("main.duckdb.wal", 5, 2)  # … and one that does not exist
def test_a_flipped_byte_is_noticed_or_loses_no_more_than_whole_commits(
    name: str, place: int, flip: int
) -> None:
    files = dict(killed_in_the_middle())
    damaged = bytearray(files[name])
    damaged[place % len(damaged)] ^= flip
    files[name] = bytes(damaged)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "acme").mkdir()
        for path, content in files.items():
            (Path(folder) / "acme" / path).write_bytes(content)
        warehouses = FileWarehouses(Path(folder), lock_wait=0)
        with suppress(WarehouseDamaged), warehouses.open(ACME) as connection:
            rows, total = one_row(connection, "SELECT count(*), sum(number) FROM numbers", {})
            assert rows in (1000, 2000, 3000, 4000)
            assert total == rows // 1000 * sum(range(1000))
        warehouses.close()


def test_a_full_disk_keeps_what_was_committed_and_works_again_with_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        warehouses = FileWarehouses(disk / "olap", lock_wait=0)
        put(warehouses, ACME)
        filler = fill(disk)
        with pytest.raises(StorageFull) as full:
            put(warehouses, ACME, rows=100_000)
        assert str(full.value).startswith(f"acme:main: no space left for {warehouses.path(ACME)}")
        with pytest.raises(StorageFull, match=r"^acme:other: "):
            put(warehouses, OTHER)
        filler.unlink()
        assert held(warehouses, ACME) == 1
        put(warehouses, ACME, rows=1000)
        put(warehouses, OTHER)
        assert held(warehouses, ACME) == 1001
        warehouses.close()


def test_a_disk_without_room_for_one_more_folder_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m,nr_inodes=4") as disk:
        warehouses = FileWarehouses(disk, lock_wait=0)
        (disk / "filler").touch()
        with pytest.raises(StorageFull, match=rf"^acme:main: no space left for {disk}/acme"):
            put(warehouses, ACME)
        warehouses.close()


def test_a_file_in_the_place_of_the_organizations_folder_is_named(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    (tmp_path / "olap").mkdir()
    (tmp_path / "olap" / "acme").touch()
    with pytest.raises(PermanentError, match=rf"^acme:main: {tmp_path}/olap/acme "):
        put(warehouses, ACME)
    put(warehouses, IntegrationRef("zeta", "main"))


def test_too_little_memory_names_the_setting_and_gives_the_file_back(tmp_path: Path) -> None:
    warehouses = FileWarehouses(tmp_path / "olap", memory_limit="30MiB", lock_wait=0)
    put(warehouses, ACME)
    with (
        pytest.raises(RetryableError, match=r"^acme:main: .* raise ELT_ASSETS_WAREHOUSE_MEMORY"),
        warehouses.open(ACME) as connection,
    ):
        connection.execute("SELECT list(range::VARCHAR) FROM range(5000000)")
    assert another_process_can_open(tmp_path / "olap")
    assert held(warehouses, ACME) == 1
    warehouses.close()


def test_temporary_files_have_a_limit_and_the_message_names_it(tmp_path: Path) -> None:
    warehouses = FileWarehouses(
        tmp_path / "olap", memory_limit="64MB", spill_limit="20MB", lock_wait=0
    )
    put(warehouses, ACME)
    with (
        pytest.raises(StorageFull, match=r"^acme:main: .*ELT_ASSETS_WAREHOUSE_SPILL"),
        warehouses.open(ACME) as connection,
    ):
        connection.execute(
            "CREATE TEMP TABLE large AS SELECT i, md5(i::VARCHAR) AS a, md5((i + 1)::VARCHAR) AS b"
            " FROM range(2000000) AS r (i) ORDER BY a"
        )
    assert held(warehouses, ACME) == 1
    warehouses.close()


def test_removing_deletes_the_file_and_what_a_killed_process_left_beside_it(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    put(warehouses, OTHER)
    with another_process(HOLDER, tmp_path / "olap") as holder:
        assert holder.hears() == "holding"
        holder.kill()
    warehouses.remove(ACME)
    assert [path.name for path in (tmp_path / "olap" / "acme").iterdir()] == ["other.duckdb"]
    warehouses.remove(OTHER)
    assert list((tmp_path / "olap").glob("[!.]*")) == []


def test_when_a_removed_file_has_gone_its_log_has(
    warehouses: FileWarehouses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on there may be another file, with a log of its own."""
    with another_process(HOLDER, tmp_path / "olap") as holder:
        assert holder.hears() == "holding"
        holder.kill()
    log = warehouses.path(ACME).with_name("main.duckdb.wal")
    assert log.exists()
    unlink, logs = Path.unlink, []

    def watched(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path == warehouses.path(ACME):
            logs.append(log.exists())

    monkeypatch.setattr(Path, "unlink", watched)
    warehouses.remove(ACME)
    assert logs == [False]


def test_removing_what_is_not_there_is_no_mistake(warehouses: FileWarehouses) -> None:
    warehouses.remove(ACME)
    assert not warehouses.exists(ACME)


@pytest.mark.parametrize("length", [0, 100, 35_000])
def test_a_damaged_file_can_be_removed(warehouses: FileWarehouses, length: int) -> None:
    put(warehouses, ACME)
    path = warehouses.path(ACME)
    path.write_bytes((b"garbage" * 5000)[:length])
    warehouses.remove(ACME)
    assert not path.exists()


def test_a_file_that_is_cut_short_can_be_removed(warehouses: FileWarehouses) -> None:
    put(warehouses, ACME, rows=3000)
    path = warehouses.path(ACME)
    path.write_bytes(path.read_bytes()[:10_000])
    warehouses.remove(ACME)
    assert not path.exists()


def test_a_damaged_file_is_removed_with_what_a_killed_process_left_beside_it(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    with another_process(HOLDER, tmp_path / "olap") as holder:
        assert holder.hears() == "holding"
        holder.kill()
    warehouses.path(ACME).write_bytes(b"garbage" * 5000)
    warehouses.remove(ACME)
    assert list((tmp_path / "olap").glob("[!.]*")) == []


def test_a_file_in_use_is_not_removed(warehouses: FileWarehouses, tmp_path: Path) -> None:
    with another_process(HOLDER, tmp_path / "olap") as holder:
        assert holder.hears() == "holding"
        with pytest.raises(WarehouseBusy):
            warehouses.remove(ACME)
        assert warehouses.exists(ACME)
        holder.go_on()
        assert holder.end() == 0
    assert held(warehouses, ACME) == 3077
