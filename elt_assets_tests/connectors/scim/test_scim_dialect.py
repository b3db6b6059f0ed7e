"""SCIM as servers write it, and what it comes to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.scim.scim_dialect import ScimDialect

canonical = ScimDialect().body
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


def read(record: Any) -> Any:
    body = json.dumps({"totalResults": 1, "Resources": [record]}).encode()
    return json.loads(canonical(body))["Resources"][0]


def test_a_page_in_canonical_form_keeps_its_bytes() -> None:
    body = b'{ "totalResults": 1, "Resources": [ {"id": "1", "emails": [{"value": "a@x"}]} ] }'
    assert canonical(body) is body


def test_names_of_attributes_and_schemas_may_have_any_case() -> None:
    body = b'{"TotalResults": 1, "resources": [{"ID": 7, "UserName": "ann", "Active": false}]}'
    assert json.loads(canonical(body)) == {
        "totalResults": 1,
        "Resources": [{"id": 7, "userName": "ann", "active": False}],
    }
    assert read({"Emails": [{"Value": "a@x", "Primary": True}], "Meta": {"LASTMODIFIED": "t"}}) == {
        "emails": [{"value": "a@x", "primary": True}],
        "meta": {"lastModified": "t"},
    }
    assert read({ENTERPRISE.upper(): {"Department": "Tools"}}) == {
        ENTERPRISE: {"department": "Tools"}
    }


def test_attributes_of_other_schemas_keep_their_names() -> None:
    record = {"urn:acme:User": {"Type": "x", "VALUE": 1}, "Shoe": 43}
    assert read(record) == record


def test_names_that_fields_use_may_have_any_case() -> None:
    fields = ("Shoe", '"urn:acme:User".size[kind == "EU"].Value', "lower(USERNAME)", "ID + 'x'")
    dialect = ScimDialect([parse(text) for text in fields])
    record = {"URN:ACME:user": {"Size": [{"KIND": "EU", "VALUE": 43}]}, "SHOE": 43, "UserName": "a"}
    body = dialect.body(json.dumps({"Resources": [record]}).encode())
    assert json.loads(body)["Resources"] == [
        {"urn:acme:User": {"size": [{"kind": "EU", "Value": 43}]}, "Shoe": 43, "userName": "a"}
    ]
    assert [dialect.expression(parse(text)) for text in fields] == [
        parse(text)
        for text in (
            "Shoe",
            '"urn:acme:User".size[kind == "EU"].Value',
            "lower(userName)",
            "id + 'x'",
        )
    ]


def test_a_schema_of_their_own_keeps_the_names_that_no_field_uses() -> None:
    fields = ('"urn:acme:User"', '"urn:acme:User".Shoe', "value")
    dialect = ScimDialect([parse(text) for text in fields])
    record = {"urn:ACME:User": {"Type": "x", "SHOE": {"Primary": 1, "VALUE": 2}}}
    body = dialect.body(json.dumps({"Resources": [record]}).encode())
    assert json.loads(body)["Resources"] == [
        {"urn:acme:User": {"Type": "x", "Shoe": {"Primary": 1, "value": 2}}}
    ]
    assert [dialect.expression(parse(text)) for text in fields] == list(map(parse, fields))


def test_a_number_that_no_float_holds_costs_its_field_alone() -> None:
    body = b'{"resources": [{"ID": "1", "n": 1e400}, {"ID": 123456789012345678901234567890}]}'
    assert json.loads(canonical(body))["Resources"] == [
        {"id": "1", "n": None},
        {"id": 123456789012345678901234567890},
    ]


def test_a_member_may_be_a_reference_alone() -> None:
    assert [one["value"] for one in read({"members": [{"$ref": "../Users/a%20b"}]})["members"]] == [
        "a b"
    ]


def test_the_canonical_spelling_holds_where_both_stand() -> None:
    assert read({"userName": "ann", "USERNAME": "other"}) == {"userName": "ann"}


@pytest.mark.parametrize("emails", [["a@x"], "a@x", {"value": "a@x"}, ["", "a@x"]], ids=repr)
def test_addresses_may_be_texts_or_stand_alone(emails: Any) -> None:
    assert read({"id": "1", "emails": emails})["emails"] == [{"value": "a@x"}]


@pytest.mark.parametrize(("no", "yes"), [("false", "True"), ("0", " 1 "), (0, 1)])
def test_primary_may_be_a_text_or_a_number(no: Any, yes: Any) -> None:
    emails = [{"value": "b@x", "primary": no}, {"value": "a@x", "primary": yes}]
    assert [one["primary"] for one in read({"emails": emails})["emails"]] == [False, True]


@pytest.mark.parametrize("empty", ["", " ", None, {"value": ""}, {"value": None}, {"type": "work"}])
def test_an_address_that_is_empty_is_none(empty: Any) -> None:
    if isinstance(empty, dict):
        empty = empty | {"primary": True}
    assert read({"emails": [empty, {"value": "a@x"}]})["emails"] == [{"value": "a@x"}]


def test_members_may_be_ids_alone() -> None:
    assert read({"id": "7", "members": [11, "12", 3.0]})["members"] == [
        {"value": 11},
        {"value": "12"},
        {"value": 3.0},
    ]


@pytest.mark.parametrize(
    ("members", "one"), [("12", {"value": "12"}), ({"Value": "12"}, {"value": "12"})]
)
def test_a_member_may_stand_alone(members: Any, one: Any) -> None:
    assert read({"id": "7", "members": members})["members"] == [one]


def test_a_list_response_may_leave_its_list_out() -> None:
    schema = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
    assert json.loads(canonical(json.dumps({"schemas": [schema.upper()]}).encode())) == {
        "schemas": [schema.upper()],
        "Resources": None,
    }


def test_a_resource_by_itself_is_read_as_one_in_a_list() -> None:
    body = b'{"ID": 7, "Emails": "a@x"}'
    assert json.loads(canonical(body)) == {"id": 7, "emails": [{"value": "a@x"}]}


def test_an_untouched_record_keeps_its_bytes_beside_one_that_is_changed() -> None:
    body = b'{"Resources": [{"id": 12345678901234567890123, "n": 1.10}, {"ID": "2"}]}'
    assert b'{"id": 12345678901234567890123, "n": 1.10}' in canonical(body)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"Resources": 3}', b'{"Resources": [1'])
def test_what_cannot_be_read_is_left_to_the_envelope(body: bytes) -> None:
    assert canonical(body) == body
