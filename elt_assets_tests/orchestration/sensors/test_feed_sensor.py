"""The feed sensor delivers, observes what is new, and asks for a person where one is needed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from elt_assets.config.secret_refs import SecretRef
from elt_assets.config.settings import Settings
from elt_assets.definitions import build_defs
from elt_assets.feed.consumers import ConsumerEndpoint, Consumers
from elt_assets.feed.scope import Scope
from elt_assets.monitoring.health_report import report
from elt_assets.orchestration.alerts.feed_issues import feed_issues
from elt_assets.orchestration.alerts.issues import grouped
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.sensors.feed_sensor import feed_sensor
from elt_assets_tests.connectors.serving import Provider, Reply
from elt_assets_tests.sync.worlds import Company, World, people


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path / "home")
    yield made
    made.platform.close()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> SecretRef:
    monkeypatch.setenv("FEED_KEY", "whsec_" + base64.b64encode(b"s" * 32).decode())
    return SecretRef(env="FEED_KEY")


def tick(company: Company, cursor: str | None) -> tuple[list[dg.AssetObservation], str | None]:
    """What one evaluation observes, and the cursor after it."""
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={STANDALONE.resource: company.platform}
        ) as context,
    ):
        found = feed_sensor().evaluate_tick(context)
        events = found.asset_events
        return [one for one in events if isinstance(one, dg.AssetObservation)], found.cursor


def test_a_tick_delivers_and_observes_only_what_is_new(company: Company, key: SecretRef) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    with Provider(lambda _: Reply(status=204)) as receiver:
        Consumers(company.platform.database).add(
            "app", Scope(), ConsumerEndpoint(receiver.url, key), after="0"
        )
        (observed,), cursor = tick(company, None)
        assert len(receiver.asked) == 1
        assert observed.metadata["entries_behind"].value == 0
        assert observed.metadata["consumers_that_need_a_person"].value == "none"
        assert tick(company, cursor) == ([], cursor)
        company.worlds["acme:main"].records = people(4)
        company.sync(sync_id="s2")
        (observed,), _ = tick(company, cursor)
        assert len(receiver.asked) == 2
        assert str(observed.metadata["position"].value).endswith("-4")


def test_a_webhook_that_was_given_up_is_an_alert_and_fails_health(
    company: Company, key: SecretRef
) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    assert feed_issues(company.platform).open == []
    with Provider(lambda _: Reply(status=410)) as receiver:
        Consumers(company.platform.database).add(
            "crm", Scope(), ConsumerEndpoint(receiver.url, key), after="0"
        )
        (observed,), _ = tick(company, None)
    assert observed.metadata["consumers_that_need_a_person"].value == "crm"
    (alert,) = grouped(feed_issues(company.platform).open)
    assert alert.text.startswith("feed: 1 consumer (crm): delivery to its webhook stopped")
    assert "elt-assets feed retry crm" in alert.text
    (check,) = (one for one in report(company.platform.settings).checks if one.name == "feed")
    assert (check.ok, check.needed, check.sample) == (False, False, ("crm",))
    Consumers(company.platform.database).skip("crm")
    assert feed_issues(company.platform).open == []


def test_entries_that_have_no_room_are_deleted_and_the_loss_is_an_alert(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = company.connect(world=World(people(3)))
    company.sync()
    Consumers(company.platform.database).add("slow", Scope(), after="0")
    (observed,), cursor = tick(company, None)
    assert observed.metadata["entries_kept"].value == 3
    world.records = people(4)
    company.sync(sync_id="s2")
    newest = company.platform.database.rows("SELECT max(version), bytes FROM feed_segments")
    monkeypatch.setattr(Settings, "keep_feed_bytes", newest[0]["bytes"])
    (observed,), _ = tick(company, cursor)
    assert observed.metadata["entries_kept"].value == 1
    assert observed.metadata["consumers_that_need_a_person"].value == "slow"
    (alert,) = grouped(feed_issues(company.platform).open)
    assert "needs a snapshot" in alert.text
    assert "ELT_ASSETS_KEEP_FEED_MB" in alert.text


def test_the_feed_is_downstream_of_every_latest_table() -> None:
    node = build_defs().resolve_asset_graph().get(dg.AssetKey("change_feed"))
    assert {key.to_user_string() for key in node.parent_keys} == {
        "users_latest",
        "groups_latest",
        "group_memberships_latest",
    }
    assert node.backfill_policy == dg.BackfillPolicy.single_run()
