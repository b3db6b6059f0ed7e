"""Tenants never see, touch or hold up each other."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.end_to_end.real_http import Installation, installed, serving

# The same people's ids in all of them, and names that read the same when run together.
ALIKE = [
    IntegrationRef(organization, integration)
    for organization, integration in (
        ("a", "bc"),
        ("ab", "c"),
        ("a", "b-c"),
        ("a-b", "c"),
        ("A", "b"),
        ("a", "b.c"),
        ("a", "b_c"),
    )
]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    layout = DemoLayout(integrations=0, others={str(ref): 50 for ref in ALIKE})
    with (
        serving(layout, monkeypatch) as provider,
        installed(provider, tmp_path / "home", max_delete_share=1) as installation,
    ):
        installation.connect(*ALIKE)
        yield installation


def test_the_same_ids_in_names_that_read_alike_stay_apart(installation: Installation) -> None:
    outcomes = installation.sync(*ALIKE)
    assert {outcome.counts.inserts for outcome in outcomes.values()} == {50}
    keys, ids, emails = set(), set(), set()
    for ref in ALIKE:
        assert installation.users(ref) == installation.provider.truth(ref)
        rows = installation.platform.records(USERS, ref)
        assert {(row["organization_id"], row["connected_integration_id"]) for row in rows} == {
            (ref.organization_id, ref.integration_id)
        }
        keys.add(tuple(row["external_id"] for row in rows))
        ids.update(row["id"] for row in rows)
        emails.update(row["email"] for row in rows)
    assert len(keys) == 1, "the worlds must share their ids for this to prove anything"
    assert len(ids) == len(ALIKE) * 50


def test_a_change_of_one_is_no_change_of_another(installation: Installation) -> None:
    installation.sync(*ALIKE)
    before = {ref: installation.platform.records(USERS, ref) for ref in ALIKE}
    shrunk, grown, renamed, *untouched = ALIKE
    installation.provider.edit(shrunk, remove=range(11, 51))
    installation.provider.edit(grown, add=5)
    installation.provider.edit(renamed, change={1: {"profile": {"displayName": "Somebody Else"}}})
    outcomes = installation.sync(*ALIKE, sync_id="s2")
    assert outcomes[shrunk].counts.deletes == 40
    assert outcomes[grown].counts.inserts == 5
    assert outcomes[renamed].counts.updates == 1
    for ref in (shrunk, grown, renamed):
        assert installation.users(ref) == installation.provider.truth(ref)
    for ref in untouched:
        assert outcomes[ref].status is Status.UNCHANGED
        assert installation.platform.records(USERS, ref) == before[ref]


def test_one_sync_id_belongs_to_each_integration_by_itself(installation: Installation) -> None:
    one, other, *_ = ALIKE
    assert installation.sync(one)[one].counts.inserts == 50
    assert installation.sync(other)[other].counts.inserts == 50
    assert installation.sync(one)[one].recorded


def test_a_warehouse_holds_nothing_of_anybody_else(installation: Installation) -> None:
    installation.sync(*ALIKE)
    for ref in ALIKE:
        others = {
            user["email"]
            for other in ALIKE
            if other != ref
            for user in installation.provider.truth(other)
        }
        own = {user["email"] for user in installation.provider.truth(ref)}
        text = "".join(
            str(rows)
            for name, rows in installation.contents([ref]).items()
            if name.startswith(f"{ref} ")
        )
        assert all(email in text for email in own)
        assert not any(email in text for email in others - own)


def test_removing_one_leaves_the_others_and_no_trace(installation: Installation) -> None:
    installation.sync(*ALIKE)
    gone, *others = ALIKE
    before = {ref: installation.platform.records(USERS, ref) for ref in others}
    installation.platform.remove(gone)
    assert not installation.platform.warehouses.exists(gone)
    left = installation.contents(others)
    assert not [
        row
        for name, rows in left.items()
        for row in rows
        if isinstance(row, dict)
        and row.get("organization_id") == gone.organization_id
        and row.get("connected_integration_id", row.get("id")) == gone.integration_id
        # The feed keeps one entry that says so.
        and not name.startswith("feed_")
    ]
    heard = [row for row in left["feed_bodies"] if row["organization_id"] == gone.organization_id]
    assert not any(user["email"] in str(heard) for user in installation.provider.truth(gone))
    for ref in others:
        assert installation.platform.records(USERS, ref) == before[ref]
    installation.connect(gone)
    assert installation.sync(gone)[gone].counts.inserts == 50


def test_a_provider_that_does_not_answer_one_holds_up_nobody_else(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One integration's provider is stopped in its tracks; the others settle before it does."""
    stuck = IntegrationRef("slow", "main")
    token = installation.provider.token
    with serving(DemoLayout(integrations=0, others={str(stuck): 5}), monkeypatch) as frozen:
        monkeypatch.setenv("FROZEN_TOKEN", frozen.token)
        monkeypatch.setenv("END_TO_END_TOKEN", token)
        data = installation.data(stuck) | {
            "api_endpoint": f"{frozen.url}/v1/slow/main",
            "auth": {"type": "bearer", "token": {"env": "FROZEN_TOKEN"}},
        }
        installation.platform.registry.add(stuck, "rest", data)
        os.kill(frozen.pid, signal.SIGSTOP)
        settled = []
        for outcome in installation.platform.sync(USERS, [stuck, *ALIKE], sync_id="s1"):
            settled.append(outcome)
            if len(settled) == len(ALIKE):
                os.kill(frozen.pid, signal.SIGCONT)
    assert {outcome.status for outcome in settled} == {Status.APPLIED}
    assert settled[-1].partition == "slow:main"


@pytest.mark.parametrize("ahead", [1, 4])
def test_who_is_told_to_wait_does_not_hold_up_the_next_one(tmp_path: Path, ahead: int) -> None:
    """One at a time; the first is told to come back later, on a page that is fetched ahead too."""
    told = Counter[str]()

    def answer(asked: Asked) -> Reply:
        page = int(asked.query.get("page", "1"))
        told[asked.path] += 1
        if asked.path == "/slow/users" and page == 2 and not told["wait"]:
            told["wait"] += 1
            return as_json({}, 429, retry_after="1")
        people = [{"id": f"{page}-{n}", "name": "N", "email": "e@example.com"} for n in range(2)]
        return as_json({"items": people if page < 4 else []})

    with (
        Provider(answer) as provider,
        SyncService.open(load_settings(home=tmp_path / "home", concurrency=1)) as platform,
    ):
        slow, quick = (IntegrationRef("org", name) for name in ("slow", "quick"))
        for ref in (slow, quick):
            stream = {
                "path": "/users",
                "records": "items",
                "pagination": {"type": "page", "param": "page"},
                "fields": {"external_id": "id", "name": "name", "email": "email"},
            }
            data = {
                "api_endpoint": f"{provider.url}/{ref.integration_id}",
                "rate_limit": {"concurrency": ahead},
                "streams": {"users": stream},
            }
            platform.registry.add(ref, "rest", data)
        settled = list(platform.sync(USERS, [slow, quick], sync_id="s1"))
    assert [outcome.partition for outcome in settled] == ["org:quick", "org:slow"]
    assert {(outcome.status, outcome.counts.latest) for outcome in settled} == {("applied", 6)}
