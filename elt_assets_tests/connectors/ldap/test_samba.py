"""A real Active Directory domain (Samba): pages, ids, flags, groups, referrals, changes, probes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ldap3 import MODIFY_REPLACE

from elt_assets.config.settings import load_settings
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.source import Presence
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Mode
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS as USERS_STREAM
from elt_assets_tests.connectors.ldap.conftest import opened, read, records
from elt_assets_tests.testbed.samba import BASE, USERS, DomainController, samba

pytestmark = pytest.mark.slow

PEOPLE = 35


@pytest.fixture(scope="module")
def domain() -> Iterator[DomainController]:
    """35 people, every tenth disabled; groups in one another."""
    with samba() as controller:
        with controller.administered() as admin:
            for number in range(PEOPLE):
                admin.add(
                    name(f"p{number}"),
                    ["user"],
                    {
                        "sAMAccountName": f"p{number}",
                        "displayName": f"Person {number}",
                        "mail": f"p{number}@acme.example",
                        # A normal account that needs no password, or a disabled one.
                        "userAccountControl": 546 if number % 10 == 0 else 544,
                    },
                )
            for group, members in (("inner", ["p1", "p2"]), ("outer", ["p3", "inner"])):
                admin.add(name(group), ["group"], {"member": [name(one) for one in members]})
        yield controller


@pytest.fixture(autouse=True)
def domain_password(domain: DomainController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", domain.password)


def name(of: str) -> str:
    return f"CN={of},{USERS}"


def data(domain: DomainController, base: str = USERS, **users: Any) -> dict[str, Any]:
    """provider_data of those people and groups."""
    return {
        "connection": domain.connection(),
        "directory": "active_directory",
        "base": base,
        "streams": {
            "users": {
                "filter": "(&(objectCategory=person)(objectClass=user)(displayName=*))",
                "page_size": 10,
                "fields": {
                    "external_id": "objectGUID",
                    "name": "displayName",
                    "active": "$enabled",
                    "groups": "memberOf",
                    "source_updated_at": "whenChanged",
                },
                "incremental": {"full_every": "1d"},
            }
            | users,
            "groups": {
                "filter": "(|(cn=inner)(cn=outer))",
                "fields": {"external_id": "objectGUID", "name": "cn"},
            },
            "group_memberships": {
                "filter": "(|(cn=inner)(cn=outer))",
                "members": {"nested": True},
                "fields": {"group_external_id": "group", "member_external_id": "member"},
            },
        },
    }


def test_everybody_is_listed_once_and_from_every_page_on(domain: DomainController) -> None:
    pages = list(opened(data(domain)).pages(None))
    found = records(pages)
    assert {one["displayName"]: one["$enabled"] for one in found} == {
        f"Person {number}": number % 10 != 0 for number in range(PEOPLE)
    }
    assert len({one["objectGUID"] for one in found}) == len(found) == PEOPLE
    assert len(pages) == 4
    for at, page in enumerate(pages[:-1]):
        assert records(list(opened(data(domain)).pages(page.next))) == records(pages[at + 1 :])


def test_members_of_groups_in_groups_belong_to_the_outer_one(domain: DomainController) -> None:
    keys = {one["objectGUID"]: one["displayName"] for one in read(opened(data(domain)))}
    keys |= {one["objectGUID"]: one["cn"] for one in read(opened(data(domain), "groups"))}
    found = read(opened(data(domain), "group_memberships"))
    assert {(keys[one["group"]], keys[one["member"]]) for one in found} == {
        ("inner", "Person 1"),
        ("inner", "Person 2"),
        ("outer", "Person 3"),
        ("outer", "inner"),
        ("outer", "Person 1"),
        ("outer", "Person 2"),
    }
    assert len(found) == 6


def test_only_members_of_a_group_are_listed_directly_or_through_others(
    domain: DomainController,
) -> None:
    direct = f"(memberOf={name('outer')})"
    chained = f"(memberOf:1.2.840.113556.1.4.1941:={name('outer')})"
    for rule, expected in ((direct, {"p3"}), (chained, {"p1", "p2", "p3"})):
        found = read(opened(data(domain, filter=f"(&(objectClass=user){rule})")))
        assert {one["displayName"].replace("Person ", "p") for one in found} == expected


def test_below_the_domain_itself_other_parts_are_reported_or_ignored(
    domain: DomainController,
) -> None:
    (*_, last) = opened(data(domain, BASE)).pages(None)
    (doubt,) = last.doubts
    assert "is held by acme.example and was not read" in doubt
    source = opened(data(domain, BASE, referrals="ignore"))
    keys = [one["objectGUID"] for one in read(source)]
    gone = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
    assert source.probe([gone, keys[0]], keys[1:]) == {
        gone: Presence.GONE,
        keys[0]: Presence.PRESENT,
    }
    careful = opened(data(domain, BASE))
    assert careful.probe([gone], keys) == {gone: Presence.UNKNOWN}


def test_who_was_deleted_is_gone_and_who_was_changed_is_listed(domain: DomainController) -> None:
    source = opened(data(domain))
    with domain.administered() as admin:
        admin.add(name("leaver"), ["user"], {"sAMAccountName": "leaver", "displayName": "Leaver"})
    everybody = {one["displayName"]: one for one in read(source)}
    newest = max(one["whenChanged"] for one in everybody.values())
    with domain.administered() as admin:
        admin.delete(name("leaver"))
        admin.modify(name("p7"), {"mail": [(MODIFY_REPLACE, ["new@acme.example"])]})
    keys = [everybody[one]["objectGUID"] for one in ("Leaver", "Person 1", "Person 2")]
    assert source.probe(keys[:1], keys[1:]) == {keys[0]: Presence.GONE}
    changed = read(source, newest.replace(".0Z", ".000000Z"))
    assert "Person 7" in {one["displayName"] for one in changed}
    assert all(one["whenChanged"] >= newest for one in changed)


def test_changes_alone_tell_who_was_deleted(domain: DomainController) -> None:
    with domain.administered() as admin:
        for one in ("gone1", "gone2"):
            admin.add(name(one), ["user"], {"sAMAccountName": one, "displayName": one})
    described = data(domain, incremental={"deleted": True})
    everybody = {one["displayName"]: one for one in read(opened(described))}
    newest = max(one["whenChanged"] for one in everybody.values())
    with domain.administered() as admin:
        for one in ("gone1", "gone2"):
            admin.delete(name(one))
    source = opened(described)
    pages = list(source.pages(None, newest.replace(".0Z", ".000000Z")))
    found = {
        one["objectGUID"]: text_at(source.fields["deleted"], one) == "true"
        for one in records(pages)
    }
    for one in ("gone1", "gone2"):
        assert found[everybody[one]["objectGUID"]] is True
    assert found.get(everybody["Person 1"]["objectGUID"], False) is False
    for at, page in enumerate(pages[:-1]):
        cursor = json.loads(json.dumps(page.next))
        rest = opened(described).pages(cursor, newest.replace(".0Z", ".000000Z"))
        assert records(list(rest)) == records(pages[at + 1 :])


BY_NUMBER = {"by": "usn", "deleted": True}


def test_changes_by_number_are_exactly_what_came_after_the_mark(domain: DomainController) -> None:
    with domain.administered() as admin:
        for one in ("left1", "left2"):
            admin.add(name(one), ["user"], {"sAMAccountName": one, "displayName": one})
    described = data(domain, incremental=BY_NUMBER, page_size=1)
    *earlier, last = opened(described).pages(None)
    assert [page.mark for page in earlier] == [None] * len(earlier)
    keys = {one["displayName"]: one["objectGUID"] for one in records([*earlier, last])}
    with domain.administered() as admin:
        for one in ("left1", "left2"):
            admin.delete(name(one))
        for one in ("p7", "p8"):
            admin.modify(name(one), {"mail": [(MODIFY_REPLACE, ["newer@acme.example"])]})
    pages = list(opened(described).pages(None, last.mark))
    found = {one["objectGUID"] for one in records(pages)}
    assert found == {keys[one] for one in ("left1", "left2", "Person 7", "Person 8")}
    for at, page in enumerate(pages[:-1]):
        cursor = json.loads(json.dumps(page.next))
        (*_, end), rest = pages, list(opened(described).pages(cursor, last.mark))
        assert records(rest) == records(pages[at + 1 :])
        assert rest[-1].mark == end.mark
    assert records(list(opened(described).pages(None, pages[-1].mark))) == []


def test_an_ordinary_account_syncs_by_number_and_hears_of_every_change(
    domain: DomainController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, password = IntegrationRef("acme", "main"), f"Reader of {BASE}, 1"
    domain.add_user("reader", password)
    monkeypatch.setenv("READER_PASSWORD", password)
    described = data(domain, incremental={"by": "usn"})
    described["connection"] |= {
        "user": "reader@acme.example",
        "password": {"env": "READER_PASSWORD"},
    }
    with SyncService.open(load_settings(home=tmp_path / "home")) as platform:
        platform.registry.add(ref, "ldap", described)

        def synced(sync_id: str) -> tuple[Mode, int]:
            (outcome,) = platform.sync(USERS_STREAM, [ref], sync_id=sync_id)
            assert outcome.error is None
            return outcome.mode, outcome.counts.fetched

        mode, fetched = synced("first")
        assert (mode, fetched >= PEOPLE) == (Mode.FULL, True)
        assert synced("nothing") == (Mode.INCREMENTAL, 0)
        with domain.administered() as admin:
            admin.modify(name("p9"), {"displayName": [(MODIFY_REPLACE, ["Renamed"])]})
            admin.modify(name("p11"), {"userAccountControl": [(MODIFY_REPLACE, ["546"])]})
        assert synced("changes") == (Mode.INCREMENTAL, 2)
        assert synced("nothing more") == (Mode.INCREMENTAL, 0)
        users = {user["name"]: user["active"] for user in platform.records(USERS_STREAM, ref)}
        assert (users["Renamed"], users["Person 11"]) == (True, False)
