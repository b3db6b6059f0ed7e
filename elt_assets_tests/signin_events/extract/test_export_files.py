"""Export files: recognised, replaced, taken apart, and no line lost."""

from __future__ import annotations

import codecs
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from elt_assets.errors import RetryableError, Stopped
from elt_assets.signin_events.extract import csv_halves
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.results import EventSource, FileStatus
from elt_assets.signin_events.step_run import StepRun
from elt_assets_tests.signin_events.days import DAY, EVE, HEADER, Tenant, line


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    with Tenant(tmp_path) as tenant:
        yield tenant


def loaded(tenant: Tenant) -> list[tuple[str, str, int, int, int]]:
    """Name, status and counts of the day's files."""
    return [
        (one.file, str(one.status), one.fetched, one.staged, one.rejected)
        for one in tenant.events.extract_files(DAY)
    ]


def test_a_file_is_loaded_once_however_often_it_is_looked_at_or_touched(tenant: Tenant) -> None:
    path = tenant.file("a.csv", line("f-1"), "broken")
    assert loaded(tenant) == [("a.csv", "loaded", 2, 1, 1)]
    assert loaded(tenant) == [("a.csv", "unchanged", 2, 1, 1)]
    os.utime(path, ns=(1, 1))
    assert loaded(tenant) == [("a.csv", "unchanged", 2, 1, 1)]
    assert len(tenant.letters()) == 1


def test_the_same_content_under_another_name_or_day_or_compressed_is_recognised(
    tenant: Tenant,
) -> None:
    tenant.file("a.csv", line("f-1"), day=EVE)
    tenant.events.extract_files(EVE)
    tenant.file("again.csv", line("f-1"))
    tenant.file("b.csv.gz", line("f-1"))
    results = tenant.events.extract_files(DAY)
    assert [(one.status, one.same_as) for one in results] == [
        (FileStatus.DUPLICATE, f"{EVE}/a.csv")
    ] * 2
    assert loaded(tenant) == [
        ("again.csv", "duplicate", 0, 0, 0),
        ("b.csv.gz", "duplicate", 0, 0, 0),
    ]
    assert tenant.events.normalize(EventSource.CSV, DAY).read == 0


def test_a_file_that_changed_takes_its_own_place(tenant: Tenant) -> None:
    tenant.file("a.csv", line("f-1"), line("f-2"), "broken")
    tenant.file("b.csv", line("f-9"))
    tenant.run()
    tenant.file("a.csv", line("f-2"), line("f-3"))
    tenant.run()
    assert set(tenant.table()) == {"f-2", "f-3", "f-9"}
    assert tenant.letters() == []


def test_a_file_that_cannot_be_read_costs_the_others_nothing_and_keeps_what_was_loaded(
    tenant: Tenant,
) -> None:
    tenant.file("a.csv", line("f-1"))
    tenant.run()
    tenant.file("a.csv", header="event_id,organization_id")
    tenant.file("b.csv", line("f-2"))
    failed, good = tenant.events.extract_files(DAY)
    assert (failed.status, failed.retryable, good.status) == ("failed", False, "loaded")
    assert failed.error == (
        f"{DAY}/a.csv has no column user_external_id, occurred_at, result; its header names "
        "event_id, organization_id"
    )
    tenant.events.normalize(EventSource.CSV, DAY)
    tenant.events.load(DAY)
    assert set(tenant.table()) == {"f-1", "f-2"}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "has no header"),
        (HEADER.encode("utf-16"), "is not UTF-8"),
        (b"\x1f\x8bnot gzip at all", "is damaged or cut short"),
    ],
)
def test_a_file_without_a_header_to_read_says_so(
    tenant: Tenant, content: bytes, complaint: str
) -> None:
    tenant.file("a.csv").write_bytes(content)
    (failed,) = tenant.events.extract_files(DAY)
    assert failed.error is not None
    assert complaint in failed.error


def test_a_compressed_file_that_is_cut_short_says_so_and_leaves_nothing(tenant: Tenant) -> None:
    path = tenant.file("a.csv.gz", *(line(f"f-{number}") for number in range(5_000)))
    path.write_bytes(path.read_bytes()[:-500])
    tenant.file("b.csv", line("g-1"))
    failed, good = tenant.events.extract_files(DAY)
    assert failed.error is not None
    assert "is damaged or cut short" in failed.error
    assert good.status == "loaded"
    assert tenant.events.normalize(EventSource.CSV, DAY).read == 1


def test_a_file_that_is_still_written_is_not_read(tmp_path: Path) -> None:
    with Tenant(tmp_path, events_settle_seconds=0.2) as tenant:
        path = tenant.file("a.csv", line("f-1"))
        ended = threading.Event()

        def write() -> None:
            while not ended.is_set():
                with path.open("a", encoding="utf-8") as file:
                    file.write(line("f-2") + "\n")

        writer = threading.Thread(target=write)
        writer.start()
        with pytest.raises(RetryableError, match="are still being written"):
            tenant.events.extract_files(DAY)
        ended.set()
        writer.join()
        (result,) = tenant.events.extract_files(DAY)
        assert result.status == "loaded"


def test_columns_may_stand_in_any_order_beside_others_with_any_delimiter(tenant: Tenant) -> None:
    header = "result;Occurred_At;weight;user_external_id;ORGANIZATION_ID;event_id"
    tenant.file("a.csv", f"failure;{DAY}T10:00:00+02:00;7;u-1;acme;f-1", header=header)
    tenant.run()
    row = tenant.table()["f-1"]
    assert (row["result"], row["occurred_at"]) == ("failure", f"{DAY}T08:00:00.000000Z")
    assert row["country"] is None


def test_values_over_several_lines_are_one_record_and_no_line_number_is_guessed(
    tenant: Tenant,
) -> None:
    tenant.file("a.csv", line("f-1", user_agent='"two\nlines"'), "", line("f-2", result="?"))
    assert loaded(tenant) == [("a.csv", "loaded", 2, 2, 0)]
    tenant.run()
    assert tenant.table()["f-1"]["user_agent"] == "two\nlines"
    assert tenant.letters() == [("a.csv", None, "result is not one of success, failure")]


def test_a_line_that_is_no_text_is_a_dead_letter(tenant: Tenant) -> None:
    path = tenant.file("a.csv", line("f-1"), line("f-2", country="XX"), line("f-3"))
    path.write_bytes(path.read_bytes().replace(b"XX", b"\xff\xfe"))
    assert loaded(tenant) == [("a.csv", "loaded", 3, 2, 1)]
    assert tenant.letters() == [("a.csv", 3, "is not UTF-8")]


def test_a_quote_that_is_not_closed_loses_no_line_in_silence(tenant: Tenant) -> None:
    tenant.file("a.csv", line("f-1"), line("f-2", country='"D'), line("f-3"), line("f-4"))
    (result,) = tenant.events.extract_files(DAY)
    if result.error is None:
        assert result.rejected >= 1
        (letter,) = tenant.events.reports.rejected()
        assert letter["reason"] == "has a quote that is not closed"
        assert all(key in letter["raw"] for key in ("f-2", "f-3", "f-4"))
    else:
        assert "Look for a quote that is not closed" in result.error


def test_json_lines_are_taken_apart_line_by_line(tenant: Tenant) -> None:
    good = (
        '{"event_id": "j-%s", "organization_id": "acme", "user_external_id": "u-1",'
        ' "occurred_at": 1767600000, "result": true}'
    )
    tenant.file("a.jsonl.gz", good % 1, "{broken", "3", good % 2, header="")
    assert loaded(tenant) == [("a.jsonl.gz", "loaded", 4, 2, 2)]
    tenant.run()
    assert set(tenant.table()) == {"j-1", "j-2"}
    assert tenant.table()["j-1"]["occurred_at"] == "2026-01-05T08:00:00.000000Z"
    assert ("a.jsonl.gz", 2) in {letter[:2] for letter in tenant.letters()}


@pytest.mark.parametrize("parts", [1, 2])
def test_the_rows_of_a_large_file_keep_the_order_of_its_lines(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    # Each half is larger than what DuckDB reads in one go, and than one of its row groups.
    monkeypatch.setattr(csv_halves, "WORTH_IT", 2**40 if parts == 1 else 0)
    path = tenant.file("a.csv")
    duckdb.execute(
        f"""
        COPY (
            SELECT i AS event_id, 'acme' AS organization_id, 'u-1' AS user_external_id,
                '2026-01-05T11:00:00Z' AS occurred_at, 'success' AS result,
                repeat('x', 40) AS user_agent
            FROM range(280000) AS t (i)
        ) TO '{path}' (HEADER)
        """
    )
    assert loaded(tenant) == [("a.csv", "loaded", 280_000, 280_000, 0)]
    analytics = tenant.events._analytics
    assert len(analytics.rows("SELECT DISTINCT part FROM raw_csv_events")) == parts
    tenant.events.normalize(EventSource.CSV, DAY)
    misplaced = "SELECT count(*) FROM normalized_csv_events WHERE position <> event_id::BIGINT + 1"
    assert analytics.rows(misplaced) == [(0,)]


def test_a_warehouse_of_the_layout_before_is_brought_up_to_date(tenant: Tenant) -> None:
    tenant.file("a.csv", line("f-1"))
    tenant.run()
    with tenant.events._analytics.writing(Interruption()) as connection:
        connection.execute("ALTER TABLE raw_csv_events DROP COLUMN part")
        connection.execute("DROP TABLE forgotten_days")
        connection.execute("UPDATE layout SET version = 1")
    assert set(tenant.table()) == {"f-1"}
    tenant.file("b.csv", line("f-2"))
    tenant.run()
    assert set(tenant.table()) == {"f-1", "f-2"}


@pytest.fixture
def in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are read in halves, too."""
    monkeypatch.setattr(csv_halves, "WORTH_IT", 0)


def test_dead_letters_of_both_halves_name_the_line_of_the_file(
    tenant: Tenant, in_halves: None
) -> None:
    lines = [line(f"f-{number}") for number in range(100)]
    lines[10] = "broken"
    lines[20] = line("f-20", result="?")
    lines[80] = line("f-80,one,value,more")
    lines[90] = line("f-90", result="?")
    tenant.file("a.csv", *lines)
    assert loaded(tenant) == [("a.csv", "loaded", 100, 98, 2)]
    tenant.run()
    assert sorted(letter[1] or 0 for letter in tenant.letters()) == [12, 22, 82, 92]
    assert len(tenant.table()) == 96


def test_a_byte_order_mark_moves_no_line_number(tenant: Tenant, in_halves: None) -> None:
    lines = [line(f"f-{number}") for number in range(100)]
    lines[20] = lines[80] = "broken"
    path = tenant.file("a.csv", *lines)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert loaded(tenant) == [("a.csv", "loaded", 100, 98, 2)]
    assert sorted(letter[1] or 0 for letter in tenant.letters()) == [22, 82]


def test_a_value_over_the_middle_of_a_file_is_one_value(tenant: Tenant, in_halves: None) -> None:
    # Its lines look like records, so that only the reading itself can tell.
    within = "\n".join(line(f"x-{number}") for number in range(300))
    agent = line("f-2", user_agent=f'"{within}"')
    tenant.file("a.csv", line("f-1"), agent, line("f-3", result="?"), line("f-4"))
    assert loaded(tenant) == [("a.csv", "loaded", 4, 4, 0)]
    tenant.run()
    assert set(tenant.table()) == {"f-1", "f-2", "f-4"}
    assert tenant.table()["f-2"]["user_agent"] == within


def test_a_quote_that_is_not_closed_before_the_middle_loses_no_line_in_silence(
    tenant: Tenant, in_halves: None
) -> None:
    lines = [line(f"f-{number}") for number in range(300)]
    lines[100] = line("f-100", application='"files')
    tenant.file("a.csv", *lines)
    (result,) = tenant.events.extract_files(DAY)
    assert result.error is not None
    assert "Look for a quote that is not closed" in result.error


def test_a_stop_ends_a_load_in_the_middle_and_nothing_of_the_file_stays(tenant: Tenant) -> None:
    tenant.file("a.csv", *(line(f"f-{number}") for number in range(200_000)))
    stop = Interruption()
    timer = threading.Timer(0.15, stop.request, ["csv_events took longer than 120 s"])
    timer.start()
    with pytest.raises(Stopped, match="longer than 120 s"):
        tenant.events.extract_files(DAY, StepRun(stop=stop))
    timer.join()
    tenant.file("a.csv", line("f-1"))
    assert loaded(tenant) == [("a.csv", "loaded", 1, 1, 0)]
    assert tenant.run().rows == 1


def test_days_whose_files_stand_still_have_arrived(tmp_path: Path) -> None:
    with Tenant(tmp_path, events_settle_seconds=60) as tenant:
        tenant.file("a.csv", line("f-1"), day=EVE)
        tenant.file("b.jsonl", header="")
        tenant.file("c.csv.part", line("f-1"))
        tenant.platform.settings.events_folder.joinpath("notes").mkdir()
        assert tenant.events.arrivals() == []
        later = datetime.now(UTC) + timedelta(minutes=2)
        eve, day = tenant.events.arrivals(later)
        assert (eve.day, eve.files, day.files) == (EVE, ("a.csv",), ("b.jsonl",))
        tenant.file("c.csv", line("f-2"))
        assert tenant.events.arrivals(later)[1].look != day.look
        assert tenant.events.arrivals(later)[0].look == eve.look


def test_a_link_out_of_the_folder_is_not_followed(tenant: Tenant, tmp_path: Path) -> None:
    path = tenant.file("a.csv", line("f-1"))
    path.rename(tmp_path / "elsewhere.csv")
    path.symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(Exception, match="is a link out of"):
        tenant.events.extract_files(DAY)
