"""The grammar of expressions."""

from __future__ import annotations

import pytest

from elt_assets.connectors.mapping.expression_parser import parse, parse_keys
from elt_assets.connectors.mapping.expressions import (
    All,
    Alternatives,
    Comparison,
    Joined,
    Path,
    Where,
    written,
)
from elt_assets.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("id", ("id",)),
        ("profile.displayName", ("profile", "displayName")),
        ("emails[0].value", ("emails", 0, "value")),
        ("[1]", (1,)),
        ("[0].id", (0, "id")),
        ('"a.b"."c d"', ("a.b", "c d")),
        ('"say \\"hi\\""', ('say "hi"',)),
        ("@odata.nextLink", ("@odata.nextLink",)),
        ("data.@odata.count", ("data", "@odata.count")),
        ("urn:scim:User.x-y_z", ("urn:scim:User", "x-y_z")),
        ("$ref", ("$ref",)),
        ("straße", ("straße",)),
        ("  id  ", ("id",)),
    ],
)
def test_a_path_is_read_step_by_step(text: str, segments: tuple[str | int, ...]) -> None:
    assert parse(text) == Path(segments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('status == "ACTIVE"', Comparison(Path(("status",)), "ACTIVE")),
        ('status=="a == b"', Comparison(Path(("status",)), "a == b")),
        ("suspended != true", Comparison(Path(("suspended",)), True, negated=True)),
        ("level == 3", Comparison(Path(("level",)), 3)),
        ("score == -1.5", Comparison(Path(("score",)), -1.5)),
        ("deletedAt == null", Comparison(Path(("deletedAt",)), None)),
        ("a-b == false", Comparison(Path(("a-b",)), False)),
    ],
)
def test_a_comparison_takes_a_json_literal(text: str, expected: Comparison) -> None:
    found = parse(text)
    assert found == expected
    assert isinstance(found, Comparison)
    assert type(found.literal) is type(expected.literal)


def test_comparisons_may_be_joined() -> None:
    first, second = Comparison(Path(("a",)), True, True), Comparison(Path(("b", "c")), "x && y")
    assert parse('a != true && b.c == "x && y"') == All((first, second))
    with pytest.raises(InvalidInput, match="expected '==', '!=', 'in' or"):
        parse("a != true && b")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("profile..email", 9),
        (".id", 1),
        ("id.", 4),
        ("emails[x]", 7),
        ("emails[-1]", 7),
        ("first name", 6),
        ("status = 1", 7),
        ("status == ACTIVE", 11),
        ("status == 'ACTIVE'", 11),
        ("status == [1]", 11),
        ("status == NaN", 11),
        ("status == 1e999", 11),
        ("status == -1e999", 11),
        (f"status == 1{'0' * 400}", 11),
        ("a[b == 1e999]", 8),
        ('status == "A" or x', 19),
        ("status ==", 10),
        ('"open', 1),
        ('"bad \\x"', 1),
        ("[999999999999]", 1),
    ],
)
def test_a_mistake_is_named_with_its_position(text: str, position: int) -> None:
    with pytest.raises(InvalidInput, match=rf"at position {position}$"):
        parse(text)


def test_a_path_of_keys_refuses_positions_and_comparisons() -> None:
    assert parse_keys("data.items") == ("data", "items")
    assert parse_keys(" ") == ()
    with pytest.raises(InvalidInput, match="list position"):
        parse_keys("data[0]")
    with pytest.raises(InvalidInput, match="compares"):
        parse_keys("data == 1")


@pytest.mark.parametrize("text", ['"*"', '""', 'data."*"', '"".items'])
def test_a_path_of_keys_refuses_keys_that_duckdb_reads_otherwise(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"has a key that is '\*' or empty"):
        parse_keys(text)


def test_a_path_is_written_as_it_is_read() -> None:
    for text in ("data.items", "emails[0].value", '"a.b".c', "[0].id"):
        path = parse(text)
        assert isinstance(path, Path)
        assert written(path.segments) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'emails[ type == "work" ].value',
            Path(("emails", Where("type", "work"), "value")),
        ),
        ("emails[primary != false]", Path(("emails", Where("primary", False, negated=True)))),
        ('list["odd key" == null][0]', Path(("list", Where("odd key", None), 0))),
        ("a || b.c||d", Alternatives((Path(("a",)), Path(("b", "c")), Path(("d",))))),
        ("a + ' ' + b", Joined((Path(("a",)), " ", Path(("b",))))),
        ("a + 'it''s' || b", Alternatives((Joined((Path(("a",)), "it's")), Path(("b",))))),
    ],
)
def test_conditions_alternatives_and_joined_texts_are_read(text: str, expected: object) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a ||", 5),
        ("a || b == 1", 7),
        ("a +", 4),
        ("'text'", 1),
        ("'text' + 'more'", 1),
        ("a[b == 1", 9),
        ("a[b == x]", 8),
        ("a[b.c == 1]", 2),
    ],
)
def test_their_mistakes_are_named_with_a_position_too(text: str, position: int) -> None:
    with pytest.raises(InvalidInput, match=rf"at position {position}$"):
        parse(text)


def test_a_condition_is_written_as_it_is_read() -> None:
    text = 'emails[type == "work"].value'
    path = parse(text)
    assert isinstance(path, Path)
    assert written(path.segments) == text


@pytest.mark.parametrize("text", ["a || b", "a + b", "a[b == 1]"])
def test_a_path_of_keys_refuses_what_is_more(text: str) -> None:
    with pytest.raises(InvalidInput, match="here only"):
        parse_keys(text)
