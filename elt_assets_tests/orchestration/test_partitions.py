"""Ranges of partitions: pure arithmetic, and what Dagster makes of it."""

from __future__ import annotations

from itertools import pairwise

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.names import PARTITIONS
from elt_assets.orchestration.partitions import (
    add_partition_keys,
    contiguous_ranges,
    partition_tags,
)

KEYS = ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("wanted", "at_most", "ranges"),
    [
        ("abcdef", None, ["abcdef"]),
        ("abcdef", 4, ["abcd", "ef"]),
        ("abcdef", 3, ["abc", "def"]),
        ("abdef", None, ["ab", "def"]),
        ("abdef", 2, ["ab", "de", "f"]),
        ("fedcba", None, ["abcdef"]),
        ("ace", None, ["a", "c", "e"]),
        ("ayz", None, ["a"]),
        ("", None, []),
    ],
)
def test_wanted_keys_become_contiguous_ranges(
    wanted: str, at_most: int | None, ranges: list[str]
) -> None:
    assert contiguous_ranges(KEYS, wanted, at_most) == [list(keys) for keys in ranges]


@given(
    known=st.lists(st.integers(0, 40), unique=True),
    wanted=st.sets(st.integers(0, 40)),
    at_most=st.none() | st.integers(1, 7),
)
def test_ranges_hold_every_wanted_key_once_and_no_other(
    known: list[int], wanted: set[int], at_most: int | None
) -> None:
    order = [str(key) for key in known]
    ranges = contiguous_ranges(order, map(str, wanted), at_most)
    assert [key for keys in ranges for key in keys] == [k for k in order if int(k) in wanted]
    for keys in ranges:
        assert len(keys) <= (at_most or len(order))
        assert all(order.index(after) == order.index(key) + 1 for key, after in pairwise(keys))


@pytest.mark.parametrize(
    ("wanted", "carried", "at_most", "ranges"),
    [
        ("ad", "bc", None, ["abcd"]),
        ("ad", "b", None, ["a", "d"]),
        ("bd", "acef", None, ["bcd"]),
        ("acf", "bde", 3, ["abc", "f"]),
        ("adf", "bce", 3, ["a", "def"]),
    ],
)
def test_a_carried_key_neither_splits_nor_ends_a_range(
    wanted: str, carried: str, at_most: int | None, ranges: list[str]
) -> None:
    assert contiguous_ranges(KEYS, wanted, at_most, carried=carried) == [list(r) for r in ranges]


def test_a_range_includes_no_more_unwanted_keys_than_another_run_costs() -> None:
    keys = [str(number) for number in range(1000)]
    (first, *_, last) = contiguous_ranges(keys, ["0", "100", "900"], carried=keys)
    assert (first[0], first[-1], last) == ("0", "100", ["900"])


@pytest.mark.parametrize(
    ("work", "ranges"),
    [
        ({}, ["abcdef"]),
        (dict.fromkeys("abcdef", 5.0), ["ab", "cd", "ef"]),
        ({"a": 1.0, "b": 90.0, "c": 3.0, "d": 3.0}, ["a", "b", "cdef"]),
        ({"a": 10.0, "b": 0.1}, ["a", "bcdef"]),
    ],
)
def test_a_range_ends_before_its_work_is_too_much(
    work: dict[str, float], ranges: list[str]
) -> None:
    found = contiguous_ranges(KEYS, KEYS, expected=work, seconds=10.0)
    assert found == [list(keys) for keys in ranges]


@given(
    work=st.lists(st.floats(0, 20), max_size=40),
    wanted=st.sets(st.integers(0, 40)),
    carried=st.sets(st.integers(0, 40)),
    at_most=st.none() | st.integers(1, 7),
)
def test_ranges_of_any_work_hold_every_wanted_key_once_and_keep_their_bounds(
    work: list[float], wanted: set[int], carried: set[int], at_most: int | None
) -> None:
    keys = [str(number) for number in range(len(work))]
    expected = dict(zip(keys, work, strict=True))
    asked = [key for key in keys if int(key) in wanted]
    along = {str(number) for number in carried}
    ranges = contiguous_ranges(keys, asked, at_most, carried=along, expected=expected, seconds=10.0)
    assert [key for found in ranges for key in found if key in asked] == asked
    for found in ranges:
        assert found == [str(number) for number in range(int(found[0]), int(found[-1]) + 1)]
        assert {found[0], found[-1]} <= set(asked)
        assert set(found) <= {*asked, *along}
        assert len(found) <= (at_most or len(keys))
        assert sum(expected[key] for key in found if key in asked) <= 10.0 or len(found) == 1


def test_a_run_has_the_ends_of_its_range_or_its_only_key_in_tags() -> None:
    assert partition_tags(["a:1", "a:2", "a:3"]) == {
        "dagster/asset_partition_range_start": "a:1",
        "dagster/asset_partition_range_end": "a:3",
    }
    assert partition_tags(["a:1"]) == {"dagster/partition": "a:1"}


def test_known_partitions_keep_their_place() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        add_partition_keys(instance, [IntegrationRef("acme", "b"), IntegrationRef("acme", "a")])
        add_partition_keys(instance, [IntegrationRef("acme", "a"), IntegrationRef("acme", "c")])
        assert instance.get_dynamic_partitions(PARTITIONS) == ["acme:b", "acme:a", "acme:c"]
