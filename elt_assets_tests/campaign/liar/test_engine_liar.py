"""The same lies through the real engine and its SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.liar.installation import Installation
from elt_assets_tests.campaign.liar.lies import LIES

SEED = 20_261_129


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An empty installation over model providers."""
    made = Installation(tmp_path / "home")
    yield made
    made.close()


@pytest.mark.campaign
def test_the_engine_harms_nobody_on_many_lies(
    installation: Installation, printed: Callable[[str], None]
) -> None:
    figures = run(installation, 240)
    printed("\n".join(figures.lines()))
    assert figures.violations == []
    assert figures.never_fired(LIES) == []


def run(installation: Installation, scenarios: int) -> Figures:
    """So many integrations, one after the other."""
    figures = Figures(f"liar through the engine (seed {SEED})")
    for number in range(scenarios):
        installation.scenario(SEED + number, figures)
    return figures
