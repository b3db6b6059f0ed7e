"""Providers that mark their pages: what they say has not changed is not sent again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.extract import staging
from elt_assets.sync.outcome import Mode, Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.directories import (
    PAGINATIONS,
    SECRET,
    directory,
    directory_data,
    people,
)
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

pytestmark = pytest.mark.slow

REF = IntegrationRef("acme", "main")
ENDS_IN_THE_PAGE = [
    name for name, one in PAGINATIONS.items() if name != "link_header" and "body" not in one.stream
]


@dataclass
class Marked:
    """A directory whose pages have entity tags; it counts what it sends and what it need not."""

    provider: Provider
    pagination: str
    users: list[dict[str, Any]]
    sent: list[Asked] = field(default_factory=list)
    spared: list[Asked] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Reply:
        reply = directory(self.users, self.pagination, "bearer", self.provider.url)(asked)
        etag = f'W/"{hashlib.sha256(reply.body).hexdigest()[:20]}"'
        if asked.headers.get("if-none-match") == etag:
            self.spared.append(asked)
            return Reply(status=304, headers={"ETag": etag})
        self.sent.append(asked)
        return replace(reply, headers=reply.headers | {"ETag": etag})

    def forget(self) -> None:
        self.sent.clear()
        self.spared.clear()


@pytest.fixture
def marked(
    request: pytest.FixtureRequest,
    provider: Provider,
    platform: SyncService,
    monkeypatch: pytest.MonkeyPatch,
) -> Marked:
    monkeypatch.setenv("TEST_SECRET", SECRET)
    found = Marked(provider, request.param, people(950))
    provider.answer = found
    platform.registry.add(REF, "rest", directory_data(request.param, "bearer", provider.url))
    return found


def synced(platform: SyncService, sync_id: str, **more: Any) -> Outcome:
    (outcome,) = platform.sync(USERS, [REF], sync_id=sync_id, pages_per_batch=3, **more)
    return outcome


def names(platform: SyncService) -> dict[str, str]:
    return {row["external_id"]: row["name"] for row in platform.records(USERS, REF)}


def every(pagination: str) -> Any:
    return pytest.mark.parametrize("marked", [pagination], indirect=True)


@pytest.mark.parametrize("marked", ENDS_IN_THE_PAGE, indirect=True)
def test_an_unchanged_listing_is_not_sent_again(platform: SyncService, marked: Marked) -> None:
    first = synced(platform, "1")
    before, asked = names(platform), len(marked.sent)
    for sync_id in ("2", "3"):
        marked.forget()
        outcome = synced(platform, sync_id)
        assert outcome.status is Status.UNCHANGED, outcome.error
        assert outcome.certificate is not None
        assert first.certificate is not None
        assert outcome.certificate.complete
        assert outcome.counts.fetched == first.counts.fetched == 950
        assert marked.sent == []
        assert len(marked.spared) == asked
    assert names(platform) == before


@every("link_header")
def test_a_page_that_headers_could_lead_on_from_is_sent_again(
    platform: SyncService, marked: Marked
) -> None:
    synced(platform, "1")
    marked.forget()
    assert synced(platform, "2").status is Status.UNCHANGED
    assert len(marked.spared) == 9
    assert len(marked.sent) == 1
    # A full last page is the same when somebody comes after it; only its header differs.
    del marked.users[900:]
    assert synced(platform, "3").counts.pending_deletes == 50
    assert synced(platform, "4").counts.deletes == 50
    marked.users.append(people(901)[-1])
    outcome = synced(platform, "5")
    assert outcome.counts.inserts == 1
    assert len(names(platform)) == 901


@pytest.mark.parametrize("marked", PAGINATIONS, indirect=True)
def test_a_changed_page_takes_only_its_batch_along(platform: SyncService, marked: Marked) -> None:
    synced(platform, "1")
    marked.forget()
    marked.users[420] = marked.users[420] | {"name": "Somebody Else"}
    outcome = synced(platform, "2")
    assert (outcome.counts.inserts, outcome.counts.updates, outcome.counts.deletes) == (0, 1, 0)
    assert outcome.status is Status.APPLIED
    assert "Somebody Else" in names(platform).values()
    marked.forget()
    assert synced(platform, "3").status is Status.UNCHANGED


@pytest.mark.parametrize("marked", PAGINATIONS, indirect=True)
def test_who_leaves_and_who_joins_is_found(platform: SyncService, marked: Marked) -> None:
    synced(platform, "1")
    gone = marked.users.pop(310)
    marked.users.append(people(951)[-1])
    outcome = synced(platform, "2")
    counts = outcome.counts
    assert (counts.inserts, counts.deletes + counts.pending_deletes) == (1, 1)
    if counts.pending_deletes:
        # A second listing confirms; that nothing of it was sent is no reason not to look.
        assert synced(platform, "3").counts.deletes == 1
    assert gone["id"] not in names(platform)
    assert len(names(platform)) == 950


@every("cursor")
def test_asked_for_everything_the_provider_is_not_asked_what_changed(
    platform: SyncService, marked: Marked
) -> None:
    synced(platform, "1")
    marked.forget()
    synced(platform, "2", mode=Mode.FULL)
    assert marked.spared == []
    assert not any("if-none-match" in asked.headers for asked in marked.sent)


@every("cursor")
def test_another_configuration_asks_plainly(
    platform: SyncService, marked: Marked, provider: Provider
) -> None:
    synced(platform, "1")
    marked.forget()
    data = directory_data("cursor", "bearer", provider.url)
    data["streams"]["users"]["fields"]["title"] = "name"
    platform.registry.update(REF, data)
    outcome = synced(platform, "2")
    assert outcome.counts.updates == 950
    assert marked.spared == []


@every("cursor")
def test_a_configuration_that_maps_alike_asks_plainly_too(
    platform: SyncService, marked: Marked, provider: Provider
) -> None:
    """Other headers may bring other people under the same address."""
    synced(platform, "1")
    marked.forget()
    data = directory_data("cursor", "bearer", provider.url) | {"headers": {"X-View": "all"}}
    platform.registry.update(REF, data)
    assert synced(platform, "2").status is Status.UNCHANGED
    assert marked.spared == []


@every("cursor")
def test_pages_that_another_release_mapped_are_asked_for_plainly(
    platform: SyncService, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced(platform, "1")
    marked.forget()
    query = staging.mapping_query
    monkeypatch.setattr(staging, "mapping_query", lambda *told: f"{query(*told)} -- differently")
    assert synced(platform, "2").status is Status.UNCHANGED
    assert marked.spared == []


@every("cursor")
@pytest.mark.parametrize("afterwards", ["2", "3"])
def test_after_a_failure_every_page_is_asked_for_plainly(
    platform: SyncService, marked: Marked, provider: Provider, afterwards: str
) -> None:
    """An unchanged page leads on to where it led before, which may be what fails."""
    synced(platform, "1")

    def stale(asked: Asked) -> Reply:
        if asked.query.get("cursor") and "if-none-match" in asked.headers:
            return as_json({"error": "this cursor has expired"}, 410)
        return marked(asked)

    provider.answer = stale
    failed = synced(platform, "2")
    assert failed.status is Status.FAILED
    marked.forget()
    assert synced(platform, afterwards).status is Status.UNCHANGED
    assert marked.spared == []


@every("cursor")
def test_a_page_that_changes_between_two_answers_is_read_once_more(
    platform: SyncService, marked: Marked, provider: Provider
) -> None:
    """Said to be unchanged, then needed in full, and by then leading elsewhere."""
    synced(platform, "1")
    marked.users[150] = marked.users[150] | {"name": "Changed"}
    begun = False

    def moving(asked: Asked) -> Reply:
        nonlocal begun
        if not begun and asked.query.get("cursor") is None and "if-none-match" not in asked.headers:
            begun = True
            reply = marked(asked)
            return replace(reply, body=reply.body.replace(b'"next"', b'"nothing"'))
        return marked(asked)

    provider.answer = moving
    outcome = synced(platform, "2")
    assert begun
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert "changed after the provider reported it as unchanged" in outcome.error
    outcome = synced(platform, "2")
    assert outcome.counts.updates == 1
    assert len(names(platform)) == 950


@every("cursor")
def test_a_provider_that_marks_nothing_is_asked_nothing(
    platform: SyncService, marked: Marked, provider: Provider
) -> None:
    provider.answer = lambda asked: replace(
        directory(marked.users, "cursor", "bearer", provider.url)(asked)
    )
    synced(platform, "1")
    synced(platform, "2")
    assert not any("if-none-match" in asked.headers for asked in provider.asked)


@every("cursor")
def test_a_304_that_nobody_asked_for_is_a_refusal(platform: SyncService, marked: Marked) -> None:
    marked.provider.answer = lambda _: Reply(status=304)
    outcome = synced(platform, "1")
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert "answered 304" in outcome.error
