"""The consumers in examples/ do what docs/feed.md says."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import sqlite3  # noqa: TID251 (the application's own file)
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import urllib3

from elt_assets.config.secret_refs import SecretRef
from elt_assets.feed.consumers import ConsumerEndpoint, Consumers
from elt_assets.feed.delivery import Deliverer
from elt_assets.feed.numbering import number_entries
from elt_assets.feed.scope import Scope
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.cli.conftest import free_port
from elt_assets_tests.feed.listening import applied, heard
from elt_assets_tests.feed.serving import feed_server
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person

EXAMPLES = Path(__file__).parents[2] / "examples" / "consumer"
OTHER = IntegrationRef("globex", "main")


def example(name: str) -> ModuleType:
    """One of the programs, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pulling_example_holds_what_applications_read(company: Company, tmp_path: Path) -> None:
    pull, file = example("pull").pull, str(tmp_path / "copy.db")
    world = company.connect(world=World(people(5)))
    company.connect(OTHER, World(people(2)))
    token = Consumers(company.platform.database).add("example", Scope())

    def copied() -> dict[tuple[str, str, str], object]:
        pull(url, token, file, wait=0)
        rows = sqlite3.connect(file).execute("SELECT org, integration, id, row FROM users")
        return {(org, integration, id_): json.loads(row) for org, integration, id_, row in rows}

    with feed_server(company.platform.settings) as url:
        company.sync()
        company.sync(OTHER)
        assert copied() == applied(heard(company))
        world.records = [person(0, name="Renamed"), *people(6)[2:]]
        company.sync(sync_id="s2")
        company.sync(sync_id="s3")
        assert copied() == applied(heard(company))
        assert len(copied()) == 7
        company.platform.remove(ACME)
        assert {key[0] for key in copied()} == {"globex"}


def test_the_pulling_example_takes_a_snapshot_when_its_position_is_of_no_use(
    company: Company, tmp_path: Path
) -> None:
    pull, file = example("pull").pull, str(tmp_path / "copy.db")
    world = company.connect(world=World(people(5)))
    company.sync()
    database = company.platform.database
    token = Consumers(database).add("example", Scope())
    with feed_server(company.platform.settings) as url:
        pull(url, token, file, wait=0)
        for sync, statement in (
            ("s2", "UPDATE feed_state SET trimmed = head + 1"),
            ("s3", "UPDATE feed_state SET feed_id = 'ffffffff'"),
        ):
            world.records = people(5 + int(sync[1:]))
            with database.transaction() as transaction:
                transaction.execute(statement)
            company.sync(sync_id=sync)
            pull(url, token, file, wait=0)
            rows = sqlite3.connect(file).execute("SELECT row FROM users").fetchall()
            assert len(rows) == len(world.records)
            at = number_entries(database)
            assert pull(url, token, file, wait=0) == at.text(at.head)


def test_the_receiving_example_prints_each_entry_once_and_refuses_others(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "whsec_" + base64.b64encode(b"e" * 32).decode()
    monkeypatch.setenv("FEED_KEY", key)
    company.connect(world=World(people(3)))
    company.sync()
    port = free_port()
    receiver = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "receive.py"), str(port)],
        env={**os.environ, "WEBHOOK_SECRET": key},
        stdout=subprocess.PIPE,
        text=True,
    )
    url, platform = f"http://127.0.0.1:{port}", company.platform
    consumers = Consumers(platform.database)
    try:
        consumers.add("hook", Scope(), ConsumerEndpoint(url, SecretRef(env="FEED_KEY")), after="0")
        while not Deliverer(platform.database, platform.settings).deliver(seconds=60):
            assert receiver.poll() is None
            if consumers.get("hook").failures:
                consumers.retry("hook")
        forged = urllib3.request("POST", url, body=b"{}", retries=False)
        assert forged.status == 401
        consumers.replay("hook", "0", number_entries(platform.database))
        assert Deliverer(platform.database, platform.settings).deliver(seconds=60) == 3
    finally:
        receiver.kill()
        said, _ = receiver.communicate()
    assert said.count("users.inserted") == 3
