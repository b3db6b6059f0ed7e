from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.demo.people import (
    Churn,
    Population,
    number_of,
    person_id,
    population,
    truth,
)

SMALL = st.integers(min_value=0, max_value=150)
ROUNDS = st.integers(min_value=1, max_value=6)


def everybody(people: Population) -> dict[int, bytes]:
    return {number: msgspec.json.encode(people.person(number)) for number in people.numbers}


def record(**fields: object) -> dict[str, object]:
    return {"id": "u-1", "lastUpdated": "2026-01-01T00:00:00Z"} | fields


def test_another_process_finds_the_same_people() -> None:
    code = (
        "import hashlib, json; from elt_assets.demo.people import population;"
        "people = json.dumps(list(population(7, 'org', 'crm', 300, 4).records()));"
        "print(hashlib.sha256(people.encode()).hexdigest())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    people = json.dumps(list(population(7, "org", "crm", 300, 4).records()))
    assert hashlib.sha256(people.encode()).hexdigest() == elsewhere


def test_different_seeds_and_integrations_have_different_people() -> None:
    worlds = [
        list(population(*who, 50).records())
        for who in [(1, "a", "bc"), (2, "a", "bc"), (1, "ab", "c"), (1, "a", "bd"), (1, "b", "bc")]
    ]
    ids = [[person["id"] for person in world] for world in worlds]
    names = [tuple(person["profile"]["displayName"] for person in world) for world in worlds]
    assert all(listed == ids[0] for listed in ids)
    assert len(set(names)) == len(worlds)


@given(users=SMALL, rounds=ROUNDS)
def test_a_later_round_can_be_reached_directly_or_step_by_step(users: int, rounds: int) -> None:
    stepped = population(3, "org", "crm", users)
    for _ in range(rounds - 1):
        stepped = stepped.next()
    assert everybody(stepped) == everybody(population(3, "org", "crm", users, rounds))


@given(users=SMALL, rounds=ROUNDS, share=st.sampled_from([0.0, 0.02, 0.3, 0.7]))
def test_people_who_left_do_not_return_and_numbers_are_not_reused(
    users: int, rounds: int, share: float
) -> None:
    people = population(3, "org", "crm", users, churn=Churn(share, share, share))
    ever = set(people.numbers)
    for _ in range(rounds):
        later = people.next()
        joined = set(later.numbers) - set(people.numbers)
        assert not joined & ever
        assert list(later.numbers) == sorted(set(later.numbers))
        ever |= joined
        people = later


@given(users=SMALL, rounds=ROUNDS)
def test_people_who_stay_change_with_a_later_time_or_not_at_all(users: int, rounds: int) -> None:
    before = population(3, "org", "crm", users, rounds)
    after = before.next()
    changed = 0
    for number in set(before.numbers) & set(after.numbers):
        was, now = before.person(number), after.person(number)
        if was != now:
            changed += 1
            assert now.last_updated > was.last_updated
            assert truth([msgspec.to_builtins(was)]) != truth([msgspec.to_builtins(now)])
            assert (now.id, now.profile.email) == (was.id, was.profile.email)
    assert changed == sum(rounds[-1] == after.round for rounds in after.changes.values())


def test_a_round_changes_five_percent_and_exchanges_two() -> None:
    before = population(3, "org", "crm", 1_000, 3)
    after = before.next()
    stayed = set(before.numbers) & set(after.numbers)
    assert len(set(before.numbers) - stayed) == 20
    assert len(set(after.numbers) - stayed) == 20
    assert sum(before.person(number) != after.person(number) for number in stayed) == 50


def test_even_a_small_world_shows_every_kind_of_change() -> None:
    before = population(3, "org", "crm", 10)
    after = before.next()
    stayed = set(before.numbers) & set(after.numbers)
    assert len(stayed) == 9
    assert set(after.numbers) - stayed == {11}
    assert sum(before.person(number) != after.person(number) for number in stayed) == 1


def test_a_round_moves_names_departments_and_statuses() -> None:
    before = population(3, "org", "crm", 2_000)
    after = before.next()
    moved = set()
    for number in set(before.numbers) & set(after.numbers):
        was, now = before.person(number), after.person(number)
        moved |= {"name"} if was.profile.display_name != now.profile.display_name else set()
        moved |= {"department"} if was.profile.department != now.profile.department else set()
        moved |= {"status"} if was.status != now.status else set()
    assert moved == {"name", "department", "status"}


def test_addresses_are_ascii_and_unique_though_some_names_are_not() -> None:
    people = list(population(3, "Org_1", "crm", 2_000).records())
    emails = [person["profile"]["email"] for person in people]
    names = [person["profile"]["displayName"] for person in people]
    assert len(set(emails)) == len(emails)
    assert all(email.isascii() and email.endswith("@org-1.example") for email in emails)
    assert 0 < sum(not name.isascii() for name in names) < len(names) / 2


def test_a_person_has_the_documented_shape() -> None:
    person = json.loads(msgspec.json.encode(population(3, "org", "crm", 1).person(1)))
    assert person.keys() == {"id", "profile", "status", "lastUpdated"}
    assert person["profile"].keys() == {
        "displayName",
        "firstName",
        "lastName",
        "email",
        "department",
        "title",
    }
    assert person["id"] == "u-000001"
    assert person["status"] in ("ACTIVE", "SUSPENDED")
    assert person["lastUpdated"].endswith("Z")


@given(number=st.integers(min_value=0, max_value=10**10))
def test_an_id_gives_its_number(number: int) -> None:
    assert number_of(person_id(number)) == number


@given(text=st.text(max_size=12) | st.from_regex(r"u-[0-9٣]{1,9}"))
def test_no_other_text_leads_to_a_number(text: str) -> None:
    number = number_of(text)
    assert number is None or person_id(number) == text


def test_truth_maps_a_record_as_the_platform_should() -> None:
    assert truth(
        [
            record(
                profile={
                    "displayName": "Ada Lovelace",
                    "email": "ada@org.example",
                    "department": "R&D",
                    "title": None,
                },
                status="ACTIVE",
            )
        ]
    ) == [
        {
            "external_id": "u-1",
            "name": "Ada Lovelace",
            "email": "ada@org.example",
            "active": True,
            "attributes": {"department": "R&D", "title": None},
        }
    ]


def test_of_records_with_one_id_the_newest_counts_then_the_last() -> None:
    old = record(status="ACTIVE", lastUpdated="2026-01-01T00:00:00Z")
    new = record(status="SUSPENDED", lastUpdated="2026-01-02T00:00:00Z")
    assert [user["active"] for user in truth([new, old])] == [False]
    assert [user["active"] for user in truth([old, new])] == [False]
    last = record(status="SUSPENDED")
    assert [user["active"] for user in truth([old, last])] == [False]
    assert [user["active"] for user in truth([last, old])] == [True]


def test_a_record_without_an_id_is_left_out_and_a_number_is_an_id() -> None:
    nobodies: list[object] = [
        None,
        5,
        [],
        {},
        record(id=None),
        record(id=""),
        record(id=True),
        record(id=[]),
    ]
    assert truth(nobodies) == []
    assert [user["external_id"] for user in truth([record(id=17), record(id="b")])] == ["17", "b"]
