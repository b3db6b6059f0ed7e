"""A hostile tenant costs the others nothing: not data, not time, not memory beyond a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets_tests.campaign.hostile.neighbours import hostile_campaign


def test_an_attack_fails_and_the_neighbours_do_not_notice(tmp_path: Path) -> None:
    figures = hostile_campaign(tmp_path, 1, ("drips headers", "a page of numbers"))
    harmed = [found for found in figures.violations if found[1].oracle in ("harmed", "memory")]
    assert not harmed
    assert not figures.missing


@pytest.mark.campaign
def test_no_attack_costs_the_neighbours_half_as_much_again(tmp_path: Path) -> None:
    figures = hostile_campaign(tmp_path, 2)
    print("\n".join(figures.lines()))
    assert not figures.violations, figures.lines()
    assert not figures.missing
