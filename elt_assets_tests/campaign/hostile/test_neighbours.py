"""A hostile tenant costs the others nothing: not data, not time, not memory beyond a bound."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign.hostile.attacks import rest
from elt_assets_tests.connectors.http.test_deadlines import DRIPS, server
from elt_assets_tests.connectors.serving import Provider, as_json


def test_two_that_drip_leave_the_other_slots_to_the_rest(tmp_path: Path) -> None:
    """They hold two of three slots until their time is over; everybody else is done by then."""
    slow = [IntegrationRef("evil", f"slow-{number}") for number in range(2)]
    others = [IntegrationRef("acme", f"main-{number}") for number in range(6)]
    settings = load_settings(
        home=tmp_path, concurrency=3, fetch_attempts=1, request_timeout=60, integration_timeout=60
    )
    with (
        Provider(lambda _: as_json({"items": [{"id": "u-1"}], "next": None})) as provider,
        SyncService.open(settings) as platform,
        ExitStack() as dripping,
    ):
        url = dripping.enter_context(server(DRIPS["one header"], 0.05))
        for ref in slow + others:
            place = url if ref in slow else provider.url
            platform.registry.add(ref, "rest", rest(place).data)
        outcomes = platform.sync(USERS, slow + others, sync_id="s1")
        done = [next(outcomes) for _ in others]
        assert {one.partition for one in done} == {str(ref) for ref in others}
        assert all(one.status is Status.APPLIED for one in done)
        dripping.close()
        assert [one.status for one in outcomes] == [Status.FAILED] * 2
