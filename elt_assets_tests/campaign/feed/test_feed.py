"""Whatever dies around the change feed, every copy ends up equal to the latest table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elt_assets_tests.campaign.feed.campaign import VICTIMS, FeedCampaign
from elt_assets_tests.campaign.feed.oracles import Copies, judge

KEY = ("acme", "main", "1")
ROW = {"external_id": "u-1", "name": "A"}


def entry(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "position": f"feed-{number}",
        "sequence": number,
        "organization_id": "acme",
        "connected_integration_id": "main",
        "type": "users.inserted",
        "id": str(number),
        "after": {"external_id": f"u-{number}", "name": "A"},
        **changes,
    }


RIGHT = Copies(
    latest={KEY: ROW, ("acme", "main", "2"): {"external_id": "u-2", "name": "A"}},
    entries=[entry(1), entry(2)],
    pulled={KEY: ROW, ("acme", "main", "2"): {"external_id": "u-2", "name": "A"}},
    received=["feed-1", "feed-1", "feed-2", "feed-1", "feed-2"],
)


def test_copies_that_agree_are_not_judged() -> None:
    assert list(judge(RIGHT)) == []


@pytest.mark.parametrize(
    ("oracle", "wrong"),
    [
        ("positions", replace(RIGHT, entries=[entry(1), entry(2, position="feed-3")])),
        ("sequences", replace(RIGHT, entries=[entry(1), entry(2, sequence=3)])),
        ("lost", replace(RIGHT, pulled={KEY: ROW})),
        ("lost", replace(RIGHT, latest={KEY: ROW})),
        ("lost", replace(RIGHT, received=["feed-1"])),
        ("order", replace(RIGHT, received=["feed-2", "feed-1", "feed-2"])),
    ],
)
def test_each_oracle_catches_its_violation(oracle: str, wrong: Copies) -> None:
    assert oracle in {violation.oracle for violation in judge(wrong)}


def test_a_few_deaths_lose_nothing(tmp_path: Path) -> None:
    figures = FeedCampaign(tmp_path, seed=1).run(kills=6)
    assert figures.violations == []
    assert figures.seen["entries"] >= 30, "everybody of an integration, whichever died"


@pytest.mark.campaign(110)
def test_three_hundred_deaths_lose_nothing(tmp_path: Path, printed: Callable[[str], None]) -> None:
    figures = FeedCampaign(tmp_path, seed=2).run(kills=300)
    printed("\n".join(figures.lines()))
    assert figures.violations == []
    assert {name.partition(",")[0] for name in figures.fired} == set(VICTIMS)
