"""Groups and their members of the presets that have them: what the conformance checks leave out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elt_assets.conformance.emulators import emulations
from elt_assets.conformance.trial import trial
from elt_assets.connectors import catalog
from elt_assets.connectors.presets.preset import presets
from elt_assets.errors import InvalidInput
from elt_assets.sync.outcome import Status

WITH_GROUPS = [name for name, one in emulations().items() if "groups" in one.listings]


@pytest.mark.parametrize("stream", ["groups", "group_memberships"])
@pytest.mark.parametrize("name", WITH_GROUPS)
def test_an_organization_without_groups_has_none(name: str, stream: str) -> None:
    with trial(emulations()[name], stream) as at:
        at.emulator.rows = []
        at.emulator.groups = at.emulator.groups[:1]
        outcome = at.bench.sync()
    assert (outcome.error, outcome.status) == (None, Status.UNCHANGED)
    assert outcome.certificate.complete


def test_a_list_that_is_left_out_must_be_one_that_says_what_it_is() -> None:
    google, stream = emulations()["google_workspace"], "group_memberships"
    odd = replace(google.listings[stream], envelope={"kind": "admin#directory#something"})
    with trial(replace(google, listings={**google.listings, stream: odd}), stream) as at:
        outcome = at.bench.sync()
    assert outcome.status is Status.FAILED
    assert "page 1 under '01abc' has no list at 'members'" in (outcome.error or "")


def test_a_preset_reads_users_alone_unless_it_is_told_more() -> None:
    assert catalog.streams(catalog.validate("okta", presets()["okta"].example)) == ("users",)
    with pytest.raises(InvalidInput, match="streams"):
        catalog.validate("okta", presets()["okta"].example | {"streams": ["roles"]})
    with pytest.raises(InvalidInput, match="streams: is not a known field"):
        catalog.validate("slack", presets()["slack"].example | {"streams": ["groups"]})
