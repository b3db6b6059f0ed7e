"""Streams beyond users at the command line: synced together, read by name."""

from __future__ import annotations

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import ProviderRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS
from elt_assets_tests.cli.conftest import Command
from elt_assets_tests.connectors.rest.test_nested_lists import Directory, data
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.sync.worlds import Company, World, people

ACME, PLAIN = IntegrationRef("acme", "main"), IntegrationRef("acme", "plain")
USERS = {
    "path": "/users",
    "records": "items",
    "pagination": {"type": "none"},
    "fields": {"external_id": "id", "name": "name"},
}


def connect(command: Command, provider: Provider, directory: Directory) -> None:
    """An integration with all streams, and one with users alone."""

    def answer(asked: Asked) -> Reply:
        if asked.path == "/users":
            return as_json({"items": [{"id": "u1", "name": "Ada"}]})
        return directory.answer(asked)

    provider.answer = answer
    given = data(provider.url)
    given["streams"]["users"] = USERS
    with SyncService.open(load_settings(home=command.home)) as platform:
        platform.registry.add(PLAIN, "rest", {**given, "streams": {"users": USERS}})
        platform.registry.add(ACME, "rest", given)


@pytest.mark.campaign  # a dozen processes
def test_every_stream_is_synced_and_can_be_read(elt_assets: Command) -> None:
    directory = Directory({"a": ["u1", "u2", "u3"], "b": []})
    with Provider() as provider:
        connect(elt_assets, provider, directory)
        first = elt_assets("sync", "--all", "--json")
        assert first.status == 0, first
        assert [
            (entry["partition"], entry["stream"], entry["inserts"])
            for entry in first.document["sync"]
        ] == [
            ("acme:plain", "users", 1),
            ("acme:main", "users", 1),
            ("acme:main", "groups", 2),
            ("acme:main", "group_memberships", 3),
        ]
        directory.groups["a"].remove("u1")
        again = elt_assets("sync", "acme:main", "--stream", "group_memberships")
        assert again.status == 0, again
        assert "group_memberships" in again.out
        assert "acme:main group_memberships applied: 2 staged" in again.err
    groups = elt_assets("records", "groups", "acme:main", "--json").document
    assert [group["external_id"] for group in groups] == ["a", "b"]
    members = elt_assets("records", "group_memberships", "acme:main")
    assert "member_external_id" in members.out
    assert "u3" in members.out
    assert "u1" not in members.out
    changes = elt_assets("changes", "acme:main", "--stream", "group_memberships", "--json").document
    assert [(change["change_type"], change["external_id"]) for change in changes][3:] == [
        ("DELETE", "a / u1")
    ]
    (counted,) = elt_assets("counts", "--stream", "groups", "--json").document
    assert (counted["partition"], counted["latest"]) == ("acme:main", 2)


def test_past_syncs_say_whether_their_listing_is_complete(elt_assets: Command) -> None:
    company = Company(elt_assets.home)
    world = company.connect(ACME, World(people(30), total=30))
    company.sync(sync_id="whole")
    world.total = 300
    company.sync(sync_id="in-part")
    world.fail_at[0] = ProviderRefused("401")
    company.sync(sync_id="refused")
    company.platform.close()
    why = "the provider counts 300 records and listed 30"
    rows = elt_assets("syncs", "--json").document
    assert [(row["sync_id"], row["complete"], row["why_incomplete"]) for row in rows] == [
        ("refused", None, None),
        ("in-part", False, why),
        ("whole", True, None),
    ]
    assert why in elt_assets("syncs").out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("sync", "acme:plain", "--stream", "groups"), 1, "acme:plain has no stream groups"),
        (("records", "roles", "acme:main"), 2, f"choose {', '.join(STREAMS)}"),
        (("integrations", "test", "acme:plain", "--stream", "groups"), 1, "no stream 'groups'"),
        (
            ("sync", "acme:main", "--incremental", "--stream", "groups"),
            1,
            "acme:main cannot be synced incrementally: its provider_data has no `incremental` "
            "for groups",
        ),
    ],
)
def test_a_stream_that_is_not_there_is_named(
    elt_assets: Command, arguments: tuple[str, ...], status: int, said: str
) -> None:
    with Provider() as provider:
        connect(elt_assets, provider, Directory({}))
        ended = elt_assets(*arguments)
    assert ended.status == status
    assert said in ended.err
