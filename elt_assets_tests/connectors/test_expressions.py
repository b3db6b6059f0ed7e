"""The grammar of expressions."""

from __future__ import annotations

import pytest

from elt_assets.connectors.expressions import (
    Comparison,
    Path,
    parse,
    parse_keys,
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
        ("@odata.id", ("@odata", "id")),
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
        ('status == "A" or x', 11),
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


def test_a_path_is_written_as_it_is_read() -> None:
    for text in ("data.items", "emails[0].value", '"a.b".c', "[0].id"):
        path = parse(text)
        assert isinstance(path, Path)
        assert written(path.segments) == text
