"""Conditions, alternatives and joined texts: SQL and Python find the same in every record."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from elt_assets.connectors.mapping.evaluate import holds, text_at
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import Comparison
from elt_assets.storage.warehouse.canonical_json import add_canonical_json
from elt_assets.sync.extract.record_mapping import mapping_query
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.extract.test_record_mapping import names_of
from elt_assets_tests.sync.worlds import ACME

NAME = "displayName || name.formatted || name.givenName + ' ' + name.familyName || userName"
EMAIL = "emails[primary == true].value || emails[0].value"


def mapped(record: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    query = mapping_query(
        USERS,
        {name: parse(text) for name, text in ({"external_id": "id"} | fields).items()},
        f"SELECT 0 AS seq, raw::JSON AS raw, NULL AS parent, {names_of(ACME)} FROM incoming",
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        add_canonical_json(connection)
        connection.register("incoming", pa.table({"raw": [json.dumps({"id": "u1"} | record)]}))
        found = connection.execute(query)
        names = [column[0] for column in found.description or ()]
        row = found.fetchone()
    assert row is not None
    return dict(zip(names, row, strict=True))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"displayName": "Ada L."}, "Ada L."),
        ({"displayName": "", "name": {"formatted": "Ada Lovelace"}}, "Ada Lovelace"),
        (
            {"displayName": None, "name": {"givenName": "Ada", "familyName": "Lovelace"}},
            "Ada Lovelace",
        ),
        ({"name": {"givenName": "Ada"}}, "Ada"),
        ({"name": {"familyName": "Lovelace"}}, "Lovelace"),
        ({"name": {}, "userName": "ada"}, "ada"),
        ({"name": "text", "userName": "ada"}, "ada"),
        ({}, None),
    ],
)
def test_a_name_is_the_first_that_is_there(record: dict[str, Any], expected: str | None) -> None:
    row = mapped(record, {"name": NAME})
    assert (row["reason"], row["name"]) == (None, expected)
    assert text_at(parse(NAME), record) == expected


@pytest.mark.parametrize(
    ("emails", "expected"),
    [
        ([{"value": "a@x"}, {"value": "b@x", "primary": True}], "b@x"),
        ([{"value": "a@x", "primary": False}, {"value": "b@x"}], "a@x"),
        ([{"value": "a@x", "primary": "true"}, {"value": "b@x"}], "a@x"),
        ([{"primary": True}, {"value": "b@x", "primary": True}], None),
        ([], None),
        (None, None),
        ("a@x", None),
        ({"value": "a@x", "primary": True}, None),
        ([1, None, "x", [], {"primary": True, "value": "b@x"}], "b@x"),
    ],
)
def test_the_primary_address_comes_first(emails: object, expected: str | None) -> None:
    row = mapped({"emails": emails}, {"email": EMAIL})
    assert (row["reason"], row["email"]) == (None, expected)
    assert text_at(parse(EMAIL), {"emails": emails}) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('phones[type == "work"].value', "1"),
        ('phones[type != "work"].value', "2"),
        ("phones[rank == 2].value", "2"),
        ("phones[type == null].value", "3"),
        ('phones[type == "nothing"].value', None),
        ('groups[name == "a"].roles[main == true].id', "r2"),
        ("tags[0] + '/' + tags[1]", "x/y"),
        ("missing + '-' + tags[1]", "-y"),
        ("missing + '-' + absent", None),
        ("'it''s ' + tags[0]", "it's x"),
    ],
)
def test_expressions_mean_the_same_in_sql_and_in_python(
    expression: str, expected: str | None
) -> None:
    record = {
        "phones": [
            {"type": "work", "value": "1", "rank": 1},
            {"type": "home", "value": 2, "rank": 2},
            {"value": "3"},
        ],
        "groups": [{"name": "a", "roles": [{"id": "r1"}, {"id": "r2", "main": True}]}],
        "tags": ["x", "y"],
    }
    row = mapped(record, {"name": expression, "extra": expression})
    assert (row["reason"], row["name"]) == (None, expected)
    extra = json.loads(row["attributes"])["extra"]
    assert (None if extra is None else str(extra)) == expected
    assert text_at(parse(expression), record) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"emails": [{"primary": True, "verified": True}]}, True),
        ({"emails": [{"primary": True, "verified": False}]}, False),
        ({"emails": []}, False),
    ],
)
def test_a_comparison_may_go_through_a_condition(record: dict[str, Any], expected: bool) -> None:
    expression = "emails[primary == true].verified == true"
    assert mapped(record, {"active": expression})["active"] is expected
    assert holds(parse(expression), record) is expected
    assert isinstance(parse(expression), Comparison)


def test_an_object_where_a_text_should_be_is_rejected_by_name() -> None:
    row = mapped({"name": {"first": "Ada"}}, {"name": "name || login"})
    assert row["reason"] == "name is an object, not text"


def test_a_quote_in_a_condition_is_a_value_and_nothing_else() -> None:
    record = {"tags": [{"k": "' OR 1=1 --", "v": "found"}, {"k": "x", "v": "other"}]}
    expression = """tags[k == "' OR 1=1 --"].v"""
    assert mapped(record, {"name": expression})["name"] == "found"
