"""From a provider's JSON to columns, keys and hashes: what SQL makes of every kind of value."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.canonical_json import add_canonical_json
from elt_assets.sync.extract.record_mapping import LONGEST_TEXT, mapping_query
from elt_assets.sync.extract.scalars import LONGEST_KEY
from elt_assets.sync.streams import USERS, Column, Stream
from elt_assets_tests.sync.worlds import ACME

FIELDS = {
    "external_id": "id",
    "name": "name",
    "email": "contact.email",
    "active": "active",
    "source_updated_at": "updated",
    "team": "team",
}
MEMBERSHIPS = Stream(
    name="memberships",
    description="Who is in which group.",
    key=(Column("group_id", "The group."), Column("member_id", "The member.")),
    content=(Column("role", "What the member may do."),),
)

# Everything a JSON text of ours can hold and SQLite can store.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from(list("\"\\,[]{}':/\x01\x1f\x7f\u2028\uffff\n\t é")),
    max_size=20,
)
KEYS = TEXTS.filter(bool)
VALUES = st.none() | st.sampled_from(["", "a", "b", '","', '"', "null", "\\", "[]"]) | TEXTS


@cache
def duckdb_in_utc() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    add_canonical_json(connection)
    return connection


def mapped(
    raws: Sequence[str],
    fields: Mapping[str, str] = FIELDS,
    *,
    stream: Stream = USERS,
    ref: IntegrationRef = ACME,
) -> list[dict[str, Any]]:
    """What the query makes of these records, in their order."""
    query = mapping_query(
        stream,
        {name: parse(text) for name, text in fields.items()},
        f"SELECT seq, raw::JSON AS raw, NULL AS parent, {names_of(ref)} FROM incoming_records",
    )
    connection = duckdb_in_utc()
    connection.register(
        "incoming_records",
        pa.table({"seq": pa.array(range(len(raws)), pa.int32()), "raw": pa.array(raws)}),
    )
    rows = connection.execute(f"SELECT * FROM ({query}) ORDER BY seq")
    names = [column[0] for column in rows.description]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def names_of(ref: IntegrationRef) -> str:
    """SQL for the columns that say whose the records are."""
    return (
        f"'{ref.organization_id}' AS organization_id,"
        f" '{ref.integration_id}' AS connected_integration_id"
    )


def of(record: object, **fields: str) -> dict[str, Any]:
    """What becomes of one record; `fields` are mapped besides the usual ones."""
    (row,) = mapped([json.dumps(record)], FIELDS | fields)
    return row


def with_member(name: str, raw: str, **fields: str) -> dict[str, Any]:
    """What becomes of {"id": "u", name: raw}, where `raw` is JSON as a provider wrote it."""
    (row,) = mapped([f'{{"id": "u", "{name}": {raw}}}'], FIELDS | fields)
    return row


def uuid5(stream: Stream, *parts: str) -> uuid.UUID:
    """The documented id: UUIDv5 of the parts as a JSON array, by Python's own arithmetic."""
    shorts = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    shorts |= {"\b": "\\b", "\f": "\\f"}

    def written(character: str) -> str:
        if character in shorts:
            return shorts[character]
        return f"\\u{ord(character):04X}" if character < " " else character

    texts = ('"' + "".join(map(written, part)) + '"' for part in parts)
    return uuid.uuid5(stream.namespace, f"[{','.join(texts)}]")


# Keys and ids


@given(st.lists(KEYS, min_size=1, max_size=30))
def test_an_id_is_the_uuid_that_python_computes_from_the_key(keys: list[str]) -> None:
    rows = mapped([json.dumps({"id": key}) for key in keys])
    assert [row["external_id"] for row in rows] == keys
    assert [row["id"] for row in rows] == [uuid5(USERS, "acme", "main", key) for key in keys]


@given(st.lists(st.tuples(KEYS, KEYS), min_size=1, max_size=30))
def test_a_key_of_two_parts_never_runs_together(pairs: list[tuple[str, str]]) -> None:
    rows = mapped(
        [json.dumps({"group": group, "member": member}) for group, member in pairs],
        {"group_id": "group", "member_id": "member"},
        stream=MEMBERSHIPS,
    )
    assert [row["id"] for row in rows] == [
        uuid5(MEMBERSHIPS, "acme", "main", group, member) for group, member in pairs
    ]
    assert len({row["id"] for row in rows}) == len({row["key_text"] for row in rows})
    assert len({row["key_text"] for row in rows}) == len(set(pairs))


def test_an_id_belongs_to_its_integration_and_its_stream() -> None:
    ids = {
        mapped(['{"id": "x"}'], ref=IntegrationRef(org, integration))[0]["id"]
        for org, integration in (("a", "bc"), ("ab", "c"), ("a-b", "c"), ("a", "b-c"))
    }
    assert len(ids) == 4
    other = Stream("groups", "Groups.", USERS.key, USERS.content)
    assert mapped(['{"id": "x"}'], stream=other)[0]["id"] != mapped(['{"id": "x"}'])[0]["id"]


def test_an_id_stays_what_it_is_across_releases() -> None:
    """A changed id would delete everybody and insert everybody anew."""
    assert str(of({"id": "u-0001"})["id"]) == "4ec0077e-4d00-5586-8717-31ff2da18362"


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("7", "7"),
        ("-7", "-7"),
        ("0", "0"),
        ("9007199254740993", "9007199254740993"),  # one more than a double can hold
        ("18446744073709551617", "18446744073709551617"),
        ("123456789012345678901234567890123456789012345",) * 2,
        ("0.5", "0.5"),
        ('"007"', "007"),
        ('" 7 "', " 7 "),
        ("101.0", "101"),
        ("1e3", "1000"),
        ("9007199254740991.0", "9007199254740991"),
        ('"101.0"', "101.0"),
        ('"null"', "null"),
        ('"\\u00e9"', "é"),
        ('"e\\u0301"', "e\u0301"),  # looks the same and is another key
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_text_and_numbers_are_keys_digit_by_digit(raw: str, key: str) -> None:
    (row,) = mapped([f'{{"id": {raw}}}'])
    assert (row["external_id"], row["reason"]) == (key, None)


@pytest.mark.parametrize(
    "raw",
    [
        *("null", "true", "false", "[]", '["u"]', "{}"),
        *('""', '"\\u0000"', '"a\\u0000b"'),
        *("9007199254740992.0", "1e21", "1e400"),  # may be the id of several records
    ],
)
def test_anything_else_is_no_key_and_shields_nobody(raw: str) -> None:
    (row,) = mapped([f'{{"id": {raw}, "name": "Ada"}}'])
    assert row["reason"] == "external_id is missing or not usable as a key"
    assert (row["id"], row["key_text"]) == (None, None)


def test_a_key_may_be_long_but_not_endless() -> None:
    longest, longer = "é" * LONGEST_KEY, "é" * (LONGEST_KEY + 1)
    assert of({"id": longest})["key_text"] == longest
    assert of({"id": longer})["reason"] == "external_id is missing or not usable as a key"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("5", "record is a number, not an object"),
        ("null", "record is null, not an object"),
        ('"text"', "record is text, not an object"),
        ("true", "record is true or false, not an object"),
        ("[]", "record is a list, not an object"),
        ('[{"id": "u"}]', "record is a list, not an object"),
        ("{}", "external_id is missing or not usable as a key"),
        ('{"$unreadable": "invalid UTF-8 at byte 7"}', "invalid UTF-8 at byte 7"),
    ],
)
def test_what_is_no_record_says_so_and_its_neighbours_stay(raw: str, reason: str) -> None:
    before, bad, after = mapped(['{"id": "a"}', raw, '{"id": "b"}'])
    assert (before["reason"], bad["reason"], after["reason"]) == (None, reason, None)
    assert [row["seq"] for row in (before, bad, after)] == [0, 1, 2]
    assert bad["id"] is None


def test_a_damaged_record_keeps_the_key_that_could_be_read() -> None:
    """The connector leaves in it what is sound, so that its user is not taken for gone."""
    raw = '{"$unreadable": "invalid UTF-8 at byte 20", "id": "u", "name": null}'
    (row,) = mapped([raw])
    assert (row["reason"], row["key_text"]) == ("invalid UTF-8 at byte 20", "u")
    assert row["id"] == uuid5(USERS, "acme", "main", "u")


# Text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('"Ada"', "Ada"),
        ('""', None),
        ('" "', " "),
        ("null", None),
        ("12345678901234567890", "12345678901234567890"),
        ("true", "true"),
        ('"\\n\\t\\\\ \\" \\u0001"', '\n\t\\ " \x01'),
        ('"O\'Brien; DROP TABLE users_latest --"', "O'Brien; DROP TABLE users_latest --"),
    ],
)
def test_text_is_kept_as_it_is_and_scalars_become_text(raw: str, text: str | None) -> None:
    row = with_member("name", raw)
    assert (row["name"], row["reason"]) == (text, None)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("[]", "name is a list, not text"),
        ('{"full": "Ada"}', "name is an object, not text"),
        ('"a\\u0000"', f"name has a null character or more than {LONGEST_TEXT} characters"),
    ],
)
def test_what_is_no_text_rejects_the_record_and_keeps_its_key(raw: str, reason: str) -> None:
    row = with_member("name", raw)
    assert (row["reason"], row["key_text"]) == (reason, "u")
    assert row["id"] == uuid5(USERS, "acme", "main", "u")


def test_text_may_be_very_long_but_not_endless() -> None:
    assert of({"id": "u", "name": "😀" * LONGEST_TEXT})["name"] == "😀" * LONGEST_TEXT
    assert "more than" in of({"id": "u", "name": "x" * (LONGEST_TEXT + 1)})["reason"]


def test_what_is_not_mapped_has_the_value_the_stream_says() -> None:
    (row,) = mapped(['{"id": "u", "name": "Ada"}'], {"external_id": "id"})
    assert (row["name"], row["email"], row["active"]) == (None, None, True)


def test_what_is_not_there_is_null_however_deep_it_was_looked_for() -> None:
    assert of({"id": "u"})["email"] is None
    assert of({"id": "u", "contact": None})["email"] is None
    assert of({"id": "u", "contact": "none"})["email"] is None


@pytest.mark.parametrize(
    ("key", "expression"),
    [
        ("a.b", '"a.b"'),
        ("a/b", '"a/b"'),
        ("a~b", '"a~b"'),
        ("~1", '"~1"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("", '""'),
        ("it's", '"it\'s"'),
        ("@odata.id", '"@odata.id"'),
        ("urn:ietf:params", "urn:ietf:params"),
        ("*", '"*"'),
        ("0", '"0"'),
        ("ключ", "ключ"),
    ],
)
def test_a_field_is_found_under_any_name(key: str, expression: str) -> None:
    fields = {"external_id": "id", "name": expression}
    (row,) = mapped([json.dumps({"id": "u", key: "found", "other": "x"})], fields)
    assert row["name"] == "found"


def test_a_position_counts_from_zero_and_beyond_the_end_is_null() -> None:
    record = {"id": "u", "mails": [{"value": "first"}, {"value": "second"}]}
    assert of(record, email="mails[1].value")["email"] == "second"
    assert of(record, email="mails[2].value")["email"] is None


# True and false


@pytest.mark.parametrize(
    ("raw", "active"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ('"true"', True),
        ('"False"', False),
        ('"yes"', True),
        ('"no"', False),
        ('" TRUE "', True),
        ('"\\tno\\u00a0"', False),
        ('"on"', True),
        ('" Off"', False),
        ('"Y"', True),
        ('"f"', False),
        ('"1"', True),
        ('" 0 "', False),
        ('"1.0"', True),
        ("1", True),
        ("0", False),
        ("1.0", True),
        ("0.0", False),
        ('""', None),
        ('"  "', None),
    ],
)
def test_the_usual_spellings_of_true_and_false_are_understood(
    raw: str, active: bool | None
) -> None:
    row = with_member("active", raw)
    assert (row["active"], row["reason"]) == (active, None)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("2", "a number"),
        ("-1", "a number"),
        ("0.5", "a number"),
        ('"ACTIVE"', "text"),
        ('"-1"', "text"),
        ('"10"', "text"),
        ("[]", "a list"),
        ("{}", "an object"),
    ],
)
def test_a_guess_at_true_or_false_is_never_made(raw: str, kind: str) -> None:
    row = with_member("active", raw)
    assert row["reason"] == f"active is {kind} that means neither true nor false"
    assert row["key_text"] == "u"


@pytest.mark.parametrize(
    ("expression", "raw", "active"),
    [
        ('status == "ACTIVE"', '"ACTIVE"', True),
        ('status == "ACTIVE"', '"active"', False),
        ('status == "ACTIVE"', "null", False),
        ('status == "ACTIVE"', '["ACTIVE"]', False),
        ('status != "ACTIVE"', '"LOCKED"', True),
        ('status != "ACTIVE"', "null", True),
        ('status == "it\'s"', '"it\'s"', True),
        ("status == 1", "1", True),
        ("status == 1", "1.0", True),
        ("status == 1", '"1"', False),
        ("status == 1", "true", False),
        ("status != 1", '"1"', True),
        ("status == 1e300", "1e300", True),
        ("status == -0.5", "-0.5", True),
        ("status == true", "true", True),
        ("status == true", '"true"', False),
        ("status == false", "false", True),
        ("status == false", "null", False),
        ("status == null", "null", True),
        ("status == null", '"null"', False),
        ("status != null", "0", True),
    ],
)
def test_a_comparison_compares_value_and_kind_and_is_never_unknown(
    expression: str, raw: str, active: bool
) -> None:
    row = with_member("status", raw, active=expression, team=expression)
    assert row["active"] is active
    assert json.loads(row["attributes"]) == {"team": active}


def test_a_comparison_with_what_is_missing_is_one_with_null() -> None:
    assert of({"id": "u"}, active='status == "ACTIVE"')["active"] is False
    assert of({"id": "u"}, active="status == null")["active"] is True


# Times


@pytest.mark.parametrize(
    ("raw", "moment"),
    [
        ('"2026-01-01T12:00:00Z"', "2026-01-01 12:00:00"),
        ('"2026-01-01T12:00:00+02:00"', "2026-01-01 10:00:00"),
        ('"2026-01-01T12:00:00.123456-05:30"', "2026-01-01 17:30:00.123456"),
        ('"2026-01-01T12:00:00.123456789Z"', "2026-01-01 12:00:00.123456"),
        ('"2026-01-01 12:00:00+00"', "2026-01-01 12:00:00"),
        ('"2026-01-01T12:00:00"', "2026-01-01 12:00:00"),
        ('"2026-01-01"', "2026-01-01 00:00:00"),
        ('"0001-01-01T00:00:00Z"', "0001-01-01 00:00:00"),
        ('"9999-12-31T23:59:59Z"', "9999-12-31 23:59:59"),
        ("1767268800", "2026-01-01 12:00:00"),
        ("1767268800000", "2026-01-01 12:00:00"),
        ("1767268800.5", "2026-01-01 12:00:00.500000"),
        ("0", "1970-01-01 00:00:00"),
        ("1767268800123456", "2026-01-01 12:00:00.123456"),
        ("1767268800123456000", "2026-01-01 12:00:00.123456"),
        ('"1767268800"', "2026-01-01 12:00:00"),
        ('" 1767268800.5 "', "2026-01-01 12:00:00.500000"),
        ('"1767268800000"', "2026-01-01 12:00:00"),
        ('"1767268800123456"', "2026-01-01 12:00:00.123456"),
        ('"2026-01-01t12:00:00z"', "2026-01-01 12:00:00"),
        ('"2026-01-01T12:00:00-00:00"', "2026-01-01 12:00:00"),
        ('"2026-01-01T12:00:00.5+0200"', "2026-01-01 10:00:00.500000"),
        ('"2026-01-01T12:00:00,25Z"', "2026-01-01 12:00:00.250000"),
        ('"2026-01-01T12:00Z"', "2026-01-01 12:00:00"),
        ('"2026-01-01 12:00:00 +02:00"', "2026-01-01 10:00:00"),
        ('"2026-01-01 12:00:00 UTC"', "2026-01-01 12:00:00"),
        ('"2026-01-01T12:00:00 GMT"', "2026-01-01 12:00:00"),
        ('"2026-01-01T12:00:00+02:00[Europe/Berlin]"', "2026-01-01 10:00:00"),
        ('"2026-01-01 12:00:00 Europe/Berlin"', "2026-01-01 11:00:00"),
        ('"2016-12-31T23:59:60Z"', "2017-01-01 00:00:00"),
        ('"2016-12-31T15:59:60-08:00"', "2017-01-01 00:00:00"),
        ('"2016-12-31T23:59:60.9Z"', "2017-01-01 00:00:00"),
        ('"2026-01-01T24:00:00Z"', "2026-01-02 00:00:00"),
        ('"20260101T120000Z"', "2026-01-01 12:00:00"),
        ('"20260101T120000.123+0200"', "2026-01-01 10:00:00.123000"),
        ('"20260101T1200-05"', "2026-01-01 17:00:00"),
        ('"20260101120000Z"', "2026-01-01 12:00:00"),
        ('"20260101120000"', "2026-01-01 12:00:00"),
        ('"20260101"', "2026-01-01 00:00:00"),
        ('" 2026-01-01T12:00:00Z "', "2026-01-01 12:00:00"),
        ("null", None),
        ('""', None),
    ],
)
def test_times_of_every_usual_kind_are_utc(raw: str, moment: str | None) -> None:
    row = with_member("updated", raw)
    found = row["source_updated_at"]
    assert (found if found is None else str(found), row["reason"]) == (moment, None)


@given(
    st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1 < moment.year < 9999),
    st.integers(-14 * 60, 14 * 60),
)
def test_an_offset_is_taken_off_and_never_dropped(moment: datetime, minutes: int) -> None:
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    row = of({"id": "u", "updated": local.isoformat()})
    assert row["source_updated_at"].replace(tzinfo=UTC) == moment


@pytest.mark.parametrize(
    "raw",
    [
        '"yesterday"',
        '"2026-02-30"',
        '"2026-01-01T25:00:00Z"',
        '"2026-01-01T12:00:61Z"',
        '"01/02/2026"',
        '"infinity"',
        '"  "',
        "-1",
        "1e21",
        "true",
        "[]",
    ],
)
def test_a_time_that_cannot_be_read_costs_the_time_and_not_the_record(raw: str) -> None:
    row = with_member("updated", raw)
    assert (row["source_updated_at"], row["reason"]) == (None, None)
    assert row["key_text"] == "u"


# Attributes


def test_attributes_keep_their_kinds_and_stand_in_order_of_their_names() -> None:
    fields = {"external_id": "id", "zone": "z", "count": "c", "adult": "age == 18", "tags": "t"}
    record = {"t": [1, {"b": None}], "c": 7, "z": "é\0", "age": 18, "id": "u"}
    expected = '{"adult":true,"count":7,"tags":[1,{"b":null}],"zone":"é\\u0000"}'
    for order in (fields, dict(reversed(fields.items()))):
        (row,) = mapped([json.dumps(record)], order)
        assert row["attributes"] == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"id": "m1", "name": "Max"}', '{"name": "Max", "id": "m1"}'),
        ('[{"a": {"x": 1, "y": [2]}}]', '[{"a": {"y": [2], "x": 1}}]'),
        ('{"n": 1.0}', '{"n": 1}'),
        ('{"n": 1e2}', '{"n": 100.0}'),
        ('{"n": -0.0}', '{"n": 0}'),
        ('{"n": "\\u00e9"}', '{ "n" : "é" }'),
        ("30.0", "30"),
        ('""', "null"),
    ],
)
def test_attributes_that_mean_the_same_are_the_same(one: str, other: str) -> None:
    first, second = with_member("team", one), with_member("team", other)
    assert first["attributes"] == second["attributes"]
    assert first["content_hash"] == second["content_hash"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[1, 2]", "[2, 1]"),
        ('{"n": 9007199254740993}', '{"n": 9007199254740992}'),
        ('{"n": "1"}', '{"n": 1}'),
        ('{"n": 1.5}', '{"n": 1.25}'),
        ('{"n": ""}', '{"n": null}'),
        ('" "', "null"),
    ],
)
def test_attributes_that_differ_stay_different(one: str, other: str) -> None:
    first, second = with_member("team", one), with_member("team", other)
    assert first["content_hash"] != second["content_hash"]


def test_an_attribute_nested_very_deeply_is_kept_as_it_came() -> None:
    deep = "[" * 3000 + "]" * 3000
    assert with_member("team", deep)["reason"] is None


def test_an_attribute_that_is_missing_is_null() -> None:
    assert of({"id": "u"})["attributes"] == '{"team":null}'


def test_no_extra_fields_are_no_attributes() -> None:
    assert mapped(['{"id": "u"}'], {"external_id": "id"})[0]["attributes"] == "{}"


def test_names_that_the_query_uses_itself_are_good_names_for_attributes() -> None:
    names = ["seq", "raw", "form", "texts", "jsons", "id", "reason", "digest", "select", "key"]
    fields = {"external_id": "id"} | dict.fromkeys(names, "value")
    (row,) = mapped(['{"id": "u", "value": 1}'], fields)
    assert json.loads(row["attributes"]) == dict.fromkeys(names, 1)
    assert (row["external_id"], row["reason"]) == ("u", None)


# Hashes


@given(
    st.lists(st.tuples(VALUES, VALUES, st.booleans() | st.none(), VALUES), min_size=2, max_size=20)
)
def test_two_records_hash_alike_exactly_when_their_content_is_alike(
    contents: list[tuple[object, ...]],
) -> None:
    rows = mapped(
        [
            json.dumps(
                {
                    "id": str(number),
                    "name": name,
                    "contact": {"email": email},
                    "active": active,
                    "team": team,
                    "updated": number,
                }
            )
            for number, (name, email, active, team) in enumerate(contents)
        ]
    )
    assert {row["reason"] for row in rows} == {None}
    meant = [tuple(None if value == "" else value for value in content) for content in contents]
    pairs = {(row["content_hash"], content) for row, content in zip(rows, meant, strict=True)}
    assert len(pairs) == len({hash_ for hash_, _ in pairs}) == len(set(meant))


def test_an_empty_text_is_nothing_and_the_word_null_is_not() -> None:
    hashes = {
        of({"id": "u", "name": name, "contact": {"email": email}})["content_hash"]
        for name in (None, "", "null")
        for email in (None, "", "null")
    }
    assert len(hashes) == 4
    assert of({"id": "u", "name": ""})["name"] is None
    assert of({"id": "u", "name": " "})["name"] == " "


def test_a_field_that_is_absent_hashes_like_one_that_is_null() -> None:
    full = {"id": "u", "name": None, "contact": {"email": None}, "active": None, "team": None}
    assert of(full)["content_hash"] == of({"id": "u"})["content_hash"]


def test_the_key_the_time_and_what_is_not_mapped_are_no_content() -> None:
    one = of({"id": "u", "name": "Ada", "updated": "2026-01-01", "etag": 1})
    two = of({"etag": 2, "updated": "2026-01-02", "name": "Ada", "id": "v"})
    assert one["content_hash"] == two["content_hash"]


def test_white_space_and_escapes_of_the_provider_are_no_content() -> None:
    (one,) = mapped(['{"id":"u","name":"\\u0041da","team":[1,{"a":"\\u00e9"}]}'])
    (two,) = mapped(['{ "id" : "u", "name": "Ada", "team": [ 1 , { "a" : "é" } ] }'])
    assert one["content_hash"] == two["content_hash"]


def test_a_hash_stays_what_it_is_across_releases() -> None:
    """A changed hash would update everybody once, for nothing."""
    row = of({"id": "u", "name": "Ada", "active": True, "team": "blue"})
    assert row["content_hash"] == "6a9820f10fdc37f78cd6ee960f21cab7"


def test_the_record_is_kept_beside_what_was_made_of_it() -> None:
    raw = '{"id":"u","name":"Ada","unmapped":[1,2,{"deep":null}]}'
    assert mapped([raw])[0]["raw"] == raw
