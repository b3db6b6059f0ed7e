"""One poisonous record never takes its page with it, and never passes for sound."""

from __future__ import annotations

import json

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.connectors.json import json_scan
from elt_assets.connectors.json.malformed_records import UNREADABLE, marker, reason_unreadable
from elt_assets.connectors.json.page_envelope import EnvelopeReader
from elt_assets.errors import PageUnreadable, ProviderUnavailable

READER = EnvelopeReader(("data", "items"), cursor=("data", "next"))


def page(*records: bytes) -> bytes:
    return b'{"data": {"items": [' + b", ".join(records) + b'], "next": "n"}, "x": 1}'


def rows_in_duckdb(body: bytes) -> list[dict[str, object]]:
    """What the engine will see: DuckDB decodes and splits the page."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT unnest(json_extract(decode(?::BLOB), '$.data.items[*]'))", [body]
        ).fetchall()
    return [json.loads(row[0]) for row in rows]


POISON = {
    "invalid UTF-8": (b'{"id": 2, "name": "J\xf6rg"}', "invalid UTF-8 at byte 20"),
    "half a pair": (b'{"id": 2, "name": "\\ud800"}', "half of a surrogate pair"),
    "the other half": (b'{"id": 2, "name": "\\udc00x"}', "half of a surrogate pair"),
    "a control character": (b'{"id": 2, "name": "a\x01b"}', "Invalid control character"),
    "NaN": (b'{"id": 2, "name": NaN}', "NaN"),
    "a bad escape": (b'{"id": 2, "name": "\\x"}', "escape"),
    "endless nesting": (b'{"id": 2, "name": ' + b"[" * 5000 + b"]" * 5000 + b"}", "too deep"),
    "an encoded surrogate": (b'{"id": 2, "name": "\xed\xa0\x80"}', "invalid UTF-8"),
}


@pytest.mark.parametrize("name", POISON)
def test_a_poisonous_record_becomes_a_marker_and_its_neighbours_stay(name: str) -> None:
    record, reason = POISON[name]
    envelope = READER.read(page(b'{"id": 1, "name": "\xc3\xb6"}', record, b'{"id": 3}'), "page 1")
    assert (envelope.count, envelope.cursor) == (3, "n")
    first, poisoned, last = rows_in_duckdb(envelope.body)
    assert (first, last) == ({"id": 1, "name": "ö"}, {"id": 3})
    assert reason in str(poisoned.pop(UNREADABLE))
    assert poisoned == {"id": 2, "name": None}


def test_a_damaged_key_is_null_and_not_a_guess() -> None:
    found = json.loads(marker(b'{"id": "J\xf6rg", "profile": {"id": "a", "b": "\xff"}}', "why"))
    assert found == {UNREADABLE: "why", "id": None, "profile": {"id": "a", "b": None}}


def test_a_readable_key_is_kept_byte_for_byte() -> None:
    record = b'{"id": 123456789012345678901234567890.10, "x": "\xff"}'
    assert b'"id":123456789012345678901234567890.10,' in marker(record, "why")


@pytest.mark.parametrize(
    "record",
    [
        b'{"id": 1, "p": {\x01email": "a"}, "q": 1}, {"id": 2"email": "b"}',
        b'{"id": 1, "list": [1 2], "x": "\xff"}',
        b'{"id": 1, "a": {"b": {"c": [{"d" 1}]}}}',
        b'{"id": 1,, "x": 2}',
        b'{"id": 1, "x": 2}}',
        b'{"id": 1, "x": [}',
        b'{"id": 1, "x"}',
        b'{"id": 1, "x":}',
        b'{"id": 1, {"x": 2}: 3}',
        b'{"id": 1, "x": "\xff" "y"}',
        b'{"id": 1, "n\xff": 2}',
        b'{"id": 1, "\\ud800": 3}',
        b'{"id": 1, "\x00id": 2}',
        b'{"id": 1, "name": "\xff", "name": "b"}',
        b'{"id": 1, "profile": {"a": "\xff", "a": "b"}}',
    ],
)
def test_nothing_is_kept_of_a_record_that_may_hold_its_neighbour(record: bytes) -> None:
    assert json.loads(marker(record, "why")) == {UNREADABLE: "why"}


@given(st.recursive(st.none() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_the_structure_of_sound_json_is_sound(value: object) -> None:
    json_scan.check_structure(json.dumps(value, indent=1).encode())


def test_a_record_that_is_no_object_becomes_a_marker_without_fields() -> None:
    envelope = READER.read(page(b'"\xff"', b"NaN"), "page 1")
    assert [list(row) for row in rows_in_duckdb(envelope.body)] == [[UNREADABLE], [UNREADABLE]]


def test_a_provider_cannot_hide_a_marker_behind_its_own_field() -> None:
    record = b'{"$unreadable": null, "id": 7, "x": "\xff"}'
    with duckdb.connect() as connection:
        row = connection.execute(
            "SELECT json_extract_string(?, '$.\"$unreadable\"')", [marker(record, "why").decode()]
        ).fetchone()
    assert row == ("why",)


def test_a_sound_page_is_handed_on_untouched() -> None:
    body = page(b'{"id": 1, "name": "\xc3\xb6 \\u0000 \\ud83d\\ude00"}', b"null")
    assert READER.read(body, "page 1").body is body


BYTES = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'{}[]":,a1-.e\\ \n\x01\xff'),
        *(b"\\u", b"d800", b"\\udc00", b"\xc3\xb6", b"true", b"null", b"\\n", b"NaN"),
    ]
)


@given(st.lists(st.lists(BYTES, max_size=8).map(b"".join), min_size=1, max_size=4))
def test_duckdb_reads_every_page_that_is_accepted_and_counts_the_same(records: list[bytes]) -> None:
    try:
        envelope = READER.read(page(*records), "page 1")
    except (PageUnreadable, ProviderUnavailable):
        return
    assert len(rows_in_duckdb(envelope.body)) == envelope.count


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_as_everybody_writes_it_is_never_called_unreadable(value: object) -> None:
    try:
        encoded = msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return
    assert reason_unreadable(encoded) is None
