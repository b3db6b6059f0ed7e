"""The demo, end to end: real processes, real HTTP, and an oracle that can say no."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from elt_assets.cli.commands.demo import demo as demo_module
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.demo.registration import provider_data
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Counts, Outcome, Status
from elt_assets_tests.cli.conftest import Command, Ended, Process, wait_for

SYNC_KEYS = {
    *("partition", "stream", "sync_id", "status", "fetched", "staged", "rejected"),
    *("duplicates", "inserts", "updates", "deletes", "withheld_deletes", "unchanged", "latest"),
    *("withheld_updates", "withheld_inserts", "pending_deletes", "future_times", "requests"),
    "unreadable_times",
    *("resumed_batches", "certificate", "error"),
}
USER_KEYS = {
    *("id", "external_id", "organization_id", "connected_integration_id", "name", "email"),
    *("active", "attributes", "content_hash", "first_seen", "last_updated"),
}
CHANGE_KEYS = {
    *("sync_id", "sequence", "change_type", "id", "external_id", "before", "after"),
    "detected_at",
}
FIRST, SECOND = "demo-001:people-001", "demo-002:people-001"
SMALL = ("--integrations", "2", "--users", "30")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def finished(home: Command) -> Ended:
    """A demo of two integrations, thirty people each, two rounds; finished."""
    return Process(home.folder)("demo", *SMALL, "--json")


def test_a_demo_ends_equal_to_the_provider_with_status_0(finished: Ended) -> None:
    assert finished.status == 0, finished
    document = finished.document
    assert document["equal"] is True
    assert [round_["round"] for round_ in document["rounds"]] == [1, 2]
    assert all(round_["equal"] for round_ in document["rounds"])
    settled = [entry for round_ in document["rounds"] for entry in round_["sync"]]
    assert document["heard"] == {
        "users.inserted": sum(entry["inserts"] for entry in settled),
        "users.updated": sum(entry["updates"] for entry in settled),
        "users.deleted": sum(entry["deletes"] for entry in settled),
    }
    assert document["sync"] == document["rounds"][-1]["sync"]
    first, second = document["rounds"]
    assert first["truth"] == {FIRST: 30, SECOND: 30}
    for entry in first["sync"]:
        assert set(entry) == SYNC_KEYS
        assert (entry["status"], entry["staged"], entry["inserts"]) == ("applied", 30, 30)
        assert entry["certificate"] == {"complete": True, "reasons": []}
    for entry in second["sync"]:
        assert min(entry["inserts"], entry["updates"], entry["deletes"]) > 0
        assert entry["latest"] == second["truth"][entry["partition"]]


def test_progress_is_not_on_standard_output_and_has_no_colours_without_a_terminal(
    finished: Ended,
) -> None:
    assert f"{FIRST} applied: 30 staged, 30 inserted" in finished.err
    assert "\x1b" not in finished.out + finished.err


@pytest.mark.usefixtures("finished")
def test_users_have_the_documented_shape_in_order_of_external_id(home: Command) -> None:
    users = home("users", FIRST, "--json").document
    assert all(set(user) == USER_KEYS for user in users)
    assert [user["external_id"] for user in users] == sorted(user["external_id"] for user in users)
    assert set(users[0]["attributes"]) == {"department", "title"}
    assert home("users", FIRST, "--json", "--limit", "2").document == users[:2]


@pytest.mark.usefixtures("finished")
def test_changes_have_the_documented_shape_in_order(home: Command, finished: Ended) -> None:
    changes = home("changes", FIRST, "--json").document
    assert all(set(change) == CHANGE_KEYS for change in changes)
    first, second = (round_["sync"][0]["sync_id"] for round_ in finished.document["rounds"])
    of_second = [change for change in changes if change["sync_id"] == second]
    assert changes == [change for change in changes if change["sync_id"] == first] + of_second
    assert [c["sequence"] for c in of_second] == sorted(c["sequence"] for c in of_second)
    assert home("changes", FIRST, "--sync-id", second, "--json").document == of_second
    for change in of_second:
        assert (change["before"] is None) == (change["change_type"] == "INSERT")
        assert (change["after"] is None) == (change["change_type"] == "DELETE")


@pytest.mark.usefixtures("finished")
def test_the_other_listings_agree(home: Command, finished: Ended) -> None:
    last = {entry["partition"]: entry for entry in finished.document["sync"]}
    for counted in home("counts", "--json").document:
        entry = last[counted["partition"]]
        assert counted["staged"] == entry["staged"]
        assert counted["unique"] + counted["duplicates"] == entry["staged"]
        assert counted["latest"] == entry["latest"]
    ledger = home("syncs", FIRST, "--json").document
    assert [row["sync_id"] for row in ledger] == [
        round_["sync"][0]["sync_id"] for round_ in reversed(finished.document["rounds"])
    ]
    assert ledger[0]["inserts"] == last[FIRST]["inserts"]
    assert home("rejected", FIRST, "--json").document == []
    assert home("rejected", FIRST).err == "no rejected records\n"


@pytest.mark.usefixtures("finished")
def test_a_table_says_how_many_rows_it_leaves_out(home: Command) -> None:
    users = home("users", FIRST, "--limit", "3")
    assert len(users.out.splitlines()) == 4
    assert "more users: --limit 0 shows all" in users.err
    assert len(home("users", FIRST, "--limit", "0").out.splitlines()) == 31
    changes = home("changes", FIRST).out
    assert "UPDATE" in changes
    assert " → " in changes
    assert SECOND in home("counts").out
    assert SECOND in home("syncs").out


@pytest.mark.usefixtures("finished")
def test_the_token_is_only_in_its_file_and_only_the_owner_can_read_it(home: Command) -> None:
    token_file = home.home / "demo" / "token"
    token = token_file.read_bytes().strip()
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.home.stat().st_mode) == 0o700
    holders = [
        path for path in home.home.rglob("*") if path.is_file() and token in path.read_bytes()
    ]
    assert holders == [token_file]


@pytest.mark.campaign  # two demos
@pytest.mark.usefixtures("finished")
def test_a_second_demo_starts_clean_and_its_provider_can_be_restarted(home: Command) -> None:
    own = IntegrationRef("demo-007", "ours")
    data = provider_data("https://directory.acme.example", own, {"env": "OWN_TOKEN"})
    added = home(
        *("integrations", "add", "--org", "demo-007", "--id", "ours", "--provider", "rest"),
        *("--data", "-"),
        stdin=json.dumps(data),
    )
    assert added.status == 0, added

    again = home("demo", "--integrations", "1", "--users", "30", "--seed", "7", "--page-size", "7")
    assert again.status == 0, again
    assert "removed the 2 integrations of an earlier demo" in again.err
    listed = home("integrations", "list", "--json").document
    assert [one["partition"] for one in listed] == ["demo-007:ours", FIRST]
    heading, first, *_, last = again.out.splitlines()
    assert heading == "Round 1: first sync"
    assert "provider holds" in first
    assert "Every result equals what the provider holds." in again.out

    _, _, arguments = last.partition(" provider ")
    with Process(home.folder).start("provider", *arguments.split()) as provider:
        assert provider.stdout
        assert "serves 1 integrations of 30 people" in provider.stdout.readline()
        synced = home("sync", FIRST, "--json")
        provider.terminate()
    assert synced.status == 0, synced
    (entry,) = synced.document["sync"]
    assert (entry["status"], entry["staged"], entry["unchanged"]) == ("unchanged", 30, 30)


def test_a_demo_option_out_of_range_is_one_line_of_error(elt_assets: Command) -> None:
    assert "users: -3 is out of range" in elt_assets("demo", "--users", "-3").complaint


def test_a_sync_that_reports_success_without_the_users_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(refs: list[IntegrationRef], *_: Any) -> list[Outcome]:
        return [
            Outcome(
                partition=ref.partition_key,
                stream="users",
                sync_id="s",
                status=Status.APPLIED,
                counts=Counts(staged=30, inserts=30, latest=30),
            )
            for ref in refs
        ]

    monkeypatch.setenv("ELT_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(demo_module, "run_syncs", lying)
    ended = CliRunner().invoke(demo_module.demo, [*SMALL, "--json"], standalone_mode=False)
    assert ended.return_value == 1, ended
    assert json.loads(ended.stdout)["equal"] is False


def test_the_command_that_the_provider_prints_connects_it(
    elt_assets: Command, elt_assets_process: Process
) -> None:
    with elt_assets_process.start("provider", "--users", "12", "--integrations", "1") as provider:
        assert provider.stdout
        told = []
        while not told or told[-1] != "YAML\n":
            told.append(provider.stdout.readline())
        begin = next(i for i, line in enumerate(told) if "integrations add" in line)
        arguments = told[begin].partition(" integrations add ")[2].partition(" <<")[0].split()
        data = "".join(told[begin + 1 : -1])
        assert elt_assets("integrations", "add", *arguments, stdin=data).status == 0
        tested = elt_assets("integrations", "test", FIRST, "--json")
        shown = elt_assets("integrations", "test", FIRST)
        provider.terminate()
    document = tested.document
    assert (document["count"], document["has_more"], document["declared_total"]) == (10, True, 12)
    assert len(document["records"]) == 10
    assert document["records"][0]["external_id"] == "u-000001"
    assert "10 records on this page of 12 declared" in shown.err
    assert elt_assets("counts", FIRST, "--json").document[0]["latest"] == 0


def test_ctrl_c_ends_the_provider_in_order(elt_assets_process: Process) -> None:
    import signal

    with elt_assets_process.start("provider", "--users", "1") as provider:
        assert provider.stdout
        assert "serves" in provider.stdout.readline()
        provider.send_signal(signal.SIGINT)
        _, err = provider.communicate()
    assert provider.returncode == 0
    assert err.splitlines()[-1] == "stopped"


def test_a_port_in_use_is_one_line(elt_assets: Command) -> None:
    with ProviderProcess(DemoLayout(users=1)) as running:
        port = str(running.port)
        assert f"port {port}" in elt_assets("provider", "--port", port).complaint
        assert f"port {port} cannot be used" in elt_assets("dev", "--port", port).complaint


def test_a_killed_demo_leaves_no_provider_behind(elt_assets_process: Process) -> None:
    with elt_assets_process.start("demo", "--users", "50000", "--integrations", "1") as running:
        assert running.stderr
        line = running.stderr.readline()
        url = line.split()[0]
        running.kill()
        running.communicate()
    import urllib3

    def gone() -> bool:
        try:
            urllib3.PoolManager().request("GET", url, retries=False, timeout=5)
        except urllib3.exceptions.HTTPError:
            return True
        return False

    wait_for(gone)


@pytest.mark.campaign  # a demo of three streams
def test_a_demo_with_groups_compares_them_too(elt_assets: Command) -> None:
    ended = elt_assets("demo", "--integrations", "1", "--users", "40", "--groups")
    assert ended.status == 0, ended
    assert ended.out.count(" group_memberships ") == 2, "one for each round"
    assert "Every result equals what the provider holds." in ended.out
    members = elt_assets("records", "group_memberships", FIRST, "--json").document
    assert len(members) == 40
