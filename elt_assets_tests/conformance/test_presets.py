"""Every preset passes every check against the emulator of its provider."""

from __future__ import annotations

import pytest

from elt_assets.conformance.emulated import EMULATED, trial
from elt_assets.conformance.emulators import EMULATIONS
from elt_assets.conformance.verdict import CHECKS, Verdict
from elt_assets.connectors.presets.preset import presets, verdicts

pytestmark = pytest.mark.slow


def test_every_preset_has_an_emulator_and_every_check_a_meaning() -> None:
    assert sorted(EMULATIONS) == sorted(presets())
    assert list(EMULATED) == list(CHECKS)


@pytest.mark.parametrize("check", EMULATED)
@pytest.mark.parametrize("name", EMULATIONS)
def test_a_preset_passes_a_check(name: str, check: str) -> None:
    with trial(EMULATIONS[name]) as at:
        found = EMULATED[check](at)
    assert found.verdict is not Verdict.FAILED, found.detail
    recorded = verdicts()[name][check]
    assert found.verdict == recorded, (
        "run: python -m elt_assets.conformance.table docs/connectors.md"
    )
