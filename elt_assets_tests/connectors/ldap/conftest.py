"""What the tests of LDAP sources share: a real OpenLDAP, and sources that read it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Page, Source
from elt_assets_tests.testbed.openldap import (
    BASE,
    OpenLdap,
    group,
    group_name,
    openldap,
    person,
    person_name,
)
from elt_assets_tests.testbed.servers import PASSWORD

USERS: dict[str, Any] = {
    "filter": "(objectClass=inetOrgPerson)",
    "page_size": 10,
    "fields": {"external_id": "entryUUID", "name": "displayName", "email": "mail"},
}
GROUPS: dict[str, Any] = {
    "filter": "(objectClass=groupOfNames)",
    "fields": {"external_id": "entryUUID", "name": "cn"},
}
MEMBERSHIPS: dict[str, Any] = {
    "filter": "(objectClass=groupOfNames)",
    "page_size": 2,
    "members": {"nested": True},
    "fields": {
        "group_external_id": "group",
        "member_external_id": "member",
        "kind": "kind",
    },
}


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", PASSWORD)


@pytest.fixture(scope="module")
def company() -> Iterator[OpenLdap]:
    """95 people in a directory that no test changes, and groups that hold one another."""
    with openldap(
        [
            *map(person, range(95)),
            group("staff", [person_name(1), group_name("board"), group_name("staff")]),
            group("board", [person_name(2), "UID=P3, OU=People, " + BASE, group_name("chairs")]),
            group("chairs", [person_name(4), group_name("staff")]),
            group("leavers", [person_name(5), person_name(1000)]),
        ]
    ) as server:
        yield server


@pytest.fixture
def changing() -> Iterator[OpenLdap]:
    """30 people in a directory of the test's own."""
    with openldap(map(person, range(30))) as server:
        yield server


def data(server: OpenLdap, connection: dict[str, Any] | None = None, **users: Any) -> Any:
    """provider_data for all streams; `users` differs from what stands above."""
    return copy.deepcopy(
        {
            "connection": server.connection() | (connection or {}),
            "directory": "openldap",
            "base": BASE,
            "streams": {
                "users": USERS | users,
                "groups": GROUPS,
                "group_memberships": MEMBERSHIPS,
            },
        }
    )


def opened(provider_data: Any, stream: str = "users", **limits: Any) -> Source:
    """A source, with limits that suit a test."""
    chosen = {
        "attempts": 1,
        "first_wait": 0.0,
        "timeout": 10.0,
        "page_bytes": 1 << 20,
        "max_pages": 1000,
        **limits,
    }
    return catalog.open_source(
        "ldap", provider_data, stream, secrets=Secrets(), limits=FetchLimits(**chosen)
    )


def records(pages: list[Page]) -> list[dict[str, Any]]:
    """The records of all pages; each page's count must be true."""
    found = []
    for page in pages:
        listed = msgspec.json.decode(page.body)
        assert len(listed) == page.count
        found += listed
    return found


def read(source: Source, since: str | None = None) -> list[dict[str, Any]]:
    """Everything a source yields, whose last page must say so and know of no doubt."""
    pages = list(source.pages(None, since))
    assert [page.next is None for page in pages] == [False] * (len(pages) - 1) + [True]
    assert [(page.cut_short, page.doubts) for page in pages] == [(None, ())] * len(pages)
    return records(pages)
