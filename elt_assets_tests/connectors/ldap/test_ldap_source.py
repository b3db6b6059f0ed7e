"""Entries of a real OpenLDAP: pages, resumption, limits, referrals, changes, single entries."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from ldap3 import MODIFY_ADD, MODIFY_DELETE, MODIFY_REPLACE

from elt_assets.connectors.source import Presence
from elt_assets.errors import PositionRefused, ProviderRefused, ProviderUnavailable
from elt_assets_tests.connectors.ldap.conftest import data, opened, read, records
from elt_assets_tests.testbed.openldap import (
    BASE,
    LIMITED,
    OpenLdap,
    group_name,
    person_name,
)


def test_every_entry_is_listed_once(company: OpenLdap) -> None:
    pages = list(opened(data(company)).pages(None))
    assert [page.count for page in pages] == [10] * 9 + [5]
    found = records(pages)
    assert {record["displayName"] for record in found} == {f"Person {n}" for n in range(95)}
    assert len({record["entryUUID"] for record in found}) == 95


def test_a_listing_goes_on_after_every_page_on_a_new_connection(company: OpenLdap) -> None:
    pages = list(opened(data(company)).pages(None))
    for at, page in enumerate(pages[:-1]):
        rest = list(opened(data(company)).pages(page.next))
        assert records(rest) == records(pages[at + 1 :])


def test_a_listing_goes_on_where_pages_are_now_of_another_length(company: OpenLdap) -> None:
    pages = list(opened(data(company)).pages(None))
    rest = list(opened(data(company, page_size=7)).pages(pages[2].next))
    assert records(rest) == records(pages[3:])


def test_a_place_behind_which_other_entries_stand_now_is_refused(changing: OpenLdap) -> None:
    source = opened(data(changing))
    pages = list(source.pages(None))
    with changing.administered() as admin:
        admin.delete(person_name(3))
    with pytest.raises(PositionRefused, match="the first 20 entries"):
        list(source.pages(pages[1].next))


def test_a_place_beyond_what_there_is_now_is_refused(changing: OpenLdap) -> None:
    source = opened(data(changing))
    pages = list(source.pages(None))
    with changing.administered() as admin:
        for number in range(12, 30):
            admin.delete(person_name(number))
    with pytest.raises(PositionRefused, match="the first 20 entries"):
        list(source.pages(pages[1].next))


def test_a_size_limit_of_the_server_makes_the_listing_incomplete(company: OpenLdap) -> None:
    pages = list(opened(data(company, {"user": LIMITED})).pages(None))
    assert sum(page.count for page in pages) == 25
    assert pages[-1].cut_short is not None
    assert "stopped at its size limit (result 4)" in pages[-1].cut_short


def test_a_limit_of_pages_makes_the_listing_incomplete(company: OpenLdap) -> None:
    pages = list(opened(data(company), max_pages=3).pages(None))
    assert [page.count for page in pages] == [10, 10, 10]
    assert pages[-1].cut_short == "page limit of 3 reached"


def test_a_part_on_another_server_makes_the_listing_incomplete(changing: OpenLdap) -> None:
    with changing.administered() as admin:
        admin.add(
            f"ou=branch,{BASE}",
            ["referral", "extensibleObject"],
            {"ou": "branch", "ref": f"ldap://branch.acme.example/ou=branch,{BASE}"},
            controls=[("2.16.840.1.113730.3.4.2", True, None)],
        )
    (*_, last) = opened(data(changing)).pages(None)
    (doubt,) = last.doubts
    assert doubt.startswith("a part of the searched tree is held by branch.acme.example and was")
    assert len(read(opened(data(changing, referrals="ignore")))) == 30


def test_a_base_on_another_server_is_refused(changing: OpenLdap) -> None:
    with changing.administered() as admin:
        admin.add(
            f"ou=branch,{BASE}",
            ["referral", "extensibleObject"],
            {"ou": "branch", "ref": f"ldap://branch.acme.example/ou=branch,{BASE}"},
            controls=[("2.16.840.1.113730.3.4.2", True, None)],
        )
    with pytest.raises(ProviderRefused, match=r"refers to another server \(branch.acme.example"):
        read(opened(data(changing, base=f"ou=branch,{BASE}")))


def test_a_base_that_is_not_there_is_refused(company: OpenLdap) -> None:
    with pytest.raises(ProviderRefused, match="has no such base, or hides it"):
        read(opened(data(company, base=f"ou=nowhere,{BASE}")))


def test_names_of_attributes_may_be_written_in_any_case(company: OpenLdap) -> None:
    fields = {"external_id": "ENTRYUUID", "name": "displayname"}
    found = read(opened(data(company, fields=fields)))
    assert found[0]["displayname"] == "Person 0"
    assert len({record["ENTRYUUID"] for record in found}) == 95


def test_of_several_values_the_first_in_order_counts_or_all(changing: OpenLdap) -> None:
    with changing.administered() as admin:
        mails = ["z@acme.example", "a@acme.example"]
        admin.modify(person_name(7), {"mail": [(MODIFY_REPLACE, mails)]})
    (one,) = read(opened(data(changing, filter="(uid=p7)")))
    assert one["mail"] == "a@acme.example"
    (one,) = read(opened(data(changing, filter="(uid=p7)", several=["MAIL"])))
    assert one["mail"] == ["a@acme.example", "z@acme.example"]


def test_groups_of_a_person_are_a_list(changing: OpenLdap) -> None:
    with changing.administered() as admin:
        for name in ("b", "a"):
            admin.add(group_name(name), "groupOfNames", {"member": person_name(7)})
    fields = {"external_id": "entryUUID", "groups": "memberOf"}
    (one,) = read(opened(data(changing, filter="(uid=p7)", fields=fields)))
    assert one["memberOf"] == [group_name("a"), group_name("b")]


def test_only_what_changed_since_is_listed(changing: OpenLdap) -> None:
    provider_data = data(changing, incremental={"full_every": "1d", "overlap": "1m"})
    source = opened(provider_data)
    assert source.incremental is not None
    assert source.incremental.full_every == timedelta(days=1)
    everybody = read(source)
    newest = max(record["modifyTimestamp"] for record in everybody)
    later = datetime.fromisoformat(newest) + timedelta(seconds=1)
    while datetime.now(UTC) < later:
        pass
    with changing.administered() as admin:
        admin.modify(person_name(7), {"displayName": [(MODIFY_REPLACE, ["Renamed"])]})
    (changed,) = read(source, later.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    assert changed["displayName"] == "Renamed"
    assert read(source, newest.replace("Z", ".000000Z")) != []


def test_a_missing_entry_is_gone_if_a_search_for_it_says_so(changing: OpenLdap) -> None:
    source = opened(data(changing))
    keys = {record["displayName"]: record["entryUUID"] for record in read(source)}
    with changing.administered() as admin:
        admin.delete(person_name(3))
        admin.modify(person_name(4), {"objectClass": [(MODIFY_ADD, ["uidObject"])]})
    gone, there = keys["Person 3"], keys["Person 4"]
    found = source.probe([gone, there], [keys["Person 1"], keys["Person 2"]])
    assert found == {gone: Presence.GONE, there: Presence.PRESENT}


def test_an_entry_that_the_filter_leaves_out_now_is_gone(changing: OpenLdap) -> None:
    source = opened(data(changing, filter="(&(objectClass=inetOrgPerson)(mail=*))"))
    keys = {record["displayName"]: record["entryUUID"] for record in read(source)}
    with changing.administered() as admin:
        admin.modify(person_name(3), {"mail": [(MODIFY_DELETE, [])]})
    found = source.probe([keys["Person 3"]], [keys["Person 1"]])
    assert found == {keys["Person 3"]: Presence.GONE}


def test_without_a_control_that_is_there_nothing_is_known(changing: OpenLdap) -> None:
    source = opened(data(changing))
    keys = {record["displayName"]: record["entryUUID"] for record in read(source)}
    with changing.administered() as admin:
        admin.delete(person_name(1))
        admin.delete(person_name(3))
    missing = keys["Person 3"]
    assert source.probe([missing], [keys["Person 1"]]) == {missing: Presence.UNKNOWN}
    assert source.probe([missing], []) == {missing: Presence.UNKNOWN}


def test_many_missing_entries_are_searched_for_at_once(changing: OpenLdap) -> None:
    source = opened(data(changing))
    keys = [record["entryUUID"] for record in read(source)]
    before = source.requests
    missing = [f"{number:08x}-0000-1000-8000-000000000000" for number in range(120)]
    found = source.probe([*missing, keys[5]], keys[:2])
    assert found == dict.fromkeys(missing, Presence.GONE) | {keys[5]: Presence.PRESENT}
    assert source.requests - before == 1 + 3


def test_a_size_limit_says_nothing_of_missing_entries(changing: OpenLdap) -> None:
    keys = [record["entryUUID"] for record in read(opened(data(changing)))]
    source = opened(data(changing, {"user": LIMITED}))
    assert set(source.probe(keys[1:], keys[:1]).values()) == {Presence.UNKNOWN}


def test_a_closed_source_reads_nothing_more(company: OpenLdap) -> None:
    source = opened(data(company))
    pages = source.pages(None)
    next(pages)
    source.close()
    with pytest.raises(ProviderUnavailable, match="ended the connection"):
        next(pages)


def test_several_sources_are_read_at_once(company: OpenLdap) -> None:
    found: list[int] = []

    def work() -> None:
        found.append(len(read(opened(data(company)))))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [95] * 8
