"""`elt-assets feed …`: consumers, what they would hear, how far they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.feed.consumers import Consumers
from elt_assets.sync.service import SyncService
from elt_assets_tests.cli.conftest import Command, Ended
from elt_assets_tests.sync.worlds import Company, World, people, person


def published(command: Command) -> None:
    """An installation in the home of this test in which three people came and one was renamed."""
    company = Company(command.home)
    world = company.connect(world=World(people(3)))
    company.sync()
    world.records = [person(0, name="Renamed"), *people(3)[1:]]
    company.sync(sync_id="s2")
    company.platform.close()


def test_a_consumer_is_added_listed_rotated_and_removed(elt_assets: Command) -> None:
    published(elt_assets)
    added = elt_assets("feed", "consumers", "add", "billing", "--org", "acme", "--json").document
    assert added["consumer"] == "billing"
    assert added["token"].startswith("eaf_")
    again = elt_assets("feed", "consumers", "add", "billing")
    assert "billing is registered already" in again.complaint
    (listed,) = elt_assets("feed", "consumers", "list", "--json").document
    assert (listed["organizations"], listed["fields"]) == (["acme"], None)
    assert added["token"] not in elt_assets("feed", "consumers", "list").out
    rotated = elt_assets("feed", "consumers", "rotate", "billing").out.strip()
    assert rotated != added["token"]
    assert elt_assets("feed", "consumers", "remove", "billing").status == 0
    assert "no consumer 'billing'" in elt_assets("feed", "consumers", "rotate", "billing").complaint
    actions = [entry["action"] for entry in elt_assets("audit", "list", "--json").document]
    assert actions[-4:] == [
        "feed consumer add",
        "feed consumer add",
        "feed consumer rotate",
        "feed consumer remove",
    ]


def test_tail_shows_names_of_fields_and_values_only_when_asked(elt_assets: Command) -> None:
    published(elt_assets)
    shown = elt_assets("feed", "tail")
    entries = [json.loads(line) for line in shown.out.splitlines()]
    assert [entry["type"] for entry in entries] == ["users.inserted"] * 3 + ["users.updated"]
    assert entries[-1]["changed"] == ["name"]
    assert "Renamed" not in shown.out
    after = entries[2]["position"]
    values = elt_assets("feed", "tail", "--from", after, "--values", "--limit", "1")
    assert json.loads(values.out)["after"]["name"] == "Renamed"
    assert "is not a position" in elt_assets("feed", "tail", "--from", "x").complaint


def test_status_shows_how_far_a_consumer_is_behind_and_replay_sets_it_back(
    elt_assets: Command,
) -> None:
    published(elt_assets)
    elt_assets("feed", "consumers", "add", "billing")
    (status,) = elt_assets("feed", "status", "--json").document["consumers"]
    assert (status["state"], status["entries"]) == ("up to date", 0)
    assert elt_assets("feed", "replay", "billing", "--from", "0").status == 0
    (status,) = elt_assets("feed", "status", "--json").document["consumers"]
    assert (status["state"], status["entries"]) == ("behind", 4)
    assert "another installation" in (
        elt_assets("feed", "replay", "billing", "--from", "00000000-1").complaint
    )


def test_the_key_of_a_webhook_is_found_from_any_folder(
    elt_assets: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(elt_assets)
    key = elt_assets("feed", "secret").out
    (tmp_path / "webhook.key").write_text(key)
    monkeypatch.chdir(tmp_path)
    place = ("--webhook", "http://127.0.0.1:9/hook", "--secret", "file:webhook.key", "--from", "0")
    added = elt_assets("feed", "consumers", "add", "hook", *place)
    assert "hook is sent every entry after 0" in added.err
    with SyncService.open(load_settings(home=elt_assets.home)) as platform:
        webhook = Consumers(platform.database).get("hook").webhook
    assert webhook is not None
    assert webhook.secret.file == str(tmp_path / "webhook.key")


def test_a_webhook_in_a_closed_network_is_refused_before_anything_is_stored(
    elt_assets: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(elt_assets)
    monkeypatch.setenv("FEED_KEY", elt_assets("feed", "secret").out.strip())
    egress = {"ELT_ASSETS_EGRESS": "public,acme=127.0.0.0/8"}

    def add(name: str, place: str, *more: str) -> Ended:
        options = ("--secret", "env:FEED_KEY", "--webhook", f"{place}/hook", *more)
        return elt_assets("feed", "consumers", "add", name, *options, more=egress)

    for place in ("http://127.0.0.1:9", "https://[::1]", "http://localhost:9", "https://10.1.2.3"):
        assert "which ELT_ASSETS_EGRESS does not open" in add("hook", place).complaint
    assert elt_assets("feed", "consumers", "list", "--json").document == []
    assert "feed consumer add" not in elt_assets("audit", "list").out
    assert add("hook", "http://127.0.0.1:9", "--org", "acme").status == 0
    assert add("later", "https://not.yet.invalid").status == 0


def test_a_webhook_needs_a_key_that_is_kept_elsewhere(
    elt_assets: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(elt_assets)
    add = ("feed", "consumers", "add", "hook", "--webhook", "http://127.0.0.1:9/hook")
    assert "belong together" in elt_assets(*add).err
    assert "never the key itself" in elt_assets(*add, "--secret", "whsec_abc").err
    assert "whsec_abc" not in elt_assets(*add, "--secret", "whsec_abc").err
    assert "FEED_KEY is not set" in elt_assets(*add, "--secret", "env:FEED_KEY").complaint
    key = elt_assets("feed", "secret").out.strip()
    monkeypatch.setenv("FEED_KEY", key)
    assert elt_assets(*add, "--secret", "env:FEED_KEY", "--from", "0").status == 0
    assert "0 entries were delivered" in elt_assets("feed", "deliver").err
    shown = elt_assets("feed", "status", "--json")
    (status,) = shown.document["consumers"]
    assert (status["state"], status["entries"]) == ("failing", 4)
    assert "cannot reach http://127.0.0.1:9" in status["error"]
    assert shown.status == 1
    assert elt_assets("feed", "retry", "hook").status == 0
    assert "no message to hook has failed" in elt_assets("feed", "skip", "hook").complaint
    elt_assets("feed", "deliver")
    assert elt_assets("feed", "skip", "hook").status == 0
    (status,) = elt_assets("feed", "status", "--json").document["consumers"]
    assert (status["state"], status["entries"]) == ("up to date", 0)
    home = b"".join(path.read_bytes() for path in elt_assets.home.rglob("*") if path.is_file())
    assert key.encode() not in home
