"""Every preset passes every check against the emulator of its provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from elt_assets.conformance.emulated import EMULATED
from elt_assets.conformance.emulators import emulations
from elt_assets.conformance.trial import trial
from elt_assets.conformance.verdict import CHECKS, CheckOutcome
from elt_assets.connectors.presets.preset import presets
from elt_assets.sync.streams import STREAMS
from elt_assets_tests.connector_pages.documentation import verdicts

pytestmark = pytest.mark.slow


def test_thirty_providers_are_described() -> None:
    assert len(presets()) >= 30
    assert sorted(verdicts()) == sorted(presets())


def test_every_preset_has_an_emulator_and_every_check_a_meaning() -> None:
    assert sorted(emulations()) == sorted(presets())
    assert list(EMULATED) == list(CHECKS)
    for name, preset in presets().items():
        offered = [stream for stream in preset.rest["streams"] if stream in STREAMS]
        assert list(emulations()[name].listings) == offered


WHOLE = ("okta", "slack")
"""Presets of which every check of users is run each time: one reads links, one cursors."""
QUICK = ("pages", "resume", "fields")
"""What a slip in YAML breaks; of every stream of every preset."""


def trials() -> Iterator[Any]:
    """Each stream with checks that share an installation; most others are for campaigns."""
    for name, one in emulations().items():
        for stream in one.listings:
            yield pytest.param(name, stream, QUICK, id=f"{name}-{stream}")
            often = name in WHOLE and stream == "users"
            for check in EMULATED:
                if check not in QUICK:
                    marks = () if often else pytest.mark.campaign
                    each = f"{name}-{stream}-{check}"
                    yield pytest.param(name, stream, (check,), marks=marks, id=each)


@pytest.mark.parametrize(("name", "stream", "checks"), [*trials()])
def test_a_preset_passes_its_checks(name: str, stream: str, checks: tuple[str, ...]) -> None:
    with trial(emulations()[name], stream) as at:
        for check in checks:
            found = EMULATED[check](at)
            assert found.verdict is not CheckOutcome.FAILED, found.detail
            assert found.verdict == verdicts()[name][stream][check], (
                "run: python -m "
                "elt_assets_tests.connector_pages.conformance_table docs/connectors.md"
            )
