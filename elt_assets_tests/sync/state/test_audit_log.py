"""Who decided or changed what: every entry is there, and none can be tampered with unnoticed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_manager
import pytest

from elt_assets.cli.main import Invocation, run
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.actor import account
from elt_assets.sync.state.config_diff import changed_paths
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, PROVIDER_DATA, Company, World, people

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def company(own_home: Path) -> Iterator[Company]:
    made = Company(own_home, max_delete_share=0.1, max_delete_count=0)
    yield made
    made.platform.close()


@pytest.fixture
def busy(company: Company) -> Company:
    """One in which a few things were decided."""
    company.connect(world=World(people(3)))
    for enabled in (False, True, False, True):
        company.platform.registry.set_enabled(ACME, enabled)
    return company


def actions(company: Company) -> list[str]:
    return [entry.action for entry in company.platform.audit_log.entries()]


def tamper(company: Company, *statements: str) -> None:
    """Change the table as an account may that owns it, whatever triggers there are."""
    on_server = company.platform.settings.operational_url is not None
    with company.platform.database.transaction() as transaction:
        if on_server:
            transaction.execute("ALTER TABLE audit_log DISABLE TRIGGER append_only")
        else:
            for action in ("update", "delete"):
                transaction.execute(f"DROP TRIGGER append_only_audit_log_{action}")
        for statement in statements:
            transaction.execute(statement)


def quarantined(company: Company, name: str) -> None:
    """Sync until deletes wait for a decision: the first sync may wait for a second witness."""
    statuses = [company.sync(sync_id=f"{name}-{number}").status for number in range(2)]
    assert statuses[-1] is Status.QUARANTINED, statuses


def test_every_decision_and_change_is_an_entry(company: Company) -> None:
    world = company.connect(world=World(people(20)))
    company.sync(sync_id="s1")
    company.configure(permission_source_name="acme:main", api_endpoint="https://new.example/v2")
    company.platform.registry.set_enabled(ACME, False)
    company.platform.registry.set_enabled(ACME, True)
    world.records = people(5)
    quarantined(company, "d0")
    company.platform.reject(ACME, "ada")
    company.platform.reopen(ACME)
    quarantined(company, "d1")
    company.platform.approve(ACME, "ada")
    company.platform.undo(USERS, ACME, company.platform.syncs(ACME)[0].sync_id)
    company.platform.rebuild(USERS, ACME)
    company.platform.remove(ACME)
    assert actions(company) == [
        "add",
        "update",
        "disable",
        "enable",
        "reject",
        "reopen",
        "approve",
        "undo",
        "rebuild",
        "remove",
    ]
    entries = company.platform.audit_log.entries()
    assert {entry.partition for entry in entries} == {"acme:main"}
    assert {entry.account for entry in entries} == {account()}
    text = json.dumps([entry.detail for entry in entries])
    for person in people(20):
        assert person["email"] not in text
        assert person["name"] not in text
    assert company.platform.audit_log.verify().problems == []


def test_a_decision_that_fails_is_two_entries(busy: Company) -> None:
    busy.sync()
    busy.break_inserts()
    with pytest.raises(adbc_driver_manager.Error):
        busy.platform.rebuild(USERS, ACME)
    assert actions(busy)[-2:] == ["rebuild", "rebuild failed"]


def test_a_change_that_is_refused_is_none(busy: Company) -> None:
    before = actions(busy)
    with pytest.raises(InvalidInput):
        busy.platform.registry.add(ACME, "rest", PROVIDER_DATA)
    assert not busy.platform.registry.update(ACME, busy.platform.registry.get(ACME).provider_data)
    with pytest.raises(InvalidInput):
        busy.platform.approve(ACME, "ada")
    assert actions(busy) == before


def test_a_whole_log_is_found_whole(busy: Company) -> None:
    found = busy.platform.audit_log.verify()
    assert (found.entries, found.problems) == (5, [])
    assert busy.platform.audit_log.verify(found.head).problems == []


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE audit_log SET account = 'mallory' WHERE sequence = 2", "entry 2 was changed"),
        ("UPDATE audit_log SET acting_as = 'eve' WHERE sequence = 1", "entry 1 was changed"),
        ("UPDATE audit_log SET at = '2020-01-01' WHERE sequence = 5", "entry 5 was changed"),
        ("UPDATE audit_log SET detail = '{\"a\": 1}' WHERE sequence = 3", "entry 3 was changed"),
        ("DELETE FROM audit_log WHERE sequence = 1", "entries 1 to 1 were removed"),
        ("DELETE FROM audit_log WHERE sequence IN (2, 3)", "entries 2 to 3 were removed"),
        ("DELETE FROM audit_log WHERE sequence > 4", "entry 5 .*the end was cut off"),
        (
            "INSERT INTO audit_log SELECT 6, at, account, acting_as, action, partition, detail,"
            " key_id, mac FROM audit_log WHERE sequence = 5",
            "entry 6 was changed or inserted",
        ),
    ],
)
def test_a_log_that_was_tampered_with_is_found(busy: Company, statement: str, says: str) -> None:
    import re

    tamper(busy, statement)
    problems = busy.platform.audit_log.verify().problems
    assert any(re.search(says, problem) for problem in problems), problems


def test_a_kept_head_shows_that_the_end_was_cut_off_on_another_machine(
    busy: Company, own_home: Path
) -> None:
    head = busy.platform.audit_log.verify().head
    tamper(busy, "DELETE FROM audit_log WHERE sequence > 3")
    (own_home / "audit.head").unlink()
    (problem,) = busy.platform.audit_log.verify(head).problems
    assert "the end was cut off" in problem


def test_a_head_that_was_removed_with_the_end_is_missed(busy: Company, own_home: Path) -> None:
    tamper(busy, "DELETE FROM audit_log WHERE sequence > 3")
    (own_home / "audit.head").unlink()
    (problem,) = busy.platform.audit_log.verify().problems
    assert "audit.head is missing next to the key" in problem


@pytest.mark.parametrize("head", ["\u00b2:x", "9" * 5_000 + ":x", "5", ":", "-1:x"])
def test_what_is_no_head_is_named(busy: Company, head: str) -> None:
    with pytest.raises(InvalidInput, match="is no head of the audit log"):
        busy.platform.audit_log.verify(head)


def test_a_key_that_can_be_guessed_is_refused(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARED", "secret")
    monkeypatch.setenv("ELT_ASSETS_AUDIT_KEY", "env:SHARED")
    with (
        SyncService.open(load_settings()) as platform,
        pytest.raises(InvalidInput, match="SHARED has 6 characters"),
    ):
        platform.registry.add(ACME, "rest", PROVIDER_DATA)


def test_an_end_that_was_written_again_is_found(busy: Company) -> None:
    head = busy.platform.audit_log.verify().head
    tamper(busy, "DELETE FROM audit_log WHERE sequence = 5")
    busy.platform.registry.set_enabled(ACME, False)
    (problem,) = busy.platform.audit_log.verify(head).problems
    assert "it was replaced" in problem


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET at = ''", "DELETE FROM audit_log"])
def test_the_database_itself_refuses_changes(busy: Company, statement: str) -> None:
    with (
        pytest.raises(adbc_driver_manager.Error, match="append-only"),
        busy.platform.database.transaction() as transaction,
    ):
        transaction.execute(statement)


def test_without_the_key_nothing_is_decided(busy: Company, own_home: Path) -> None:
    (own_home / "audit.key").rename(own_home / "elsewhere")
    for act in (busy.platform.audit_log.verify, lambda: busy.platform.remove(ACME)):
        with pytest.raises(InvalidInput, match="ELT_ASSETS_AUDIT_KEY"):
            act()
    assert not (own_home / "audit.key").exists()


def test_the_key_is_in_no_table_and_no_other_account_reads_it(
    busy: Company, own_home: Path
) -> None:
    key = own_home / "audit.key"
    assert key.stat().st_mode & 0o077 == 0
    entries = busy.platform.database.rows("SELECT * FROM audit_log")
    assert key.read_text() not in json.dumps(entries)


def test_heads_go_to_the_log(busy: Company, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "elt_assets")
    busy.platform.registry.set_enabled(ACME, False)
    assert str(busy.platform.audit_log.verify().head) in caplog.text


def test_the_person_is_recorded_next_to_the_account(
    busy: Company, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.setenv("USER", "somebody-else")
    assert run(["integrations", "disable", "acme:main", "--as", "ada"], Invocation()) == 0
    assert run(["--as", "grace", "integrations", "enable", "acme:main"], Invocation()) == 0
    monkeypatch.setenv("ELT_ASSETS_AS", "from-the-proxy")
    assert run(["integrations", "disable", "acme:main"], Invocation()) == 0
    monkeypatch.delenv("ELT_ASSETS_AS")
    assert run(["integrations", "enable", "acme:main"], Invocation()) == 0
    capsys.readouterr()
    assert run(["audit", "list", "--json"], Invocation()) == 0
    entries: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [entry["acting_as"] for entry in entries[-4:]] == [
        "ada",
        "grace",
        "from-the-proxy",
        None,
    ]
    assert {entry["account"] for entry in entries} == {account()}


def test_the_command_says_whether_the_log_is_whole(
    busy: Company, capsys: pytest.CaptureFixture[str]
) -> None:
    head = str(busy.platform.audit_log.verify().head)
    assert run(["audit", "verify", "--head", head], Invocation()) == 0
    assert "is intact: 5 entries" in capsys.readouterr().out
    tamper(busy, "UPDATE audit_log SET account = 'mallory' WHERE sequence = 2")
    assert run(["audit", "verify"], Invocation()) == 1
    assert "entry 2 was changed" in capsys.readouterr().err


def test_a_difference_shows_where_and_no_secret() -> None:
    before = {
        "api_endpoint": "https://a.example/v1",
        "headers": {"X-Key": "hunter2"},
        "rate_limit": {"concurrency": 4},
        "gone": [1],
    }
    after = {
        "api_endpoint": "https://me:hunter2@b.example/v1?key=hunter2",
        "headers": {"X-Key": "hunter3"},
        "rate_limit": {"concurrency": 8},
    }
    found = changed_paths(before, after)
    assert "hunter" not in json.dumps(found)
    assert {"path": "rate_limit.concurrency", "before": 4, "after": 8} in found
    assert {
        "path": "api_endpoint",
        "before": "https://a.example/v1",
        "after": "https://b.example/v1",
    } in found
    assert [change["path"] for change in found] == [
        "api_endpoint",
        "gone",
        "headers.X-Key",
        "rate_limit.concurrency",
    ]


def test_an_installation_that_shares_its_key_by_a_setting_needs_no_file(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARED", "a key of all machines")
    monkeypatch.setenv("ELT_ASSETS_AUDIT_KEY", "env:SHARED")
    with SyncService.open(load_settings()) as platform:
        platform.registry.add(ACME, "rest", PROVIDER_DATA)
        assert platform.audit_log.verify().problems == []
        (own_home / "audit.head").unlink()
        found = platform.audit_log.verify()
        assert not found.problems, "another machine may have written it"
        assert not found.compared
    assert not (own_home / "audit.key").exists()
