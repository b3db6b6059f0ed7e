"""Conditions, lower case and lookup tables: in SQL and in Python alike, and their mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.connectors.mapping.evaluate import holds, text_at
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import names_used
from elt_assets.errors import InvalidInput
from elt_assets_tests.sync.extract.test_mapping_values import mapped

ADA: dict[str, Any] = {
    "status": "Active",
    "level": 3,
    "roles": ["admin", "dev", 7],
    "email": "Ada@ACME.example",
    "blocked": False,
    "manager": None,
    "O'Neil": "it's",
}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('status == "Active" or level == 4', True),
        ('status == "Left" || level == 4', False),
        ('status == "Left" or level == 3 and blocked == true', False),
        ('(status == "Left" or level == 3) and blocked == false', True),
        ('not status == "Active"', False),
        ('not (status == "Left" or blocked == true)', True),
        ('not not status == "Active"', True),
        ('status in ["Left", "Active"]', True),
        ('status not in ["Left", "Active"]', False),
        ('status in [ "Left" , "Gone" ]', False),
        ('level in ["3", 4]', False),
        ("level in [3]", True),
        ("manager in [null]", True),
        ("nothing not in [null, 1]", False),
        ('roles contains "admin"', True),
        ('roles contains "adm"', False),
        ("roles contains 7", True),
        ('roles contains "7"', False),
        ('email contains "@ACME."', True),
        ('email contains "@acme."', False),
        ('lower(email) contains "@acme."', True),
        ('lower(status) == "active"', True),
        ('lower(status) in ["active"]', True),
        ('lower(level) == "3"', False),
        ("lower(level) == 3", True),
        ('nothing contains "x"', False),
        ('level contains "3"', False),
        ('"O\'Neil" contains "\'"', True),
    ],
)
def test_a_condition_is_the_same_in_sql_and_in_python(condition: str, expected: bool) -> None:
    assert holds(parse(condition), ADA) is expected
    found = mapped(ADA, {"active": condition})
    assert (found["active"], found["reason"]) == (expected, None)
    assert mapped(ADA, {"name": condition})["name"] == str(expected).lower()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("lower(email)", "ada@acme.example"),
        ("lower(level)", "3"),
        ("lower(nothing)", None),
        ("lower(nothing) || lower(status)", "active"),
        ("lower(status) + ' ' + email", "active Ada@ACME.example"),
        ('map(status, {"Active": "on", "Left": "off"})', "on"),
        ('map(status, {"Left": "off"})', None),
        ('map(status, {"Left": "off"}, "who knows")', "who knows"),
        ('map(status, {}, "x")', "x"),
        ('map(level, {"3": "it\'s"})', "it's"),
        ('map(blocked, {"false": "free"})', "free"),
        ('map(nothing, {"null": "x"})', None),
        ('map(status, {"Left": "off"}) || email', "Ada@ACME.example"),
        ('map(status, {"Active": "on"}) + \'!\'', "on!"),
    ],
)
def test_a_value_is_the_same_in_sql_and_in_python(value: str, expected: str | None) -> None:
    assert text_at(parse(value), ADA) == expected
    assert mapped(ADA, {"name": value})["name"] == expected


@pytest.mark.parametrize(
    ("level", "expected"), [("1", True), ("2", False), ("3", None), (None, None)]
)
def test_a_table_may_hold_true_and_false(level: str | None, expected: bool | None) -> None:
    found = mapped({"level": level}, {"active": 'map(level, {"1": true, "2": false})'})
    assert (found["active"], found["reason"]) == (expected, None)


def test_an_attribute_may_be_looked_up() -> None:
    found = mapped(ADA, {"state": 'map(status, {"Active": true})', "mail": "lower(email)"})
    assert found["attributes"] == '{"mail":"ada@acme.example","state":true}'


def test_words_of_the_grammar_may_be_keys() -> None:
    record = {"not": "a", "in": "b", "or": "c", "lower": "d", "map": "e", "contains": "f"}
    for key, value in record.items():
        assert mapped(record, {"name": key})["name"] == value
        assert holds(parse(f'{key} == "{value}"'), record)
        assert holds(parse(f'{key} in ["{value}"]'), record)


def test_every_key_that_a_condition_looks_at_is_known() -> None:
    text = 'not (a.b == 1 or lower(c) in ["x"]) and d contains "y"'
    assert names_used(parse(text)) == {"a", "c", "d"}
    assert names_used(parse('lower(a) + map(b, {"x": "y"})')) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("status in", 10),
        ('status in "A"', 11),
        ('status in ["A"', 15),
        ("status in []", 12),
        ('status in ["A"] x', 16),
        ("status contains", 16),
        ("not status", 11),
        ('(status == "A"', 15),
        ('status == "A")', 14),
        ('status == "A" or', 14),
        ('lower(status == "A")', 13),
        ("lower()", 7),
        ("map(status)", 11),
        ('map(status, {"A": 1})', 13),
        ('map(status, {"A": "B"}, 1)', 26),
        ('map(status, ["A"])', 13),
        ('map(status, {"A": true}) == "x"', 25),
    ],
)
def test_a_mistake_is_named_with_its_position(text: str, position: int) -> None:
    with pytest.raises(InvalidInput, match=rf"at position {position}$"):
        parse(text)


@pytest.mark.parametrize("text", ["(" * 100 + "a == 1", "not " * 100 + "a == 1"])
def test_conditions_are_nested_only_so_deep(text: str) -> None:
    with pytest.raises(InvalidInput, match="no more than 32 conditions in another"):
        parse(text)
