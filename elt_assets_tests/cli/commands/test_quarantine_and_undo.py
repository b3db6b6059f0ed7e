"""Deciding and going back from the command line, over a real provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets_tests.cli.conftest import Command, Process, connect, sync_without_a_command

REF = IntegrationRef("demo-001", "people-001")
NAME = str(REF)


@pytest.fixture
def provider() -> Iterator[ProviderProcess]:
    with ProviderProcess(DemoLayout(organizations=1, integrations=1, users=30)) as running:
        yield running


@pytest.fixture
def quarantined(elt_assets: Command, provider: ProviderProcess) -> Command:
    """Thirty users, of whom the provider then lists twelve."""
    connect(elt_assets, provider, REF)
    assert sync_without_a_command(elt_assets, REF, "s1") is Status.APPLIED
    leavers = [user["external_id"] for user in provider.truth(REF)[12:]]
    provider.edit(REF, remove=leavers)
    assert sync_without_a_command(elt_assets, REF, "s2") is Status.QUARANTINED
    return elt_assets


def users_of(command: Command, *more: str) -> list[str]:
    return [user["external_id"] for user in command("users", NAME, "--json", *more).document]


def test_withheld_deletes_are_listed_approved_and_can_be_undone(
    quarantined: Command, elt_assets_process: Process, provider: ProviderProcess
) -> None:
    (waiting,) = quarantined("quarantine", "list", "--json").document
    assert (waiting["partition"], waiting["withheld_deletes"]) == (NAME, 18)
    assert "18 of 30 would be deleted" in waiting["reasons"][0]
    ended = elt_assets_process("quarantine", "approve", NAME, "--json")
    assert ended.status == 0, ended
    (approved,) = ended.document["sync"]
    assert approved["deletes"] == 18
    assert users_of(quarantined) == [user["external_id"] for user in provider.truth(REF)]
    assert quarantined("undo", NAME, "--sync-id", approved["sync_id"]).status == 0
    assert len(users_of(quarantined)) == 30


def test_rejected_deletes_keep_the_users_and_leave_nothing_waiting(quarantined: Command) -> None:
    assert quarantined("quarantine", "reject", NAME, "--as", "ada").status == 0
    assert len(users_of(quarantined)) == 30
    (rejected,) = quarantined("quarantine", "list", "--json").document
    assert (rejected["state"], rejected["changes"]) == ("rejected", 18)
    assert rejected["decided_by"] == "ada"
    assert "nothing waits" in quarantined("quarantine", "approve", NAME).complaint
    (row, _) = quarantined("syncs", NAME, "--json").document
    assert (row["decision"], row["decided_by"]) == ("rejected", "ada")


def test_a_rejection_ends_when_it_is_reopened(quarantined: Command) -> None:
    past = quarantined("quarantine", "reject", NAME, "--until", "2001-01-01")
    assert past.status == 1
    assert "has ended already" in past.complaint
    assert quarantined("quarantine", "reject", NAME, "--until", "2999-01-01").status == 0
    assert "2999-01-01" in quarantined("quarantine", "list").out
    assert sync_without_a_command(quarantined, REF, "s3") is not Status.QUARANTINED
    assert "18 rejections ended" in quarantined("quarantine", "reopen", NAME).err
    assert sync_without_a_command(quarantined, REF, "s4") is Status.QUARANTINED
    assert "nothing is rejected" in quarantined("quarantine", "reopen", NAME).complaint


def test_the_past_can_be_read_and_the_table_rebuilt(quarantined: Command) -> None:
    assert users_of(quarantined, "--as-of", "2001-01-01") == []
    assert len(users_of(quarantined, "--as-of", "2999-01-01T00:00:00")) == 30
    rebuilt = quarantined("rebuild", NAME, "--json").document
    assert (rebuilt["before"], rebuilt["after"]) == (30, 30)


def test_undoing_an_unknown_sync_is_one_clear_error(quarantined: Command) -> None:
    assert quarantined("undo", NAME, "--sync-id", "s9").complaint == (
        f"{NAME} has no sync s9; `elt-assets syncs {NAME}` lists them"
    )


def test_mapping_again_needs_an_earlier_extraction(quarantined: Command) -> None:
    complaint = quarantined("sync", NAME, "--retry-rejected").complaint
    assert complaint == f"{NAME}: the newest sync has no rejected records to map again"
