"""`key=value` becomes what a job is told, and every mistake is found before anything starts."""

from __future__ import annotations

import pytest

from elt_assets.client.run_arguments import job_config, pairs, sync_order, typed
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.sync.streams import STREAMS

KEYS = ["org-001:okta", "org-001:scim", "org-002:okta"]


def chosen(job: str, *arguments: str) -> list[str]:
    return sync_order(job, pairs(arguments)).chosen(KEYS)


def test_a_sync_means_one_integration_an_organization_or_all() -> None:
    one = ("organization_id=org-001", "connected_integration_id=okta")
    assert chosen("sync", *one) == ["org-001:okta"]
    assert chosen("sync", "organization_id=org-001") == ["org-001:okta", "org-001:scim"]
    assert chosen("sync_all") == KEYS


def test_batches_and_mode_become_run_configuration() -> None:
    order = sync_order(
        "sync_all", pairs(["num_batches=5", "batch_size=20", "mode=full", "sync_id=monday"])
    )
    config = {"num_batches": 5, "batch_size": 20, "mode": "full"}
    assert order.run_config() == {"ops": {"sync_users": {"config": config}}}
    assert order.sync_id == "monday"
    assert sync_order("sync_all", {}).run_config() == {}


@pytest.mark.parametrize(
    ("job", "arguments", "said"),
    [
        ("sync", [], "sync needs organization_id"),
        ("sync", ["organization_id"], "'organization_id' is not an argument: write key=value"),
        ("sync", ["organization_id=a", "organization_id=b"], "organization_id is given twice"),
        ("sync", ["organization_id=a/b"], "organization 'a/b' is not a valid name"),
        ("sync_all", ["organization_id=a"], "sync_all syncs every integration"),
        ("sync_all", ["pages=3"], "has no argument 'pages'; it has organization_id"),
        ("sync_all", ["batch_size=0"], "batch_size is '0': give a whole number from 1"),
        ("sync_all", ["num_batches=many"], "num_batches is 'many'"),
        ("sync_all", ["mode=compensating"], "give full or incremental"),
        ("sync_all", ["faults=true"], "has no argument 'faults'"),
    ],
)
def test_a_mistake_is_named(job: str, arguments: list[str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        sync_order(job, pairs(arguments))


def test_an_integration_that_the_server_does_not_know_is_named() -> None:
    with pytest.raises(NotFound, match="knows no integration org-003:okta"):
        chosen("sync", "organization_id=org-003", "connected_integration_id=okta")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("org-001", "org-001"),
        ("", ""),
        ('"5"', '"5"'),
    ],
)
def test_values_are_what_they_look_like(text: str, value: object) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_arguments_of_other_jobs_are_their_run_configuration() -> None:
    given = {"ops.archive.config.days": "30", "ops.archive.config.dry_run": "true"}
    assert job_config(given) == {"ops": {"archive": {"config": {"days": 30, "dry_run": True}}}}
    with pytest.raises(InvalidInput, match="ops already has a value of its own"):
        job_config({"ops": "1", "ops.archive": "2"})


def test_another_stream_is_asked_for_by_name() -> None:
    order = sync_order("sync_all", {"stream": "groups", "batch_size": "3"})
    assert order.stream is STREAMS["groups"]
    assert order.run_config() == {"ops": {"sync_groups": {"config": {"batch_size": 3}}}}
    with pytest.raises(InvalidInput, match="stream 'roles': give one of users, groups"):
        sync_order("sync_all", {"stream": "roles"})
