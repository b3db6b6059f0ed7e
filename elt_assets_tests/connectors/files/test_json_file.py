"""JSON Lines and JSON documents: every record once, or a clear reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets.connectors.files import json_file
from elt_assets.errors import PageUnreadable
from elt_assets_tests.connectors.files.conftest import OpenFiles, drop, read


def test_a_line_is_a_record_and_an_empty_one_is_none(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.jsonl", '{"id": 1}\n\n  \r\n{"id": 2, "of": [{"a": "}"}]}')
    assert read(users()) == [{"id": 1}, {"id": 2, "of": [{"a": "}"}]}]


@pytest.mark.parametrize(
    "damage",
    [b'{"id": 7, "name": "Zo\xeb"}', b'{"id": 7, "name": NaN}', b'{"id": 7, "name": "\\ud800"}'],
    ids=["not UTF-8", "NaN", "half a surrogate pair"],
)
def test_a_line_that_is_no_json_becomes_a_marker_that_keeps_its_key(
    folder: Path, users: OpenFiles, damage: bytes
) -> None:
    drop(folder, "users.jsonl", b'{"id": 1}\n' + damage + b'\n{"id": 2}\n')
    first, marker, last = read(users())
    assert (first, last) == ({"id": 1}, {"id": 2})
    assert marker["$unreadable"].startswith("line 2: ")
    assert marker["id"] == 7


def test_lines_that_are_json_only_together_are_rejected_one_by_one(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users.jsonl", '{"id": 1}\n{"id":\n2}\n')
    first, second, third = read(users())
    assert first == {"id": 1}
    assert second["$unreadable"].startswith("line 2: ")
    assert third["$unreadable"].startswith("line 3: ")


def test_a_line_with_two_records_is_rejected_and_not_counted_as_one(
    folder: Path, users: OpenFiles
) -> None:
    drop(folder, "users.jsonl", '{"id": 1}\n{"id": 2}, {"id": 3}\n')
    first, damaged = read(users())
    assert first == {"id": 1}
    assert damaged["$unreadable"].startswith("line 2: ")


def test_a_stated_encoding_is_undone(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.jsonl", '{"id": "é"}\n'.encode("latin-1"))
    assert read(users(encoding="latin-1")) == [{"id": "é"}]


DOCUMENTS = {
    "": '[{"id": 1}, {"id": 2}]',
    "data": '{"data": [{"id": 1}, {"id": 2}]}',
    "data.items": '{"meta": {"items": [0]}, "data": {"n": 2, "items": [{"id": 1}\n,{"id": 2}], '
    '"x": "}"}, "end": []}\n',
    '"a.b"': '{"a": {"b": []}, "a.b": [{"id": 1},{"id": 2}]}',
}


@pytest.mark.parametrize(("path", "document"), DOCUMENTS.items())
def test_the_list_is_found_wherever_it_is(
    folder: Path, users: OpenFiles, path: str, document: str
) -> None:
    drop(folder, "users.json", document)
    assert read(users(records=path)) == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("document", ["[]", ' {"data": [ ], "a": 1} '])
def test_an_empty_list_is_a_listing_of_nobody(
    folder: Path, users: OpenFiles, document: str
) -> None:
    drop(folder, "users.json", document)
    assert read(users(records="data" if "data" in document else "")) == []


@pytest.mark.parametrize(("path", "document"), DOCUMENTS.items())
def test_a_document_cut_anywhere_is_never_a_whole_listing(
    folder: Path, users: OpenFiles, path: str, document: str
) -> None:
    whole = document.rstrip()
    for length in range(len(whole)):
        drop(folder, "users.json", whole[:length])
        with pytest.raises(PageUnreadable):
            read(users(records=path))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"data": {}}', r"does not have a list at 'data' \(found something else at 'data'\)"),
        ('{"items": []}', r"does not have a list at 'data' \(found nothing at 'data'\)"),
        ("[]", r"found no object at its top"),
        ('{"data": [], "data": [{"id": 1}]}', "has 'data' twice"),
        ('{"data": []} {}', "something follows its end"),
        ("", "empty"),
    ],
)
def test_a_document_of_another_shape_says_what_was_found(
    folder: Path, users: OpenFiles, document: str, message: str
) -> None:
    drop(folder, "users.json", document)
    with pytest.raises(PageUnreadable, match=message):
        read(users(records="data"))


def test_a_poisonous_record_becomes_a_marker_with_its_number(
    folder: Path, users: OpenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_file, "RECORDS", 2)
    drop(folder, "users.json", b'[{"id": 1}, {"id": 2}, {"id": 7, "n": "\xff"}, {"id": 4}]')
    found = read(users())
    assert [record["id"] for record in found] == [1, 2, 7, 4]
    assert found[2]["$unreadable"] == "record 3: invalid UTF-8 at byte 16"


def test_a_document_in_another_encoding_is_read_too(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.json", '[{"id": "é"}]'.encode("utf-16"))
    assert read(users()) == [{"id": "é"}]
