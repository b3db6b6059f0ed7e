"""Missing memberships: the affected parents' lists are read again, over real HTTP."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Presence, Source
from elt_assets_tests.connectors.rest.test_nested_lists import DATA, Directory
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

PRESENT, GONE, UNKNOWN = Presence.PRESENT, Presence.GONE, Presence.UNKNOWN
LIMITS = FetchLimits(attempts=1, first_wait=0.001, timeout=10, page_bytes=1 << 20, max_pages=100)


def pair(group: str, member: str) -> str:
    return json.dumps([group, member], separators=(",", ":"), ensure_ascii=False)


class Groups:
    """Groups by their names, and their members in pages of two; also as SCIM tells them."""

    def __init__(self, **members: list[str]) -> None:
        self.members = dict(members)
        self.total: dict[str, int] = {}
        self.asked: list[str] = []

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked.path)
        if asked.path.startswith("/Groups/"):
            return self._scim(unquote(asked.path.removeprefix("/Groups/")))
        group = unquote(asked.path.split("/")[2])
        if group not in self.members:
            return as_json({"error": "no group"}, 404)
        start = int(asked.query.get("cursor", "0"))
        members = self.members[group]
        following = str(start + 2) if start + 2 < len(members) else None
        found = [{"id": member} for member in members[start : start + 2]]
        total = self.total.get(group, len(members))
        return as_json({"items": found, "next": following, "total": total})

    def _scim(self, group: str) -> Reply:
        if group not in self.members:
            return as_json({"detail": "no group"}, 404)
        members = [{"value": member} for member in self.members[group]]
        return as_json({"id": group} | ({"members": members} if members else {}))


def nested(url: str) -> Source:
    data = copy.deepcopy(DATA) | {"api_endpoint": url}
    data["streams"]["group_memberships"]["parent"] = {"stream": "groups"}
    return catalog.open_source("rest", data, "group_memberships", secrets=Secrets(), limits=LIMITS)


def scim(url: str) -> Source:
    data: dict[str, Any] = {"api_endpoint": url, "streams": ["group_memberships"]}
    return catalog.open_source("scim", data, "group_memberships", secrets=Secrets(), limits=LIMITS)


BOTH = pytest.mark.parametrize("opened", [nested, scim])


def probed(source: Source, missing: Sequence[str], listed: Sequence[str]) -> list[Presence]:
    assert source.probes
    found = source.probe(missing, listed)
    source.close()
    assert list(found) == list(missing)
    return list(found.values())


@BOTH
def test_each_affected_group_is_read_once_and_a_listed_member_of_it_is_the_control(
    provider: Provider, opened: Any
) -> None:
    groups = Groups(ops=["u1", "u3"], dev=["u1", "u2"])
    provider.answer = groups.answer
    missing = [pair("ops", "u2"), pair("ops", "u3"), pair("dev", "u9")]
    listed = [pair("dev", "u1"), pair("ops", "u1")]
    assert probed(opened(provider.url), missing, listed) == [GONE, PRESENT, GONE]
    assert len(groups.asked) == 2


@BOTH
def test_a_group_that_is_gone_or_empty_is_believed_next_to_a_control_in_another(
    provider: Provider, opened: Any
) -> None:
    groups = Groups(ops=[], dev=["u1"])
    provider.answer = groups.answer
    missing = [pair("ops", "u2"), pair("old", "u2")]
    assert probed(opened(provider.url), missing, [pair("dev", "u1")]) == [GONE, GONE]
    assert len(groups.asked) == 3


@BOTH
def test_a_provider_that_shows_no_members_any_more_says_nothing(
    provider: Provider, opened: Any
) -> None:
    provider.answer = Groups(ops=[], dev=[]).answer
    assert probed(opened(provider.url), [pair("ops", "u2")], [pair("dev", "u1")]) == [UNKNOWN]
    assert probed(opened(provider.url), [pair("ops", "u2")], []) == [UNKNOWN]


@BOTH
def test_a_404_for_every_group_says_nothing(provider: Provider, opened: Any) -> None:
    provider.answer = Groups().answer
    assert probed(opened(provider.url), [pair("ops", "u2")], [pair("ops", "u1")]) == [UNKNOWN]


@BOTH
def test_group_names_with_special_characters_need_a_control_that_has_them(
    provider: Provider, opened: Any
) -> None:
    groups = Groups()
    groups.members = {"a/b %'é": ["u1"], "c/d %'é": ["u1"], "dev": ["u1"]}
    provider.answer = groups.answer
    missing = [pair("a/b %'é", "u2")]
    assert probed(opened(provider.url), missing, [pair("c/d %'é", "u1")]) == [GONE]
    assert probed(opened(provider.url), missing, [pair("dev", "u1")]) == [UNKNOWN]


def test_a_list_whose_count_disagrees_or_repeats_says_nothing_of_whom_it_lacks(
    provider: Provider,
) -> None:
    groups = Groups(ops=["u1", "u2", "u3"], dev=["u1", "u2", "u2"], all=["u1"])
    groups.total["ops"] = 4
    provider.answer = groups.answer
    missing = [pair("ops", "u9"), pair("dev", "u9"), pair("all", "u9"), pair("ops", "u3")]
    listed = [pair("all", "u1")]
    assert probed(nested(provider.url), missing, listed) == [UNKNOWN, UNKNOWN, GONE, PRESENT]


def test_lists_under_another_name_than_the_key_are_found_through_the_parents(
    provider: Provider,
) -> None:
    directory = Directory({f"g{number}": ["u1", "u2"] for number in range(5)})
    provider.answer = directory.answer
    missing, listed = [pair("g4", "u9"), pair("g4", "u2"), pair("old", "u1")], [pair("g0", "u1")]
    assert probed(by_slug(provider.url), missing, listed) == [GONE, PRESENT, UNKNOWN]
    assert sorted(directory.asked) == [("", 0), ("", 3), ("g0", 0), ("g4", 0)]


def test_without_the_parents_no_list_under_another_name_is_believed(provider: Provider) -> None:
    provider.answer = lambda _: as_json({"error": "not found"}, 404)
    assert probed(by_slug(provider.url), [pair("g0", "u2")], [pair("g0", "u1")]) == [UNKNOWN]


def by_slug(url: str) -> Source:
    data = copy.deepcopy(DATA) | {"api_endpoint": url}
    return catalog.open_source("rest", data, "group_memberships", secrets=Secrets(), limits=LIMITS)


def test_a_key_that_is_none_of_a_membership_is_unknown(provider: Provider) -> None:
    provider.answer = Groups(ops=["u1"]).answer
    assert probed(nested(provider.url), ["u1", "[]"], [pair("ops", "u1")]) == [UNKNOWN, UNKNOWN]
