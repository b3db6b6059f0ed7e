"""Who has their turn when: a pure order with properties, and what the ledger lets expect."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.errors import ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.streams import USERS
from elt_assets.sync.workload import Load, Past, expected, in_turn, loads
from elt_assets_tests.sync.worlds import Company, World, people

LOADS = st.lists(
    st.builds(
        Load,
        partition=st.uuids().map(str),
        organization_id=st.sampled_from("abcdefg"),
        priority=st.integers(-2, 2),
        seconds=st.floats(0, 100),
        synced_at=st.sampled_from(["", "2026-11-20", "2026-11-21", "2026-11-22"]),
    ),
    max_size=40,
    unique_by=lambda load: load.partition,
)


def names(order: list[Load]) -> str:
    return " ".join(load.partition for load in order)


@given(LOADS, st.booleans())
def test_everybody_has_one_turn(given: list[Load], longest: bool) -> None:
    order = in_turn(given, longest_waiting_first=longest)
    assert Counter(load.partition for load in order) == Counter(load.partition for load in given)


@given(LOADS, st.booleans())
def test_the_order_does_not_depend_on_how_it_was_asked(given: list[Load], longest: bool) -> None:
    order = in_turn(given, longest_waiting_first=longest)
    assert order == in_turn(given[::-1], longest_waiting_first=longest)


@given(LOADS, st.booleans())
def test_nobody_of_lower_priority_goes_before_one_of_higher(
    given: list[Load], longest: bool
) -> None:
    priorities = [load.priority for load in in_turn(given, longest_waiting_first=longest)]
    assert priorities == sorted(priorities, reverse=True)


@given(LOADS, st.booleans())
def test_no_organization_gets_ahead_of_a_waiting_one_by_more_than_its_last_turn(
    given: list[Load], longest: bool
) -> None:
    order = in_turn(given, longest_waiting_first=longest)
    for _, level in groupby(order, key=lambda load: load.priority):
        turns = list(level)
        waiting = Counter(load.organization_id for load in turns)
        work: Counter[str] = Counter()
        for load in turns:
            others = [work[name] for name, left in waiting.items() if left]
            assert work[load.organization_id] <= min(others) + 1e-6
            work[load.organization_id] += max(load.seconds, 0.001)  # type: ignore[assignment]
            waiting[load.organization_id] -= 1


@given(LOADS)
def test_within_an_organization_the_largest_goes_first_or_who_waits_longest(
    given: list[Load],
) -> None:
    def of_one(order: list[Load]) -> list[list[Load]]:
        keys = {(load.priority, load.organization_id) for load in order}
        return [[o for o in order if (o.priority, o.organization_id) == key] for key in keys]

    for own in of_one(in_turn(given)):
        assert [load.seconds for load in own] == sorted((o.seconds for o in own), reverse=True)
    for own in of_one(in_turn(given, longest_waiting_first=True)):
        assert [load.synced_at for load in own] == sorted(load.synced_at for load in own)


def test_an_organization_of_one_does_not_wait_for_one_of_five_thousand() -> None:
    crowd = [Load(f"big:{number}", "big", seconds=5) for number in range(5000)]
    order = in_turn([*crowd, Load("small:1", "small", seconds=1)])
    assert [load.partition for load in order[:2]].count("small:1") == 1


@pytest.mark.parametrize(
    ("longest", "order"), [(False, "a:large b:1 a:small"), (True, "a:small b:1 a:large")]
)
def test_organizations_take_turns_and_choose_by_size_or_by_waiting(
    longest: bool, order: str
) -> None:
    given = [
        Load("a:small", "a", seconds=1, synced_at="2026-11-01"),
        Load("a:large", "a", seconds=50, synced_at="2026-11-20"),
        Load("b:1", "b", seconds=3, synced_at="2026-11-10"),
    ]
    assert names(in_turn(given, longest_waiting_first=longest)) == order


def test_what_is_expected_is_the_last_sync_or_its_records_or_what_is_common() -> None:
    known = [
        Past("a:1", "a", 0, "2026-11-20", fetched=100, seconds=2.0),
        Past("a:2", "a", 0, "2026-11-20", fetched=300, seconds=6.0),
        Past("a:3", "a", 0, "2026-11-20", fetched=500, seconds=10.0),
    ]
    untimed = Past("b:1", "b", 0, "2026-11-20", fetched=1000, seconds=0.0)
    new = Past("c:1", "c", 7, "", fetched=0, seconds=0.0)
    found = expected([*known, untimed, new])
    assert [load.seconds for load in found.values()] == [2.0, 6.0, 10.0, 20.0, 6.0]
    assert found["c:1"] == Load("c:1", "c", 7, 6.0, "")
    assert expected([new])["c:1"].seconds > 0


def test_the_ledger_tells_how_long_the_last_settled_sync_took(company: Company) -> None:
    large, small = IntegrationRef("acme", "large"), IntegrationRef("acme", "small")
    company.connect(large, World(people(2000), page_size=100))
    company.connect(small, World(people(1)))
    company.connect(IntegrationRef("acme", "new"))
    company.sync(large)
    company.sync(small)
    company.worlds[small.partition_key].fail_at[0] = ProviderUnavailable("away")
    company.sync(small, sync_id="s2")
    company.platform.registry.set_enabled(small, True)
    found = loads(company.platform, USERS)
    assert found["acme:large"].seconds > found["acme:small"].seconds > 0
    assert found["acme:large"].synced_at < found["acme:small"].synced_at
    assert found["acme:new"].synced_at == ""
    company.platform.registry.set_enabled(large, False)
    assert "acme:large" not in loads(company.platform, USERS)


def test_an_integration_says_its_own_priority(company: Company) -> None:
    company.connect()
    entry = company.platform.registry.all()[0]
    company.platform.registry.update(entry.ref, entry.provider_data | {"priority": 9})
    assert loads(company.platform, USERS)["acme:main"].priority == 9
