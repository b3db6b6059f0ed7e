"""Every pagination with every auth, killed with SIGKILL at a random page, and continued."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.directories import (
    AUTHS,
    PAGINATIONS,
    SECRET,
    directory,
    directory_data,
    first_of,
    people,
)
from elt_assets_tests.connectors.serving import Asked, Provider, Reply

pytestmark = pytest.mark.slow

REF = IntegrationRef("acme", "main")
SIZE = 100
WORKER = """
import sys
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.config.settings import load_settings
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

with SyncService.open(load_settings(home=Path(sys.argv[1]))) as platform:
    for outcome in platform.sync(
        USERS, [IntegrationRef("acme", "main")], sync_id="killed", pages_per_batch=2
    ):
        pass
"""
ALWAYS = [
    ("cursor", "basic"),
    ("keyset", "another scheme"),
    ("xml", "session"),
]
MATRIX = [
    pytest.param(
        pagination,
        auth,
        1_000 if (pagination, auth) in ALWAYS else 2_000,
        marks=() if (pagination, auth) in ALWAYS else pytest.mark.campaign,
    )
    for pagination in PAGINATIONS
    for auth in AUTHS
]


@pytest.mark.parametrize(("pagination", "auth", "count"), MATRIX)
def test_a_killed_extraction_goes_on_after_its_last_committed_page(
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pagination: str,
    auth: str,
    count: int,
) -> None:
    monkeypatch.setenv("TEST_SECRET", SECRET)
    users = people(count)
    serve = directory(users, pagination, auth, provider.url)
    pages = 1 if pagination == "none" else count // SIZE
    fatal = random.Random(f"{pagination} {auth}").randint(1, pages)
    worker: list[subprocess.Popen[bytes]] = []
    started = threading.Event()
    listed: list[Asked] = []
    counting = threading.Lock()

    def answer(asked: Asked) -> Reply:
        if asked.path == "/v1/users":
            started.wait()
            with counting:
                listed.append(asked)
                is_fatal = len(listed) == fatal
            if is_fatal and worker[0].poll() is None:
                os.kill(worker[0].pid, signal.SIGKILL)
                worker[0].wait()
        return serve(asked)

    provider.answer = answer
    settings = load_settings(home=tmp_path / "home", fetch_first_wait=0.01)
    data = directory_data(pagination, auth, provider.url)
    data["rate_limit"] = {"concurrency": 3}
    with SyncService.open(settings) as platform:
        platform.registry.add(REF, "rest", data)
    worker.append(subprocess.Popen([sys.executable, "-c", WORKER, str(settings.home)]))
    started.set()
    assert worker[0].wait() == -signal.SIGKILL
    provider.wait_until_all_are_gone()
    listed.clear()
    with SyncService.open(settings) as platform:
        (outcome,) = platform.sync(USERS, [REF], sync_id="killed", pages_per_batch=2)
        assert (outcome.status, outcome.error) == ("applied", None)
        assert outcome.certificate.complete
        assert min(map(first_of, listed), default=count) >= outcome.resumed_batches * 2 * SIZE
        assert {
            (user["external_id"], user["name"], user["email"], user["active"])
            for user in platform.records(USERS, REF)
        } == {
            (user["id"], user["name"], user["email"], user["status"] == "ACTIVE") for user in users
        }
        assert outcome.counts.inserts == count
