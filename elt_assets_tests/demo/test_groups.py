"""Departments as groups: pages over them, and what they amount to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from elt_assets.demo.edits import Edits
from elt_assets.demo.groups import departments, groups_page, groups_truth, members_page
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.world import Directory
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef

REF = IntegrationRef("demo-001", "people-001")


@pytest.fixture
def directory() -> Directory:
    return Directory(DemoLayout(integrations=1, organizations=1, users=60))


def walked(page: Any) -> list[dict[str, Any]]:
    """Every record of a listing, page after page."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        data = page({"cursor": cursor, "limit": "3"})["data"]
        assert len(data["items"]) <= 3
        found += data["items"]
        cursor = data["next"]
    assert data["total"] == len(found)
    return found


def test_everybody_is_in_the_group_of_their_department(directory: Directory) -> None:
    snapshot = directory.snapshot(REF)
    groups = walked(lambda query: groups_page(snapshot, query, 10))
    members = {
        (group["id"], member["id"])
        for group in groups
        for member in walked(lambda query, g=group: members_page(snapshot, g["id"], query, 10))
    }
    names = {group["id"]: group["name"] for group in groups}
    assert {(names[group], member) for group, member in members} == {
        (person["attributes"]["department"], person["external_id"]) for person in snapshot.truth()
    }
    truth = groups_truth(snapshot)
    assert {row["external_id"] for row in truth["groups"]} == names.keys()
    assert {
        (row["group_external_id"], row["member_external_id"]) for row in truth["group_memberships"]
    } == members


def test_the_same_people_give_the_same_groups(directory: Directory) -> None:
    again = Directory(directory.layout).snapshot(REF)
    assert departments(again) == departments(directory.snapshot(REF))


def test_a_person_who_changes_department_changes_groups(directory: Directory) -> None:
    before = groups_truth(directory.snapshot(REF))
    changes = {"change": [{"who": 1, "set": {"profile": {"department": "Whaling"}}}]}
    snapshot = directory.edit(REF, msgspec.convert(changes, Edits))
    after = groups_truth(snapshot)
    assert {group["name"] for group in after["groups"]} >= {"Whaling"}
    assert len(after["group_memberships"]) == len(before["group_memberships"])


def test_an_unknown_integration_is_refused(directory: Directory) -> None:
    snapshot = directory.snapshot(REF)
    with pytest.raises(NotFound, match="group g-nobody does not exist"):
        members_page(snapshot, "g-nobody", {}, 10)
    with pytest.raises(InvalidInput, match="limit must be"):
        groups_page(snapshot, {"limit": "0"}, 10)
