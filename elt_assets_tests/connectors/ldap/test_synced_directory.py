"""A directory through the whole engine: killed and continued, changed, incremental, large."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ldap3 import MODIFY_REPLACE

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Mode
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import GROUP_MEMBERSHIPS, GROUPS, STREAMS, USERS
from elt_assets_tests.connectors.ldap.conftest import data
from elt_assets_tests.connectors.ldap.counting_proxy import counting_proxy
from elt_assets_tests.testbed.openldap import (
    OpenLdap,
    group,
    group_name,
    openldap,
    person,
    person_name,
)

pytestmark = pytest.mark.slow

REF = IntegrationRef("acme", "main")
WORKER = """
import sys
from contextlib import contextmanager
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.config.settings import load_settings
from elt_assets.sync.outcome import Mode
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS

with SyncService.open(load_settings(home=Path(sys.argv[1]))) as platform:
    for outcome in platform.sync(
        STREAMS[sys.argv[2]], [IntegrationRef("acme", "main")], sync_id="killed", pages_per_batch=2
    ):
        pass
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[SyncService]:
    with SyncService.open(load_settings(home=tmp_path / "home")) as opened:
        yield opened


def synced(platform: SyncService, stream: str, sync_id: str) -> Any:
    """A sync that was applied or found nothing changed."""
    (outcome,) = platform.sync(STREAMS[stream], [REF], sync_id=sync_id, pages_per_batch=2)
    assert outcome.error is None
    assert outcome.certificate.complete, outcome.certificate.reasons
    return outcome


@contextmanager
def killed(
    platform: SyncService, server: OpenLdap, stream: str, at: int, **users: Any
) -> Iterator[list[int]]:
    """After a sync in a process of its own that was killed when it asked for page number `at`.

    Yields the numbers of the pages that are asked for from then on.
    """
    worker: list[subprocess.Popen[bytes]] = []
    started = threading.Event()
    asked: list[int] = []

    def before_page(number: int) -> None:
        started.wait()
        if number == at:
            os.kill(worker[0].pid, signal.SIGKILL)
            worker[0].wait()
        elif number > at:
            asked.append(number)

    with counting_proxy(server.port, before_page) as port:
        platform.registry.add(REF, "ldap", data(server, {"port": port}, **users))
        command = [sys.executable, "-c", WORKER, str(platform.settings.home), stream]
        worker.append(subprocess.Popen(command))
        started.set()
        assert worker[0].wait() == -signal.SIGKILL
        yield asked


@pytest.fixture(scope="module")
def company() -> Iterator[OpenLdap]:
    """95 people and 20 groups, each of which holds 7 people and all smaller groups."""
    with openldap(
        [
            *map(person, range(95)),
            *(
                group(
                    f"g{number:02}",
                    [
                        *(person_name(number + step) for step in range(7)),
                        *(group_name(f"g{other:02}") for other in range(number)),
                    ],
                )
                for number in range(20)
            ),
        ]
    ) as server:
        yield server


@pytest.mark.parametrize("at", [2, 5, 10])
def test_a_killed_extraction_of_entries_goes_on_after_its_last_committed_page(
    platform: SyncService, company: OpenLdap, at: int
) -> None:
    with killed(platform, company, "users", at):
        outcome = synced(platform, "users", "killed")
    assert outcome.resumed_batches <= at // 2
    assert at < 8 or outcome.resumed_batches > 0
    assert outcome.counts.inserts == 95
    assert {user["email"] for user in platform.records(USERS, REF)} == {
        f"p{number}@acme.example" for number in range(95)
    }


@pytest.mark.parametrize("at", [3, pytest.param(9, marks=pytest.mark.campaign)])
def test_a_killed_extraction_of_memberships_goes_on_after_its_last_committed_page(
    platform: SyncService, company: OpenLdap, at: int
) -> None:
    with killed(platform, company, "group_memberships", at):
        outcome = synced(platform, "group_memberships", "killed")
        assert outcome.counts.inserts == sum(number + 7 + number for number in range(20))
        synced(platform, "users", "users")
        synced(platform, "groups", "groups")
    assert at < 8 or outcome.resumed_batches > 0
    assert memberships(platform) == {
        (f"g{number:02}", member)
        for number in range(20)
        for member in (
            *(f"Person {one}" for one in range(number + 7)),
            *(f"g{other:02}" for other in range(number)),
        )
    }


def memberships(platform: SyncService) -> set[tuple[str, str]]:
    """Names of groups with names of their members."""
    people = {one["external_id"]: one["name"] for one in platform.records(USERS, REF)}
    groups = {one["external_id"]: one["name"] for one in platform.records(GROUPS, REF)}
    return {
        (groups[one["group_external_id"]], (people | groups)[one["member_external_id"]])
        for one in platform.records(GROUP_MEMBERSHIPS, REF)
    }


def test_a_preview_of_a_directory_warns_of_nothing(
    platform: SyncService, company: OpenLdap
) -> None:
    platform.registry.add(REF, "ldap", data(company, page_size=100))
    for stream in (USERS, GROUPS, GROUP_MEMBERSHIPS):
        preview = platform.preview(stream, REF)
        # Of twenty groups, a round number.
        assert [one for one in preview.warnings if "nothing follows" not in one] == []
        assert preview.records


def test_what_changes_in_the_directory_changes_in_latest(
    platform: SyncService, changing: OpenLdap
) -> None:
    platform.registry.add(REF, "ldap", data(changing))
    assert synced(platform, "users", "s1").counts.inserts == 30
    with changing.administered() as admin:
        admin.delete(person_name(3))
        admin.modify(person_name(4), {"displayName": [(MODIFY_REPLACE, ["Renamed"])]})
        admin.modify_dn(person_name(5), "uid=moved")
        admin.add(person_name(99), "inetOrgPerson", {"cn": "New", "sn": "New"})
    outcome = synced(platform, "users", "s2")
    counts = outcome.counts
    # The entry that moved keeps its key. The one that left was searched for and is gone.
    assert (counts.inserts, counts.updates, counts.deletes) == (1, 1, 1)


def test_an_incremental_sync_reads_only_what_changed(
    platform: SyncService, changing: OpenLdap
) -> None:
    incremental = {"full_every": "1d", "overlap": "1s"}
    platform.registry.add(REF, "ldap", data(changing, incremental=incremental))
    assert synced(platform, "users", "s1").counts.inserts == 30
    for number, read in ((4, 30), (5, 2)):
        # The directory's clock counts whole seconds, and the overlap is one.
        until = time.monotonic() + 2
        while time.monotonic() < until:
            time.sleep(0.1)
        with changing.administered() as admin:
            renamed = [f"Renamed {number}"]
            admin.modify(person_name(number), {"displayName": [(MODIFY_REPLACE, renamed)]})
        outcome = synced(platform, "users", f"s{number}")
        assert (outcome.counts.updates, outcome.counts.deletes) == (1, 0)
        assert outcome.certificate.records == read


@pytest.mark.campaign
def test_a_killed_extraction_of_fifty_thousand_people_goes_on(platform: SyncService) -> None:
    with (
        openldap(map(person, range(50_000))) as server,
        killed(platform, server, "users", 61, page_size=500),
    ):
        outcome = synced(platform, "users", "killed")
    assert 20 < outcome.resumed_batches <= 30
    assert outcome.counts.inserts == 50_000
    assert {user["email"] for user in platform.records(USERS, REF)} == {
        f"p{number}@acme.example" for number in range(50_000)
    }


@pytest.mark.campaign
def test_fifty_thousand_people_and_five_hundred_groups_are_read_exactly(
    platform: SyncService, tmp_path: Path
) -> None:
    people, groups = 50_000, 500
    entries = [
        *map(person, range(people)),
        *(
            group(
                f"g{number}",
                [
                    *(person_name(one) for one in range(number, people, groups)),
                    *([group_name(f"g{number + 1}")] if number % 5 != 4 else []),
                ],
            )
            for number in range(groups)
        ),
    ]
    with openldap(entries) as server:
        provider_data = data(server, page_size=500, incremental={"full_every": "1d"})
        provider_data["streams"]["group_memberships"]["page_size"] = 50
        platform.registry.add(REF, "ldap", provider_data)
        began = time.perf_counter()
        outcome = synced(platform, "users", "s1")
        print(f"{people / (time.perf_counter() - began):,.0f} entries a second")
        assert outcome.counts.inserts == people
        assert synced(platform, "groups", "s1").counts.inserts == groups
        began = time.perf_counter()
        outcome = synced(platform, "group_memberships", "s1")
        rate = outcome.certificate.records / (time.perf_counter() - began)
        print(f"{rate:,.0f} memberships a second")
        # A chain of five groups: each holds its own 100 people and those of the ones behind it.
        assert outcome.counts.inserts == groups // 5 * sum(
            length * 100 + length - 1 for length in range(1, 6)
        )
        with server.administered() as admin:
            for number in range(0, 1_000, 10):
                changes = {"displayName": [(MODIFY_REPLACE, [f"Renamed {number}"])]}
                admin.modify(person_name(number), changes)
        outcome = synced(platform, "users", "s2")
        assert outcome.counts.updates == 100
        with server.administered() as admin:
            admin.delete(person_name(49_999))
        (outcome,) = platform.sync(USERS, [REF], sync_id="s3", mode=Mode.FULL)
        assert (outcome.counts.deletes, outcome.counts.updates) == (1, 0)
        assert {one["name"] for one in platform.records(USERS, REF)} == {
            f"Renamed {number}" if number < 1_000 and number % 10 == 0 else f"Person {number}"
            for number in range(people - 1)
        }
