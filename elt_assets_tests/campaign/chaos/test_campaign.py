from __future__ import annotations

import pytest

from elt_assets.demo.chaos import FAULTS
from elt_assets_tests.campaign.chaos.campaign import SEED, campaign, never_often_enough
from elt_assets_tests.campaign.chaos.scenarios import LENGTH, chains

SCENARIOS = 2_000
LEAST = 4
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


def test_after_a_few_faults_of_every_kind_nobody_is_lost_or_deleted_by_mistake() -> None:
    wanted = 60
    figures = campaign(wanted, processes=1, heal_each=False)
    planned = {s.fault for chain in chains(SEED, wanted) for s in chain.scenarios}
    assert figures.violations == []
    assert figures.seen["scenarios"] == wanted // LENGTH * LENGTH
    assert figures.never_fired(planned) == []


@pytest.mark.campaign
def test_after_two_thousand_scenarios_nobody_is_lost_or_deleted_by_mistake(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = campaign(SCENARIOS)
    with capsys.disabled():
        print("", *figures.lines(), sep="\n")
    assert figures.violations == []
    assert figures.seen["scenarios"] >= SCENARIOS
    assert never_often_enough(figures, LEAST) == {}
