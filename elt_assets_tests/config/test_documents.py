"""Documents that are made to take memory and time, or to be read in two ways."""

from __future__ import annotations

import pytest

from elt_assets.config import documents
from elt_assets.errors import InvalidInput


def refusal(text: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        documents.load(text, "data.yaml")
    return str(refused.value)


def laughs(levels: int, merge: bool = False) -> str:
    lines = ["a0: &a0 {k: v}" if merge else "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        value = f"{{<<: [{aliases}], k{level}: v}}" if merge else f"[{aliases}]"
        lines.append(f"a{level}: &a{level} {value}")
    return "\n".join(lines)


@pytest.mark.parametrize("merge", [False, True])
def test_aliases_of_aliases_are_counted_before_anything_is_built(merge: bool) -> None:
    assert "more than 50,000 values, those that aliases repeat included" in refusal(
        laughs(12, merge)
    )
    assert documents.load(laughs(3, merge), "data.yaml")


def test_an_alias_inside_its_own_value_is_refused() -> None:
    assert "*a refers to what it is a part of" in refusal("a: &a [*a]")


@pytest.mark.parametrize(
    "text",
    ["a: 1\nb: 2\na: 3", '{"a": 1, "a": 2}', "x:\n  - {a: 1, 'a': 2}", '{"x": {"a": 1, "a": 2}}'],
)
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    assert "key 'a' stands twice" in refusal(text)


def test_a_key_of_a_merged_object_can_be_given_another_value() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: &more {<<: *base, a: 3}\nlast: {<<: *more, b: 4}"
    assert documents.load(text, "data.yaml")["last"] == {"a": 3, "b": 4}


@pytest.mark.parametrize("text", ["[" * 60 + "]" * 60, '{"a":' * 60 + "1" + "}" * 60, "- " * 60])
def test_nesting_has_a_largest_depth(text: str) -> None:
    assert "nested too deeply to be provider_data (more than 50 deep)" in refusal(text)


@pytest.mark.parametrize("text", ["[" * 500_000, '{"a":' * 150_000])
def test_endless_brackets_are_refused(text: str) -> None:
    assert "nested too deeply" in refusal(text)


@pytest.mark.parametrize("number", ["1" * 5_000, ":".join(["1"] * 100_000), "1_" * 5_000 + "1"])
def test_a_number_has_a_largest_length(number: str) -> None:
    assert "a number or date of more than 1000 characters" in refusal(f"a: {number}")


def test_a_number_in_json_has_a_largest_length() -> None:
    assert "a value cannot be read" in refusal('{"a": ' + "1" * 5_000 + "}")


def test_a_document_has_a_largest_size() -> None:
    assert "has 1,048,577 characters; the most" in refusal("a" * (2**20 + 1))


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system [id]", "a: !!binary x y"])
def test_a_yaml_tag_runs_nothing(text: str) -> None:
    assert "data.yaml" in refusal(text)


def test_documents_of_people_are_read() -> None:
    assert documents.load('{"a":\t[1, "x"]}', "data.json") == {"a": [1, "x"]}
    assert documents.load("{a: [1, x]}", "data.yaml") == {"a": [1, "x"]}
    assert documents.load("", "data.yaml") is None
