"""Whatever a provider claims, nobody who is there is harmed; and each oracle can see it happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from elt_assets.connectors.rest.listing_course import Facts, ListingCourse, Turn
from elt_assets.sync.detect import delete_guard
from elt_assets.sync.extract import certificate
from elt_assets.sync.outcome import Certificate
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.liar import oracles
from elt_assets_tests.campaign.liar.campaign import (
    campaign,
    liar_campaign,
    never_often_enough,
)
from elt_assets_tests.campaign.liar.desk import Rules
from elt_assets_tests.campaign.liar.lies import LIES

SEED = 20_261_129
LISTINGS = 1_000_000


def test_in_twenty_thousand_listings_nobody_who_is_there_is_harmed() -> None:
    figures = campaign(20_000, SEED)
    assert figures.violations == []
    assert figures.seen["listings"] >= 20_000
    assert never_often_enough(figures, least=50) == {}


@pytest.mark.campaign(120)
def test_in_a_million_listings_nobody_who_is_there_is_harmed(
    printed: Callable[[str], None],
) -> None:
    figures = liar_campaign(LISTINGS, SEED)
    printed("\n".join(figures.lines()))
    assert figures.violations == []
    assert figures.seen["listings"] >= LISTINGS
    assert never_often_enough(figures, least=2_500) == {}


def test_the_same_seed_tells_the_same_lies() -> None:
    assert campaign(500, 7).fired == campaign(500, 7).fired
    assert campaign(500, 7).fired != campaign(500, 8).fired


def test_a_provider_that_never_lies_is_never_doubted_and_loses_nobody() -> None:
    figures = campaign(3_000, SEED, lies=False)
    assert figures.violations == []
    assert not figures.fired
    assert figures.seen["quiet listings"] > 1_000


class Gullible(ListingCourse):
    """Ends where the total says so, even on a full page."""

    def take(self, facts: Facts) -> Turn:
        listed = self.progress.listed + facts.count
        turn = super().take(facts)
        return Turn(None, facts.total) if facts.total == listed else turn


def complete(made: Certificate, *_: Any) -> Certificate:
    return msgspec.structs.replace(made, complete=True, reasons=())


def doubting(state: Any) -> Certificate:
    return msgspec.structs.replace(
        certificate.certify(state), complete=False, reasons=("providers cannot be trusted",)
    )


def mute(*arguments: Any) -> Certificate:
    return msgspec.structs.replace(certificate.with_keys(*arguments), reasons=())


def unlimited(*_: Any, **__: Any) -> delete_guard.GuardVerdict:
    return delete_guard.GuardVerdict()


def hesitant(detection: Any, *_: Any) -> int:
    detection.hold_back([key for _, key in detection.candidates()])
    return 0


def hasty(*_: Any) -> int:
    return 0


def trusting_404(chosen: Any, made: Certificate, *, probes: bool) -> str:
    return "probe" if probes else "none"


PLANTED: list[tuple[str, Rules]] = [
    (oracles.HARMED, Rules(confirm_deletes=hasty)),
    (oracles.HARMED, Rules(second_witness=trusting_404)),
    (oracles.HARMED, Rules(with_keys=lambda made, *_: made)),
    (oracles.MANY_HARMED, Rules(judge=unlimited)),
    (oracles.STAYED, Rules(confirm_deletes=hesitant)),
    (oracles.SHORT_BUT_COMPLETE, Rules(with_keys=complete)),
    (oracles.SHORT_BUT_COMPLETE, Rules(listing_of=Gullible)),
    (oracles.HONEST_DOUBTED, Rules(certify=doubting)),
    (oracles.NO_REASON, Rules(with_keys=mute)),
]


@pytest.mark.parametrize(("oracle", "rules"), PLANTED)
def test_each_oracle_sees_a_planted_violation(oracle: str, rules: Rules) -> None:
    figures = campaign(5_000, SEED, rules)
    assert oracle in {violation.oracle for _, violation in figures.violations}


def test_no_oracle_is_without_a_planted_violation() -> None:
    assert {oracle for oracle, _ in PLANTED} == set(oracles.ORACLES)


def test_a_lie_that_is_never_told_is_reported() -> None:
    figures = Figures("liar")
    assert never_often_enough(figures, least=1) == dict.fromkeys(LIES, 0)
