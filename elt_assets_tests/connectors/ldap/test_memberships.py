"""Memberships of a real OpenLDAP's groups: nested, circular, without an entry, resumed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from elt_assets.connectors.ldap import memberships
from elt_assets.connectors.source import Presence
from elt_assets_tests.connectors.ldap.conftest import data, opened, read, records
from elt_assets_tests.testbed.openldap import BASE, OpenLdap, group_name, openldap, person_name

MEMBERS = {
    "staff": {"p1", "p2", "p3", "p4", "board", "chairs"},
    "board": {"p2", "p3", "p4", "p1", "chairs", "staff"},
    "chairs": {"p4", "p1", "p2", "p3", "staff", "board"},
    "leavers": {"p5"},
}


def names(server: OpenLdap) -> dict[str, str]:
    """What stands behind each key."""
    users = read(opened(data(server)))
    groups = read(opened(data(server), "groups"))
    return {one["entryUUID"]: one["displayName"].replace("Person ", "p") for one in users} | {
        one["entryUUID"]: one["cn"] for one in groups
    }


def pairs(server: OpenLdap, found: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Members by group; each membership must have come once, of the right kind."""
    named = names(server)
    result: dict[str, set[str]] = {}
    for record in found:
        member = named[record["member"]]
        assert record["kind"] == ("Group" if member in MEMBERS else "User")
        assert member not in result.setdefault(named[record["group"]], set())
        result[named[record["group"]]].add(member)
    return result


def test_members_of_groups_in_groups_belong_to_the_outer_one(company: OpenLdap) -> None:
    found = read(opened(data(company), "group_memberships"))
    assert pairs(company, found) == MEMBERS


def test_without_nesting_a_group_has_the_members_that_it_names(company: OpenLdap) -> None:
    provider_data = data(company)
    provider_data["streams"]["group_memberships"] |= {"members": {}}
    found = pairs(company, read(opened(provider_data, "group_memberships")))
    assert found == {
        "staff": {"p1", "board"},
        "board": {"p2", "p3", "chairs"},
        "chairs": {"p4", "staff"},
        "leavers": {"p5"},
    }


def test_memberships_go_on_after_every_page(
    company: OpenLdap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memberships, "_ON_A_PAGE", 4)
    pages = list(opened(data(company), "group_memberships").pages(None))
    assert len(pages) > 4
    for at, page in enumerate(pages[:-1]):
        rest = list(opened(data(company), "group_memberships").pages(page.next))
        assert records(rest) == records(pages[at + 1 :])


def test_missing_memberships_are_looked_for_in_their_groups(changing: OpenLdap) -> None:
    with changing.administered() as admin:
        for name in ("a", "b"):
            members = [person_name(number) for number in range(3)]
            admin.add(group_name(name), "groupOfNames", {"member": members})
    source = opened(data(changing), "group_memberships")
    keys = [msgspec.json.encode([one["group"], one["member"]]).decode() for one in read(source)]
    with changing.administered() as admin:
        admin.modify(group_name("a"), {"member": [("MODIFY_DELETE", [person_name(1)])]})
        admin.delete(group_name("b"))
    left = {msgspec.json.encode([one["group"], one["member"]]).decode() for one in read(source)}
    assert len(keys) == 6
    assert len(left) == 2
    found = source.probe(keys, sorted(left))
    assert found == {key: Presence.PRESENT if key in left else Presence.GONE for key in keys}


def test_a_member_that_may_not_be_read_makes_the_listing_incomplete() -> None:
    hidden = f"cn=secret,ou=hidden,{BASE}"
    entries = [
        f"dn: ou=hidden,{BASE}\nobjectClass: organizationalUnit\nou: hidden\n\n",
        f"dn: {hidden}\nobjectClass: organizationalRole\ncn: secret\n\n",
        f"dn: {group_name('a')}\nobjectClass: groupOfNames\ncn: a\nmember: {hidden}\n"
        f"member: {BASE}\n\n",
    ]
    with openldap(entries) as server:
        (page,) = opened(data(server), "group_memberships").pages(None)
    # The hidden entry is answered as one that is not there; the unit has no person's key.
    assert page.count == 1


def test_members_may_be_named_by_another_attribute() -> None:
    entries = [
        f"dn: uid=ada,ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: ada\ncn: A\nsn: L\n\n",
        f"dn: cn=unix,ou=groups,{BASE}\nobjectClass: posixGroup\ncn: unix\ngidNumber: 1\n"
        "memberUid: ada\nmemberUid: gone\n\n",
    ]
    with openldap(entries) as server:
        provider_data = data(server)
        provider_data["streams"]["group_memberships"] |= {
            "filter": "(objectClass=posixGroup)",
            "members": {"attribute": "memberUid", "names": "uid"},
        }
        (user,) = read(opened(provider_data))
        (found,) = read(opened(provider_data, "group_memberships"))
    assert (found["member"], found["kind"]) == (user["entryUUID"], "User")
