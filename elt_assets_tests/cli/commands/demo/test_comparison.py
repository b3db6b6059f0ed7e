"""The oracle of the demo: each kind of difference is one it must see."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.cli.commands.demo.comparison import compare


def person(external_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "external_id": external_id,
        "name": "Ann",
        "email": "ann@acme.example",
        "active": True,
        "attributes": {"department": "Sales", "title": "Analyst"},
        **changed,
    }


def test_the_same_users_are_equal_in_any_order_and_with_columns_of_our_own() -> None:
    ours = [person("2", id="x"), person("1", content_hash="y")]
    comparison = compare(ours, [person("1"), person("2")])
    assert comparison.equal
    assert comparison.held == 2


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([], [person("1")], "1 missing: 1"),
        ([person("1")], [], "1 left over: 1"),
        ([person("1", name="Bob")], [person("1")], "1 different: 1"),
        ([person("1", active=False)], [person("1")], "1 different: 1"),
        ([person("1", email=None)], [person("1")], "1 different: 1"),
        ([person("1", attributes={"department": "Sales"})], [person("1")], "1 different: 1"),
        ([person("1"), person("1")], [person("1")], "1 repeated: 1"),
    ],
)
def test_every_planted_difference_is_found_and_named(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]], said: str
) -> None:
    comparison = compare(ours, theirs)
    assert not comparison.equal
    assert str(comparison) == said


def test_many_differences_are_counted_and_a_few_named() -> None:
    assert str(compare([], [person(str(n)) for n in range(9)])) == "9 missing: 0, 1, 2, …"
