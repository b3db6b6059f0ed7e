"""Lists under the records of another stream: the members of every group, over real HTTP."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import load_settings
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Page, Source
from elt_assets.errors import InvalidInput, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import GROUP_MEMBERSHIPS, GROUPS
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

pytestmark = pytest.mark.slow

REF = IntegrationRef("acme", "main")
Groups = dict[str, list[str]]

DATA: dict[str, Any] = {
    "auth": None,
    "streams": {
        "groups": {
            "path": "/groups",
            "records": "items",
            "total": "total",
            "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
            "fields": {"external_id": "id", "name": "name"},
        },
        "group_memberships": {
            "parent": {"stream": "groups", "in_path": "slug"},
            "path": "/groups/{parent}/members",
            "records": "items",
            "total": "total",
            "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
            "fields": {"group_external_id": "$parent", "member_external_id": "id"},
        },
    },
}


def data(url: str, **memberships: Any) -> dict[str, Any]:
    made = copy.deepcopy(DATA) | {"api_endpoint": url}
    made["streams"]["group_memberships"] |= memberships
    return made


def some_groups(count: int, most: int = 7) -> Groups:
    """`count` groups of 0 to `most` members, some of whom are in several."""
    chosen = random.Random(count)
    return {
        f"g/{n} é": sorted(f"u{u}" for u in chosen.sample(range(20), chosen.randint(0, most)))
        for n in range(count)
    }


class Directory:
    """Groups in pages of 3, members in pages of 2; `asked` are the places of all requests."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.asked: list[tuple[str, int]] = []
        self.listed: Callable[[], list[str]] = lambda: list(self.groups)
        self.hidden: set[str] = set()

    def answer(self, asked: Asked) -> Reply:
        start = int(asked.query.get("cursor", "0"))
        if asked.path == "/groups":
            self.asked.append(("", start))
            names = self.listed()
            found = [
                {"id": name, "name": name, "slug": f"slug-{name}"}
                for name in names[start : start + 3]
            ]
            return self._page(found, start + 3, len(names))
        name = self._name(asked.path)
        self.asked.append((name, start))
        if name not in self.groups or name in self.hidden:
            return as_json({"error": "not found"}, 404)
        members = self.groups[name]
        found = [{"id": member} for member in members[start : start + 2]]
        return self._page(found, start + 2, len(members))

    def _name(self, path: str) -> str:

        steps = path.split("/")
        assert (steps[1], steps[3]) == ("groups", "members")
        return unquote(steps[2]).removeprefix("slug-")

    def _page(self, items: list[Any], end: int, total: int) -> Reply:
        return as_json({"items": items, "total": total, "next": end if end < total else None})


def opened(provider_data: dict[str, Any], max_pages: int = 1000) -> Source:
    limits = FetchLimits(
        attempts=2, first_wait=0.001, timeout=10, page_bytes=1 << 20, max_pages=max_pages
    )
    return catalog.open_source(
        "rest", provider_data, "group_memberships", secrets=Secrets(), limits=limits
    )


def read(source: Source, cursor: Any = None) -> list[Page]:
    pages = list(source.pages(cursor))
    source.close()
    return pages


def pairs(pages: list[Page]) -> list[tuple[str, str]]:
    return [
        (parent, record["id"])
        for page in pages
        if page.parents
        for (parent, _), records in [(page.parents[0], json.loads(page.body)["items"])]
        for record in records
    ]


def truth(groups: Groups) -> set[tuple[str, str]]:
    return {(group, member) for group, members in groups.items() for member in members}


@pytest.mark.parametrize("concurrency", [1, 4])
def test_every_member_of_every_group_is_read_once(provider: Provider, concurrency: int) -> None:
    directory = Directory(some_groups(11))
    provider.answer = directory.answer
    pages = read(opened(data(provider.url) | {"rate_limit": {"concurrency": concurrency}}))
    found = pairs(pages)
    assert len(found) == len(set(found))
    assert set(found) == truth(directory.groups)
    assert (pages[-1].next, pages[-1].cut_short, pages[-1].count) == (None, None, 0)
    assert set(Counter(directory.asked).values()) == {1}


def test_who_looks_at_one_page_causes_one_request_for_a_list(provider: Provider) -> None:
    directory = Directory(some_groups(9))
    provider.answer = directory.answer
    source = opened(data(provider.url) | {"rate_limit": {"concurrency": 4}})
    next(iter(source.pages(None)))
    source.close()
    assert len(directory.asked) == 2


def test_reading_goes_on_from_every_page_without_asking_for_one_again(provider: Provider) -> None:
    directory = Directory(some_groups(8))
    provider.answer = directory.answer
    pages = read(opened(data(provider.url)))
    for number, page in enumerate(pages[:-1], start=1):
        earlier = len(directory.asked)
        stored = json.loads(json.dumps(page.next))
        assert len(json.dumps(stored)) < 400
        rest = pairs(read(opened(data(provider.url)), stored))
        assert sorted(pairs(pages[:number]) + rest) == sorted(pairs(pages))
        lists = [place for place in directory.asked[earlier:] if place[0]]
        assert len(lists) == len(pages) - 1 - number


def test_no_more_requests_are_in_flight_than_are_allowed(provider: Provider) -> None:
    directory = Directory(some_groups(25))
    under_way, most, counting = 0, 0, threading.Lock()

    def answer(asked: Asked) -> Reply:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
        try:
            # Long enough for a second request to come meanwhile, if one is sent.
            threading.Event().wait(0.005)
            return directory.answer(asked)
        finally:
            with counting:
                under_way -= 1

    provider.answer = answer
    found = pairs(read(opened(data(provider.url) | {"rate_limit": {"concurrency": 1}})))
    assert set(found) == truth(directory.groups)
    assert most == 1


def test_a_look_at_one_page_passes_over_empty_groups(
    provider: Provider, platform: SyncService
) -> None:
    provider.answer = Directory({"a": [], "b": [], "c": ["u1", "u2"], "d": ["u3"]}).answer
    platform.registry.add(REF, "rest", data(provider.url))
    found = platform.preview(GROUP_MEMBERSHIPS, REF)
    assert [record["member_external_id"] for record in found.records] == ["u1", "u2"]
    assert found.warnings == []


def test_no_groups_is_a_whole_listing_of_nobody(provider: Provider) -> None:
    provider.answer = Directory({}).answer
    (page,) = read(opened(data(provider.url)))
    assert (page.count, page.next, page.cut_short) == (0, None, None)
    assert json.loads(page.body) == {"items": []}


def test_a_group_that_goes_while_its_page_is_read_is_no_gap(provider: Provider) -> None:
    groups = {"a": ["1"], "b": ["1", "2"], "c": ["3"]}
    directory = Directory(dict(groups))

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/slug-b/members"):
            directory.groups.pop("b", None)
        return directory.answer(asked)

    provider.answer = answer
    pages = read(opened(data(provider.url, total="total")))
    assert set(pairs(pages)) == {("a", "1"), ("c", "3")}
    assert pages[-1].next is None


def test_a_list_that_is_not_there_while_its_group_is_ends_the_reading(provider: Provider) -> None:
    directory = Directory({"a": ["1"], "b": ["1", "2"], "c": ["3"]})
    directory.hidden = {"b"}
    provider.answer = directory.answer
    with pytest.raises(ProviderUnavailable, match=r"page 1 under 'b'.* is still listed"):
        read(opened(data(provider.url)))


@pytest.mark.parametrize("change", ["gone before", "gone itself", "other order", "more"])
def test_a_page_of_groups_that_changed_meanwhile_is_read_whole_again(
    provider: Provider, change: str
) -> None:
    directory = Directory({"a": ["1", "2", "3"], "b": ["4", "5", "6"], "c": ["7"]})
    provider.answer = directory.answer
    pages = read(opened(data(provider.url)))
    inside_b = next(page for page in pages if page.parents == (("b", 2),))
    orders = {
        "gone before": ["b", "c"],
        "gone itself": ["a", "c"],
        "other order": ["c", "b", "a"],
        "more": ["0", "a", "b", "c"],
    }
    directory.groups |= {"0": ["9"]}
    directory.listed = lambda: orders[change]
    rest = read(opened(data(provider.url)), inside_b.next)
    assert set(pairs(rest)) == truth({name: directory.groups[name] for name in orders[change]})


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("members", r"the provider counts 4 records under 'b', not 3"),
        ("groups", r"the provider counts 4 parents and listed 3"),
        ("nameless", r"1 records that have lists have no readable key"),
        ("dots", r"1 records that have lists have no readable key"),
    ],
)
def test_what_may_be_missing_is_said_at_the_end(
    provider: Provider, place: str, reason: str
) -> None:
    directory = Directory({"a": ["1"], "b": ["1", "2", "3"], "c": ["3"]})

    def answer(asked: Asked) -> Reply:
        page = json.loads(directory.answer(asked).body)
        if (place == "members" and "slug-b" in asked.path) or (
            place == "groups" and asked.path == "/groups"
        ):
            page["total"] = 4
        if asked.path == "/groups" and place == "nameless":
            page["items"][1] = {"id": None, "slug": "x"}
        if asked.path == "/groups" and place == "dots":
            page["items"][1]["slug"] = ".."
        return as_json(page)

    provider.answer = answer
    pages = read(opened(data(provider.url)))
    assert pages[-1].next is None
    assert pages[-1].cut_short is not None
    assert re.fullmatch(reason, pages[-1].cut_short)
    resumed = read(opened(data(provider.url)), pages[1].next)
    assert resumed[-1].cut_short is not None


def test_pages_are_limited_over_all_lists(provider: Provider) -> None:
    provider.answer = Directory(some_groups(9)).answer
    pages = read(opened(data(provider.url), max_pages=4))
    assert len(pages) == 4
    assert pages[-1].cut_short == "page limit of 4 reached (ELT_ASSETS_MAX_PAGES)"
    assert pages[-1].next is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parent": None}, r"\{parent\} and \$parent mean the record"),
        ({"path": "/members"}, r"path has no \{parent\}"),
        ({"parent": {"stream": "teams"}}, r"there is no stream 'teams'"),
        ({"parent": {"stream": "group_memberships"}}, r"cannot be a parent itself"),
        ({"fields": {"group_external_id": "$parent"}}, r"has no member_external_id"),
        ({"single": {"path": "/x/{external_id}"}}, r"cannot be used together with parent"),
    ],
)
def test_a_nested_stream_is_checked_at_the_door(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        catalog.validate("rest", data("https://acme.example", **change))


def test_groups_and_their_members_reach_their_tables(
    provider: Provider, platform: SyncService
) -> None:
    directory = Directory(some_groups(7))
    provider.answer = directory.answer
    platform.registry.add(REF, "rest", data(provider.url))
    for stream in (GROUPS, GROUP_MEMBERSHIPS):
        (outcome,) = platform.sync(stream, [REF], sync_id="one")
        assert (outcome.status, outcome.certificate.complete) == ("applied", True)
    assert {row["external_id"] for row in platform.records(GROUPS, REF)} == directory.groups.keys()
    assert members(platform) == truth(directory.groups)
    name = next(name for name, listed in directory.groups.items() if listed)
    directory.groups[name].pop(0)
    (outcome,) = platform.sync(GROUP_MEMBERSHIPS, [REF], sync_id="two")
    assert (outcome.counts.deletes, outcome.counts.inserts) == (1, 0)
    assert members(platform) == truth(directory.groups)


def members(platform: SyncService) -> set[tuple[str, str]]:
    return {
        (row["group_external_id"], row["member_external_id"])
        for row in platform.records(GROUP_MEMBERSHIPS, REF)
    }


WORKER = """
import sys
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.config.settings import load_settings
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import GROUP_MEMBERSHIPS

with SyncService.open(load_settings(home=Path(sys.argv[1]))) as platform:
    for outcome in platform.sync(
        GROUP_MEMBERSHIPS, [IntegrationRef("acme", "main")], sync_id="killed", pages_per_batch=2
    ):
        pass
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_reading_of_lists_goes_on_after_its_last_committed_page(
    provider: Provider, tmp_path: Path, seed: int
) -> None:
    directory = Directory(some_groups(20 + seed))
    whole = [
        (name, start)
        for name, listed in directory.groups.items()
        for start in range(0, max(len(listed), 1), 2)
    ]
    fatal = random.Random(seed).randint(4, len(whole))
    worker: list[subprocess.Popen[bytes]] = []
    started, counting = threading.Event(), threading.Lock()
    asked_for = Counter[str]()

    def answer(asked: Asked) -> Reply:
        started.wait()
        with counting:
            asked_for["lists"] += asked.path != "/groups"
            is_fatal = asked_for["lists"] == fatal
        if is_fatal and worker[0].poll() is None:
            os.kill(worker[0].pid, signal.SIGKILL)
            worker[0].wait()
        return directory.answer(asked)

    provider.answer = answer
    settings = load_settings(home=tmp_path / "home", fetch_first_wait=0.01)
    with SyncService.open(settings) as platform:
        platform.registry.add(REF, "rest", data(provider.url))
    worker.append(subprocess.Popen([sys.executable, "-c", WORKER, str(settings.home)]))
    started.set()
    assert worker[0].wait() == -signal.SIGKILL
    directory.asked.clear()
    with SyncService.open(settings) as platform:
        (outcome,) = platform.sync(GROUP_MEMBERSHIPS, [REF], sync_id="killed", pages_per_batch=2)
        assert (outcome.status, outcome.error) == ("applied", None)
        assert outcome.certificate.complete
        # As a set: the last request of the dead may be answered after it.
        again = {place for place in directory.asked if place[0]}
        assert again == set(whole[outcome.resumed_batches * 2 :])
        assert members(platform) == truth(directory.groups)
