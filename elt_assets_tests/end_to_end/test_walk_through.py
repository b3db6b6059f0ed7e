"""A day on duty: twenty integrations, three of them in trouble, found, mended and resumed.

One scenario, because starting web server, daemon and health endpoint takes most of its time.
Commands run in this process where only their result matters: each takes seconds to import.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3

from elt_assets.cli.main import Invocation, run
from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.partitions import add_partition_keys
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.cli.conftest import Process, free_port, processes_of, wait_for
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

REFS = [IntegrationRef(f"org-{n:03}", "directory") for n in range(20)]
BAD_TOKEN, EMPTY, SLOW, LONG = REFS[3], REFS[7], REFS[11], REFS[15]
TOKEN = "the-right-token-of-everybody"
PAGE = 2


@dataclass
class Company:
    """What the providers of all integrations answer; the test dictates their moods."""

    people: dict[str, int] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)
    slow: set[str] = field(default_factory=set)
    pause: dict[str, float] = field(default_factory=dict)
    served: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Reply:
        organization = asked.path.split("/")[1]
        start = int(asked.query.get("cursor", "0"))
        if asked.headers["authorization"] != f"Bearer {TOKEN}":
            return as_json({"error": "who are you?"}, 401)
        if organization in self.slow:
            self.released.wait(30)
        time.sleep(self.pause.get(organization, 0))
        end = min(start + PAGE, self.people[organization])
        self.served.append((organization, start))
        items = [
            {"id": f"u-{n}", "name": f"Person {n}", "email": f"p{n}@example.com"}
            for n in range(start, end)
        ]
        more = end < self.people[organization]
        return as_json({"items": items, "next": str(end) if more else None})


@dataclass
class Client:
    """The commands of the person on duty, run in this process."""

    url: str
    captured: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, status: int = 0, remote: bool = True) -> Any:
        """The command's JSON; what it told the person besides is in `said`."""
        url = ("--url", self.url) if remote else ()
        ended = run([*arguments, *url, "--json"], Invocation())
        out, self.said = self.captured.readouterr()
        assert ended == status, (arguments, ended, out, self.said)
        return json.loads(out)


@pytest.fixture
def company() -> Iterator[Company]:
    made = Company(people={ref.organization_id: 4 for ref in REFS})
    yield made
    made.released.set()


@pytest.fixture
def provider(company: Company) -> Iterator[Provider]:
    with Provider(company) as running:
        yield running


def connect_everybody(provider: Provider, folder: Path) -> None:
    """Register all integrations and bring each up to date once."""
    settings = load_settings()
    with SyncService.open(settings) as platform:
        for ref in REFS:
            token = folder / f"token-{ref.organization_id}"
            token.write_text(TOKEN)
            platform.registry.add(
                ref,
                "rest",
                {
                    "permission_source_name": ref.organization_id,
                    "api_endpoint": f"{provider.url}/{ref.organization_id}",
                    "auth": {"type": "bearer", "token": {"file": str(token)}},
                    "streams": {
                        "users": {
                            "path": "/users",
                            "records": "items",
                            "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
                            "fields": {"external_id": "id", "name": "name", "email": "email"},
                        }
                    },
                },
            )
        outcomes = list(platform.sync(USERS, REFS, sync_id="sunday"))
    assert {outcome.status for outcome in outcomes} == {Status.APPLIED}
    with open_instance(settings) as instance:
        add_partition_keys(instance, REFS)


def fetched(url: str) -> tuple[int, bytes]:
    """Status and body; 0 while nobody answers."""
    try:
        answer = urllib3.PoolManager(retries=False, timeout=60).request("GET", url)
    except urllib3.exceptions.HTTPError:
        return 0, b""
    return answer.status, answer.data


def metric(text: bytes, name: str) -> float:
    (line,) = [line for line in text.decode().splitlines() if line.startswith(name)]
    return float(line.rpartition(" ")[2])


# Dagster's client calls the library beneath it in a way that this one is giving up.
@pytest.mark.campaign(110)  # a server, a daemon and a dozen runs
@pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")
def test_three_causes_are_found_mended_and_resumed_and_sigterm_loses_nothing(
    company: Company,
    provider: Provider,
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    settings = {"ELT_ASSETS_FETCH_ATTEMPTS": "1", "ELT_ASSETS_REQUEST_TIMEOUT": "3"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    connect_everybody(provider, tmp_path)
    port, health_port, feed_port = free_port(), free_port(), free_port()
    health = f"http://127.0.0.1:{health_port}"
    client = Client(f"http://127.0.0.1:{port}", capsys)
    command = Process(tmp_path, {"ELT_ASSETS_HOME": str(own_home), **settings})
    log = tmp_path / "log"
    with log.open("w") as output:
        dev = command.start(
            "dev",
            "--port",
            str(port),
            "--health-port",
            str(health_port),
            "--feed-port",
            str(feed_port),
            stdout=output,
            stderr=output,
        )
    request.addfinalizer(dev.wait)
    request.addfinalizer(dev.terminate)

    def answers(path: str, status: int) -> bool:
        assert dev.poll() is None, log.read_text()
        return fetched(health + path)[0] == status

    wait_for(lambda: answers("/ready", 200))
    assert len(processes_of(own_home)) >= 4
    assert fetched(f"{health}/health")[0] == 200, log.read_text()

    # Trouble comes, and a sync meets it.
    (tmp_path / f"token-{BAD_TOKEN.organization_id}").write_text("revoked-token")
    company.people[EMPTY.organization_id] = 0
    company.slow.add(SLOW.organization_id)
    started = client("start", "sync_all", "sync_id=monday", "batch_size=1")
    assert [entry["integrations"] for entry in started["runs"]] == [20]
    watched = client("watch", "monday", status=1)

    # The client names all three, without any access to the stores.
    causes = {entry["partition"]: entry for entry in watched["failed"]}
    assert set(causes) == {str(BAD_TOKEN), str(SLOW)}
    assert "401" in causes[str(BAD_TOKEN)]["error"]
    assert not causes[str(BAD_TOKEN)]["retryable"]
    assert [one["attempt"] for one in causes[str(SLOW)]["attempts"]] == [1, 2, 3]
    assert "silence for 3 s" in causes[str(SLOW)]["error"]
    statuses = {entry["partition"]: entry["status"] for entry in watched["sync"]}
    assert statuses.pop(str(EMPTY)) == "quarantined"
    assert set(statuses.values()) == {"unchanged"}
    assert len(statuses) == 17
    assert all(entry["certificate"]["complete"] for entry in watched["sync"])
    assert "resume monday" in client.said
    assert client("list", "status=ERROR", "limit=1", "org=org-013")[0]["sync_id"] == "monday"
    (waiting,) = client("quarantine", "list", remote=False)
    assert (waiting["partition"], waiting["withheld_deletes"]) == (str(EMPTY), 4)

    # So do /health and /metrics.
    status, body = fetched(f"{health}/health")
    assert (status, json.loads(body)["ready"]) == (503, True)
    reasons = "\n".join(json.loads(body)["reasons"])
    for ref in (BAD_TOKEN, EMPTY, SLOW):
        assert str(ref) in reasons
    quarantines = 'elt_assets_open_quarantines{stream="users"}'
    wait_for(lambda: metric(fetched(f"{health}/metrics")[1], quarantines) == 1)
    _, text = fetched(f"{health}/metrics")
    failing = 'elt_assets_failing_integrations{retryable="%s",stream="users"}'
    assert metric(text, failing % "false") == metric(text, failing % "true") == 1
    newest = 'elt_assets_integrations_by_newest_sync{status="%s",stream="users"}'
    assert metric(text, newest % "unchanged") == 17
    assert not any(str(ref.organization_id) in text.decode() for ref in REFS)
    queues = client("queues")
    assert (queues["queued"], queues["running"], queues["limit"]) == (0, 0, 2)

    # All three are mended; only what failed is done again.
    (tmp_path / f"token-{BAD_TOKEN.organization_id}").write_text(TOKEN)
    company.people[EMPTY.organization_id] = 4
    company.slow.clear()
    company.released.set()
    company.served.clear()
    resumed = client("resume", "monday")
    assert sum(entry["integrations"] for entry in resumed["runs"]) == 2
    again = client("start", "sync", f"organization_id={EMPTY.organization_id}")
    # The quarantine of monday is still a fact of monday; the sync after it ends it.
    assert client("watch", "monday", status=3)["failed"] == []
    assert client("watch", again["sync_id"])["sync"][0]["status"] == "unchanged"
    assert {organization for organization, _ in company.served} == {
        ref.organization_id for ref in (BAD_TOKEN, EMPTY, SLOW)
    }
    status, body = fetched(f"{health}/health")
    assert status == 200, body
    assert client("health")["status"] == "ok"

    # A run that is cancelled keeps what it has committed, and is resumed from there.
    company.people[LONG.organization_id] = 400
    company.pause[LONG.organization_id] = 0.3
    company.served.clear()
    who = f"organization_id={LONG.organization_id}"
    client("start", "sync", who, "sync_id=long", "batch_size=1")
    wait_for(lambda: len(company.served) > 5)
    assert run(["cancel", "long", "--url", client.url], Invocation()) == 0
    ended = client("watch", "long", status=1)
    assert (ended["runs"][0]["status"], ended["unsettled"]) == ("CANCELED", [str(LONG)])
    reached = len(company.served)
    client("resume", "long")

    # SIGTERM in the middle of a sync: batches are committed, nothing is left running.
    wait_for(lambda: len(company.served) > reached + 5)
    os.kill(dev.pid, signal.SIGTERM)
    assert dev.wait() == 0, log.read_text()
    assert processes_of(own_home) - {os.getpid()} == set()
    company.pause.clear()
    with SyncService.open(load_settings()) as platform:
        (interrupted,) = platform.interrupted()
        assert interrupted.partition == str(LONG)
        (outcome,) = platform.sync(USERS, [LONG], sync_id="long", pages_per_batch=1)
        assert (outcome.status, outcome.counts.latest) == (Status.APPLIED, 400)
        assert outcome.resumed_batches >= 6
        # Twice somebody was stopped while a page was on its way; no other was asked for again.
        assert len(company.served) - len(set(company.served)) <= 2
