"""CSV: every row that can be told apart, and every other one by its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from elt_assets.connectors.files import csv_file
from elt_assets.connectors.files.text import LONGEST_LINE
from elt_assets.errors import InvalidInput, PageUnreadable
from elt_assets_tests.connectors.files.conftest import OpenFiles, drop, read

ANN_AND_BOB = [{"id": "1", "name": "Ann"}, {"id": "2", "name": "Bob"}]


def test_a_row_becomes_a_record_named_by_the_header(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", "id,name\n1,Ann\n2,Bob\n")
    assert read(users()) == ANN_AND_BOB


def test_an_empty_value_is_null(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", 'id,name\n1,\n2,""\n')
    assert read(users()) == [{"id": "1", "name": None}, {"id": "2", "name": None}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_usual_delimiters_and_line_ends_are_recognised(
    folder: Path, users: OpenFiles, delimiter: str, line_end: str
) -> None:
    lines = ["id,name", "1,Ann", "2,Bob"]
    text = "".join(line.replace(",", delimiter) + line_end for line in lines)
    drop(folder, "users.csv", text)
    assert read(users()) == ANN_AND_BOB


def test_quoted_values_hold_delimiters_quotes_and_line_ends(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", 'id,name\n1,"Ann, ""A""\nMiller"\n2,Bob')
    assert read(users()) == [{"id": "1", "name": 'Ann, "A"\nMiller'}, {"id": "2", "name": "Bob"}]


def test_a_file_without_a_header_takes_its_names_from_the_configuration(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users.csv", "1~'Ann'\n2~Bob\n")
    assert read(users(columns=["id", "name"], delimiter="~", quote="'")) == ANN_AND_BOB


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(
    folder: Path, users: OpenFiles, encoding: str
) -> None:
    drop(folder, "users.csv", "id,name\n1,Zoë\n".encode(encoding))
    assert read(users()) == [{"id": "1", "name": "Zoë"}]


@pytest.mark.parametrize("encoding", ["windows-1252", "utf-16-le", "shift_jis", "iso-2022-jp"])
def test_any_encoding_can_be_stated(folder: Path, users: OpenFiles, encoding: str) -> None:
    name = "Zoë" if encoding in ("windows-1252", "utf-16-le") else "表"
    drop(folder, "users.csv", f"id,name\n1,{name}\n".encode(encoding))
    assert read(users(encoding=encoding)) == [{"id": "1", "name": name}]


def test_a_byte_order_mark_of_a_stated_encoding_is_no_text(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", "\ufeffid\n1\n".encode("utf-16-le"))
    assert read(users(encoding="utf-16-le")) == [{"id": "1"}]


def test_a_line_in_another_encoding_is_rejected_with_its_number_and_the_cure(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users.csv", b"id,name\n1,Ann\n7,Zo\xeb\n2,Bob\n")
    first, damaged, last = read(users())
    assert [first, last] == ANN_AND_BOB
    assert damaged["$unreadable"] == (
        "line 3 is not utf-8 at byte 5; if the file is in another encoding, state it"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7", "line 3 has 1 values, not 2"),
        ("7,Cyd,x", "line 3 has 3 values, not 2"),
        ('7,"Cyd"x', "line 3: ',' expected after '\"'"),
        ("7," + "x" * LONGEST_LINE, f"line 3 is longer than {LONGEST_LINE:,} bytes"),
    ],
    ids=["too few", "too many", "stray quote", "too long"],
)
def test_a_damaged_line_is_rejected_with_its_number_and_the_others_go_on(
    folder: Path, users: OpenFiles, line: str, reason: str
) -> None:
    drop(folder, "users.csv", f"id,name\n1,Ann\n{line}\n2,Bob\n")
    first, damaged, last = read(users())
    assert [first, last] == ANN_AND_BOB
    assert damaged["$unreadable"] == reason
    # A value under the wrong name could shield, or accuse, the wrong user.
    assert set(damaged) == {"$unreadable", "$text"}


def test_a_quote_that_is_never_closed_names_all_lines_it_swallowed(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users.csv", 'id,name\n1,Ann\n7,"Cyd\n8,Dee\n')
    first, damaged = read(users())
    assert first == ANN_AND_BOB[0]
    assert damaged["$unreadable"] == "lines 3 to 4: unexpected end of data"


def test_line_numbers_count_the_lines_inside_quoted_values(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", 'id,name\n1,"A\nn\nn"\n\n7\n')
    assert read(users())[1]["$unreadable"] == "line 6 has 1 values, not 2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (b"\n,,\n", "no header"),
        (b"sep=;\r\n", "no header"),
        (b"id,name,id\n", "names id twice"),
        (b'id,"name\n', "header that cannot be read"),
        (b"\x00\x01\x02\x03", "is not text"),
    ],
)
def test_a_header_that_cannot_be_used_fails_the_file(
    folder: Path, users: OpenFiles, content: bytes, message: str
) -> None:
    drop(folder, "users.csv", content)
    with pytest.raises(PageUnreadable, match=message):
        read(users())


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep=;", '"sep=;"', "\ufeffSEP=;"])
def test_a_line_of_excels_own_names_the_delimiter(
    folder: Path, users: OpenFiles, line_end: str, first: str
) -> None:
    lines = [*([first] if first else []), "id;name", "1;Ann", "2;Bob", ""]
    drop(folder, "users.csv", line_end.join(lines))
    assert read(users()) == ANN_AND_BOB
    drop(folder, "users.csv", line_end.join(line for line in lines if line != "id;name"))
    assert read(users(columns=["id", "name"])) == ANN_AND_BOB


def test_a_line_feed_inside_a_value_does_not_end_a_line_of_carriage_returns(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users.csv", 'id,name\r1,"Ann\nMiller"\r2,Bob\n')
    assert read(users()) == [{"id": "1", "name": "Ann\nMiller"}, {"id": "2", "name": "Bob"}]


def test_a_carriage_return_inside_a_value_does_not_end_a_line(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users.csv", 'id,name\n1,"Ann\rMiller"\n')
    assert read(users()) == [{"id": "1", "name": "Ann\rMiller"}]


@pytest.mark.parametrize("row", [",", " , ", "\u00a0,", "   ", '"",""', ",,,"])
def test_a_row_of_nothing_is_no_record(folder: Path, users: OpenFiles, row: str) -> None:
    drop(folder, "users.csv", "id,name\n1,Ann\n" + f"{row}\n" + "2,Bob\n" + f"{row}\n" * 100)
    assert read(users()) == ANN_AND_BOB


@pytest.mark.parametrize("row", ["", ",", ";;", " , ", "\u00a0,", '"",""'])
@pytest.mark.parametrize("columns", [None, ["id", "name"]], ids=["a header", "no header"])
def test_a_row_of_nothing_may_stand_first(
    folder: Path, users: OpenFiles, row: str, columns: list[str] | None
) -> None:
    header = "" if columns else "id,name\n"
    drop(folder, "users.csv", f"{row}\n{row}\n{header}1,Ann\n2,Bob\n")
    assert read(users(columns=columns)) == ANN_AND_BOB


@pytest.mark.parametrize("more", [{}, {"columns": ["id", "name"]}])
def test_a_row_filter_by_a_column_that_is_not_there_is_refused(
    folder: Path, users: OpenFiles, more: dict[str, object]
) -> None:
    drop(folder, "users.csv", "id,name\n1,Ann\n")
    with pytest.raises(PageUnreadable, match=r"users\.csv has no column kind; correct where"):
        read(users(where='kind == "U" && id != null', **more))


def test_a_file_of_carriage_returns_continues_where_it_was(
    folder: Path, users: OpenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "RECORDS", 2)
    drop(folder, "users.csv", "id,name\r" + "".join(f'{n},"N\r{n}"\r' for n in range(7)))
    whole = read(users())
    assert [record["id"] for record in whole] == [str(n) for n in range(7)]
    assert whole[3]["name"] == "N\n3"
    first = next(iter(users().pages(None)))
    assert read(users(), first.next) == whole[2:]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_where_columns_are_named(
    folder: Path, users: OpenFiles, delimiter: str
) -> None:
    row = delimiter.join(["1", '"Ann, a|b;c\t"', "x"])
    drop(folder, "users.csv", f"{row}\n{row}\n")
    found = read(users(columns=["id", "name", "team"]))
    assert found == [{"id": "1", "name": "Ann, a|b;c\t", "team": "x"}] * 2


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ('"1";"Ann, the; first"', "Ann, the; first"),
        ("1\tAnn, the first", "Ann, the first"),
        ("1;Ann, the first", "Ann, the first"),
        ("1|Ann; the first", "Ann; the first"),
    ],
)
def test_of_two_delimiters_the_one_that_explains_the_row_is_taken(
    folder: Path, users: OpenFiles, row: str, name: str
) -> None:
    drop(folder, "users.csv", f"{row}\n")
    assert read(users(columns=["id", "name"])) == [{"id": "1", "name": name}]


@pytest.mark.parametrize("header", ["id;name, in full", "id,name; in full", "id|a,b;c,d,e"])
def test_a_delimiter_that_finds_the_fields_is_taken(
    folder: Path, users: OpenFiles, header: str
) -> None:
    drop(folder, "users.csv", f"{header}\n" + header.replace("id", "1", 1) + "\n")
    assert read(users())[0]["id"] == "1"


def test_a_quoted_delimiter_in_the_header_is_not_counted(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", '"a,b,c,d";id\nx;1\n')
    assert read(users()) == [{"a,b,c,d": "x", "id": "1"}]


def test_columns_that_no_field_uses_need_no_name_of_their_own(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users.csv", "id,x,x,name,,\n1,a,b,Ann,,\n2,,,Bob,c,\n")
    assert read(users()) == ANN_AND_BOB
    with pytest.raises(PageUnreadable, match="names x twice"):
        read(users(fields={"external_id": "id", "team": "x"}))
    with pytest.raises(PageUnreadable, match="names x twice"):
        read(users(where='x != "a"'))


def test_lines_before_the_header_and_rows_at_the_end_are_left_out(
    folder: Path, users: OpenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "RECORDS", 3)
    rows = "".join(f"{n},N{n}\n" for n in range(8))
    drop(folder, "users.csv", f"Report;of\n\nid,name\n{rows}Total,8,x\nEnd\n,\n")
    chosen = {"skip_rows": 2, "skip_last": 2}
    whole = read(users(**chosen))
    assert [record["id"] for record in whole] == [str(n) for n in range(8)]
    pages = list(users(**chosen).pages(None))
    for number, page in enumerate(pages[:-1], start=1):
        assert read(users(**chosen), page.next) == whole[3 * number :]
    drop(folder, "users.csv.gz", gzip.compress((folder / "users.csv").read_bytes()))
    (folder / "users.csv").unlink()
    zipped = next(iter(users(**chosen).pages(None)))
    assert read(users(**chosen), zipped.next) == whole[3:]


def test_more_rows_at_the_end_than_there_are_leave_none(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", "id,name\n1,Ann\n")
    assert read(users(skip_last=2)) == []


@pytest.mark.parametrize("total", ["total,,8", "total", "total,8,9,10"])
def test_rows_are_chosen_by_their_values(folder: Path, users: OpenFiles, total: str) -> None:
    drop(folder, "users.csv", f"id,name,kind\n1,Ann,person\n9,Printer,thing\n2,Bob,\n{total}\n")
    found = read(users(where='id != "total" && kind != "thing"'))
    assert [record["id"] for record in found] == ["1", "2"]
    assert [record["id"] for record in read(users(where="kind == null && name != null"))] == ["2"]


def test_a_number_with_a_comma_gets_a_point(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", "id;name;share;pay\n1;Ann, B;-1,50;1.234.567,8\n2;Bob;3;1.234\n")
    assert read(users(decimal=",")) == [
        {"id": "1", "name": "Ann, B", "share": "-1.50", "pay": "1234567.8"},
        {"id": "2", "name": "Bob", "share": "3", "pay": "1.234"},
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"where": "kind"}, "compare columns with texts"),
        ({"where": "kind == 1"}, "values in CSV are texts"),
        ({"where": "kind = 1"}, "where: expression"),
        ({"skip_rows": -1}, "skip_rows"),
        ({"decimal": ";"}, "decimal"),
        ({"path": "users.parquet", "skip_last": 1}, "skip_last is for CSV, which this is not"),
        ({"format": "jsonl", "where": 'a != "b"'}, "where is for CSV, which this is not"),
    ],
)
def test_a_choice_that_cannot_be_made_is_one_clear_line(
    users: OpenFiles, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        users(**changes)


def compressed(content: bytes, codec: str) -> bytes:
    if codec == "gzip":
        return gzip.compress(content)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("zst", "zstd")])
def test_compressed_files_are_recognised_by_their_first_bytes(
    folder: Path, users: OpenFiles, suffix: str, codec: str
) -> None:
    drop(folder, f"users.csv.{suffix}", compressed(b"id,name\n1,Ann\n2,Bob\n", codec))
    assert read(users()) == ANN_AND_BOB
    (folder / f"users.csv.{suffix}").rename(folder / "users.csv")
    assert read(users()) == ANN_AND_BOB


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_compressed_file_cut_short_is_never_a_whole_listing(
    folder: Path, users: OpenFiles, codec: str
) -> None:
    whole = compressed(b"id,name\n" + b"".join(b"%d,Ann\n" % n for n in range(9999)), codec)
    drop(folder, "users.csv", whole[:-20])
    with pytest.raises(PageUnreadable, match="damaged or cut short"):
        read(users())


def test_rows_are_handed_out_in_chunks(
    folder: Path, users: OpenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "RECORDS", 2)
    drop(folder, "users.csv", "id\n" + "".join(f"{n}\n" for n in range(5)))
    assert [page.count for page in users().pages(None)] == [2, 2, 1]


def test_a_chunk_ends_after_so_many_bytes_too(
    folder: Path, users: OpenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "BYTES", 60)
    drop(folder, "users.csv", "id\n" + "".join(f"{n:04}\n" for n in range(5)))
    assert [page.count for page in users().pages(None)] == [2, 2, 1]
