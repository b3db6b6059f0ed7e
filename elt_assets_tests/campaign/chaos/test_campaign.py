from __future__ import annotations

from collections.abc import Callable

import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.campaign.chaos.campaign import (
    SEED,
    campaign,
    never_often_enough,
    run_share,
)
from elt_assets_tests.campaign.chaos.scenarios import Chain, Pages, Scenario, chains
from elt_assets_tests.testbed.faulty_provider.chaos import FAULTS

SCENARIOS = 1_000
LEAST = 1
"""How often every single fault must happen in a campaign of that size."""


def test_the_same_seed_draws_the_same_scenarios() -> None:
    assert chains(7, 50) == chains(7, 50)
    assert chains(7, 50) != chains(8, 50)


def test_every_fault_comes_once_before_any_comes_often() -> None:
    drawn = [
        scenario.fault for chain in chains(SEED, 2 * len(FAULTS)) for scenario in chain.scenarios
    ]
    assert set(drawn) == set(FAULTS)
    assert max(map(drawn.count, FAULTS)) <= 4


def test_every_scenario_says_how_it_may_end() -> None:
    assert all(s.allowed for chain in chains(SEED, SCENARIOS) for s in chain.scenarios)


ONCE_DEADLY = (
    "empty_end",
    "ends_too_early_and_counts_nothing",
    "error_inside_of_data",
    "join_while_reading",
    "total_of_zero",
    "two_ids_in_a_record",
    "another_id_at_the_end",
    "two_lists_of_one_name",
    "repeated_page",
    "pages_shift_while_reading",
)
"""Faults that once deleted people who were there, or could have."""


COUNTED: tuple[Pages, ...] = ("numbers", "offsets")


def test_faults_that_once_deleted_people_delete_nobody() -> None:
    share = [
        Chain(
            number=number,
            ref=IntegrationRef("once-deadly", name),
            users=30,
            page_size=8,
            # All pages in one batch: what is looked at batch by batch must see every page.
            pages_per_batch=10,
            total=True,
            grace=False,
            scenarios=(once("chunks", 0), once(name, 0), once(name, 1)),
        )
        for number, name in enumerate(ONCE_DEADLY)
    ]
    figures = run_share(share, SEED, heal_each=True)
    assert figures.violations == []
    assert figures.never_fired(ONCE_DEADLY) == []


def test_counted_pages_that_shift_while_they_are_read_delete_nobody() -> None:
    """One leaves and one joins: the count agrees, everybody moves up, and somebody is skipped."""
    share = [
        Chain(
            number=number,
            ref=IntegrationRef("counted", f"{pages}-{number}"),
            users=30,
            page_size=8,
            pages_per_batch=2,
            total=True,
            grace=False,
            pages=pages,
            single=single,
            scenarios=(
                once("chunks", 0),
                once("one_for_another_behind_the_reader", 0),
                once("one_for_another_behind_the_reader", 0.5),
            ),
        )
        for number, single in enumerate((False, True))
        for pages in COUNTED
    ]
    figures = run_share(share, SEED, heal_each=True)
    assert figures.violations == []
    assert figures.fired["one_for_another_behind_the_reader"] == 2 * len(share)


def once(fault: str, place: float) -> Scenario:
    """The fault, once, while two leave, two change and one joins."""
    return Scenario(
        fault=fault,
        lasting=False,
        place=place,
        companion=None,
        leave=2,
        change=2,
        join=1,
        retried=False,
        seed=int(place) + 1,
    )


@pytest.mark.campaign(200)
def test_after_a_thousand_scenarios_nobody_is_lost_or_deleted_by_mistake(
    printed: Callable[[str], None],
) -> None:
    figures = campaign(SCENARIOS)
    printed("\n".join(figures.lines()))
    assert figures.violations == []
    assert figures.seen["scenarios"] >= SCENARIOS
    for pages, least in (("cursors", SCENARIOS // 2), ("numbers", 150), ("offsets", 150)):
        assert figures.seen[f"scenarios with {pages}"] >= least
    assert never_often_enough(figures, LEAST) == {}
