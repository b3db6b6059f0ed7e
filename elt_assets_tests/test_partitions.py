"""Ranges of partitions: pure arithmetic, and what Dagster makes of it."""

from __future__ import annotations

from itertools import pairwise

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.identifiers import IntegrationRef
from elt_assets.partitions import (
    PARTITIONS,
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
def test_wanted_keys_become_runs_of_neighbours(
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


def test_a_run_names_its_range_by_the_ends_and_a_single_key_by_itself() -> None:
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
