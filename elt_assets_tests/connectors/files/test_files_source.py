"""A files source as a whole: which files, in which order, and going on where it stopped."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt_assets.connectors.files import csv_file, json_file, parquet_file
from elt_assets.errors import PageUnreadable, PermanentError
from elt_assets_tests.connectors.files.conftest import (
    LONG_AGO,
    OpenFiles,
    drop,
    read,
    records,
)

PEOPLE = [{"id": str(n), "name": f"Zoë\n{n}"} for n in range(23)]


def as_csv(people: list[dict[str, str]]) -> str:
    return "id,name\n" + "".join(f'{each["id"]},"{each["name"]}"\n' for each in people)


def as_jsonl(people: list[dict[str, str]]) -> bytes:
    return msgspec.json.Encoder().encode_lines(people)


def as_parquet(people: list[dict[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(people), sink, row_group_size=8)
    return bytes(sink.getvalue())


FORMS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "users.csv": lambda people: as_csv(people).encode(),
    "users.bom.csv": lambda people: as_csv(people).encode("utf-8-sig"),
    "users.csv.gz": lambda people: gzip.compress(as_csv(people).encode()),
    "users.utf16.csv": lambda people: as_csv(people).encode("utf-16"),
    "users.jsonl": as_jsonl,
    "users.jsonl.gz": lambda people: gzip.compress(as_jsonl(people)),
    "users.json": msgspec.json.encode,
    "users.json.gz": lambda people: gzip.compress(msgspec.json.encode(people)),
    "users.parquet": as_parquet,
}


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (csv_file, json_file, parquet_file):
        monkeypatch.setattr(module, "RECORDS", 5)


@pytest.mark.parametrize("name", FORMS)
def test_from_every_cursor_exactly_the_rest_is_read(
    folder: Path, users: OpenFiles, name: str
) -> None:
    drop(folder, name, FORMS[name](PEOPLE))
    pages = list(users(name).pages(None))
    assert records(pages) == PEOPLE
    assert len(pages) >= 5
    for done, page in enumerate(pages[:-1], start=1):
        cursor = msgspec.json.decode(msgspec.json.encode(page.next))
        assert list(users(name).pages(cursor)) == pages[done:]


@pytest.mark.parametrize("name", FORMS)
def test_a_cursor_holds_whatever_size_chunks_have_by_then(
    folder: Path, users: OpenFiles, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder, name, FORMS[name](PEOPLE))
    first, *_ = users(name).pages(None)
    for module in (csv_file, json_file, parquet_file):
        monkeypatch.setattr(module, "RECORDS", 3)
    assert records(list(users(name).pages(first.next))) == PEOPLE[5:]


def test_what_was_committed_is_not_read_again(folder: Path, users: OpenFiles) -> None:
    content = as_jsonl(PEOPLE)
    path = drop(folder, "users.jsonl", content)
    first, *others = users().pages(None)
    offset = first.next["at"]["offset"]
    with path.open("r+b") as file:
        file.write(b"x" * offset)
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert list(users().pages(first.next)) == others


def test_all_matching_files_are_one_listing_in_the_order_of_their_names(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users-b.csv", as_csv(PEOPLE[10:]))
    drop(folder, "users-a.jsonl", as_jsonl(PEOPLE[:10]))
    drop(folder, "groups.csv", "id\n1\n")
    source = users("users-*")
    pages = list(source.pages(None))
    assert records(pages) == PEOPLE
    for done, page in enumerate(pages[:-1], start=1):
        assert list(users("users-*").pages(page.next)) == pages[done:]


def test_the_newest_file_can_stand_for_all(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users-1.csv", as_csv(PEOPLE))
    newest = drop(folder, "users-0.csv", as_csv(PEOPLE[:3]))
    os.utime(newest, (LONG_AGO + 1, LONG_AGO + 1))
    assert read(users("users-*", select="newest")) == PEOPLE[:3]


def test_folders_inside_can_be_searched(folder: Path, users: OpenFiles) -> None:
    (folder / "2026" / "11").mkdir(parents=True)
    drop(folder / "2026" / "11", "users.csv", as_csv(PEOPLE))
    assert read(users("**/users.csv")) == PEOPLE


def test_an_empty_listing_is_one_page_that_is_the_last(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", "id,name\n")
    (page,) = users().pages(None)
    assert (page.body, page.count, page.next) == (b"[]", 0, None)


@pytest.mark.parametrize("change", ["grown", "replaced", "touched", "gone"])
def test_a_file_that_changed_between_two_attempts_is_not_continued(
    folder: Path, users: OpenFiles, change: str
) -> None:
    path = drop(folder, "users.csv", as_csv(PEOPLE))
    first, *_ = users().pages(None)
    if change == "grown":
        path.write_text(as_csv([*PEOPLE, *PEOPLE]))
        os.utime(path, (LONG_AGO, LONG_AGO))
    elif change == "replaced":
        kept = path.rename(folder / "kept")
        drop(folder, "users.csv", kept.read_bytes())
    elif change == "touched":
        os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
    else:
        path.unlink()
    with pytest.raises(PermanentError, match=r"users\.csv (has changed|is gone).*start a new sync"):
        list(users().pages(first.next))


def test_a_file_that_changes_under_the_reader_is_noticed(folder: Path, users: OpenFiles) -> None:
    path = drop(folder, "users.csv", as_csv(PEOPLE))
    pages = users().pages(None)
    next(pages)
    with path.open("a") as file:
        file.write("24,Late\n")
    with pytest.raises(PermanentError, match="has changed"):
        list(pages)


def test_a_file_read_to_its_end_may_go_and_a_new_one_may_come(
    folder: Path, users: OpenFiles
) -> None:
    done = drop(folder, "users-a.csv", as_csv(PEOPLE[:5]))
    drop(folder, "users-b.csv", as_csv(PEOPLE[5:]))
    first, *others = users("users-*").pages(None)
    done.unlink()
    drop(folder, "users-c.csv", as_csv(PEOPLE))
    assert list(users("users-*").pages(first.next)) == others


def test_the_page_limit_cuts_the_listing_short_and_says_so(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", as_csv(PEOPLE))
    *_, last = users(max_pages=3).pages(None)
    assert last.cut_short == "page limit of 3 reached (ELT_ASSETS_MAX_PAGES)"
    assert len(list(users(max_pages=3).pages(None))) == 3


def test_no_file_is_an_error_and_not_an_empty_listing(folder: Path, users: OpenFiles) -> None:
    with pytest.raises(PermanentError, match=r"no complete file matches 'users\.\*'"):
        list(users().pages(None))


def test_a_name_without_a_format_asks_for_it(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.export", as_csv(PEOPLE))
    with pytest.raises(PageUnreadable, match="set format in provider_data"):
        read(users())
    assert read(users(format="csv")) == PEOPLE


def test_a_position_of_another_kind_of_source_is_refused(folder: Path, users: OpenFiles) -> None:
    with pytest.raises(PermanentError, match="start a new sync"):
        next(users().pages({"page": 3, "at": "x"}))
