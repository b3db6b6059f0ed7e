"""A process killed while it extracts, and what the next one asks the provider for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.end_to_end.real_http import Installation, installed, serving
from elt_assets_tests.storage.processes import another_process

PEOPLE = IntegrationRef("demo-001", "people-001")
OTHERS = IntegrationRef("demo-002", "people-001")
USERS_EACH, PAGE, PAGES_PER_BATCH = 400, 10, 3
PAGES = USERS_EACH // PAGE

# Syncs the integrations it is given, tells of each committed batch and waits at batch 9, so
# that it never comes to its end.
WORKER = """
import sys
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.config.settings import load_settings
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

def tell(progress):
    if progress.stage == "extract":
        # In one piece: two threads tell, and print would write each part by itself.
        sys.stdout.write(f"{progress.partition} {progress.batches}\\n")
        sys.stdout.flush()
        if progress.batches == 9:
            sys.stdin.read()

home, pages_per_batch, *partitions = sys.argv[1:]
refs = [IntegrationRef.parse(partition) for partition in partitions]
with SyncService.open(load_settings(home=Path(home))) as platform:
    for outcome in platform.sync(
        USERS, refs, sync_id="s1", pages_per_batch=int(pages_per_batch), progress=tell
    ):
        print("ended", outcome.error, flush=True)
"""


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderProcess]:
    with serving(
        DemoLayout(integrations=2, users=USERS_EACH, page_size=PAGE), monkeypatch
    ) as provider:
        yield provider


def kill_at_work(home: Path, batch: int, *refs: IntegrationRef) -> None:
    """Kill a process that syncs `refs` once it has committed `batch` batches of each."""
    waited_for = {f"{ref} {batch}" for ref in refs}
    with another_process(WORKER, home, PAGES_PER_BATCH, *refs) as worker:
        while waited_for:
            line = worker.hears()
            assert line, "the process ended by itself"
            assert not line.startswith("ended"), line
            waited_for.discard(line)
        worker.kill()


def committed_pages(home: Path, ref: IntegrationRef) -> int:
    """How many pages the dead process left behind, looked at without changing anything."""
    platform = SyncService.open(load_settings(home=home))
    try:
        with platform.warehouses.open(ref, read_only=True) as connection:
            row = connection.execute("SELECT sum(pages) FROM extraction_batches").fetchone()
            return int(row[0]) if row and row[0] else 0
    finally:
        platform.close()


def asked(provider: ProviderProcess, ref: IntegrationRef) -> list[str | None]:
    """The cursors of all pages asked for since the log was last emptied, in order."""
    return [request["cursor"] for request in provider.requests(ref)]


@pytest.fixture
def cursors(provider: ProviderProcess, tmp_path: Path) -> dict[IntegrationRef, list[str | None]]:
    """The cursor of every page, in order, as an uninterrupted sync asks for them."""
    with installed(provider, tmp_path / "uninterrupted") as installation:
        installation.connect(PEOPLE, OTHERS)
        installation.sync(PEOPLE, OTHERS)
        found = {ref: asked(provider, ref) for ref in (PEOPLE, OTHERS)}
        for ref in found:
            # Homes may have one server's stores.
            installation.platform.remove(ref)
    provider.forget_requests()
    assert [len(set(pages)) for pages in found.values()] == [PAGES, PAGES]
    return found


@pytest.fixture
def home(
    provider: ProviderProcess, tmp_path: Path, cursors: dict[IntegrationRef, list[str | None]]
) -> Path:
    """A home in which both integrations are registered and nothing is open."""
    with installed(provider, tmp_path / "home") as installation:
        installation.connect(PEOPLE, OTHERS)
    return tmp_path / "home"


def finish(installation: Installation, ref: IntegrationRef, cursors: list[str | None]) -> None:
    """Sync again and check that no committed page is asked for and no user is missing."""
    pages = committed_pages(installation.platform.settings.home, ref)
    assert 0 < pages < PAGES
    installation.provider.forget_requests()
    outcome = installation.sync(ref, pages_per_batch=PAGES_PER_BATCH)[ref]
    assert outcome.status is Status.APPLIED, outcome.error
    assert asked(installation.provider, ref) == cursors[pages:]
    assert outcome.resumed_batches == pages // PAGES_PER_BATCH
    assert outcome.certificate.complete
    assert outcome.certificate.extraction_runs > 1
    assert outcome.counts.staged == USERS_EACH
    assert installation.users(ref) == installation.provider.truth(ref)
    assert len(installation.platform.changes(USERS, ref)) == USERS_EACH


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_a_killed_process_is_continued_and_no_committed_page_is_fetched_again(
    provider: ProviderProcess,
    home: Path,
    cursors: dict[IntegrationRef, list[str | None]],
    batch: int,
) -> None:
    kill_at_work(home, batch, PEOPLE)
    with installed(provider, home) as installation:
        assert installation.users(PEOPLE) == []
        assert installation.platform.changes(USERS, PEOPLE) == []
        finish(installation, PEOPLE, cursors[PEOPLE])


def test_integrations_killed_together_are_each_continued_from_their_own_page(
    provider: ProviderProcess, home: Path, cursors: dict[IntegrationRef, list[str | None]]
) -> None:
    kill_at_work(home, 2, PEOPLE, OTHERS)
    with installed(provider, home) as installation:
        finish(installation, PEOPLE, cursors[PEOPLE])
        finish(installation, OTHERS, cursors[OTHERS])


def test_a_process_killed_again_and_again_comes_further_each_time(
    provider: ProviderProcess, home: Path, cursors: dict[IntegrationRef, list[str | None]]
) -> None:
    committed = 0
    for batch in (2, 5, 8):
        provider.forget_requests()
        kill_at_work(home, batch, PEOPLE)
        again = asked(provider, PEOPLE)
        assert again == cursors[PEOPLE][committed : committed + len(again)]
        committed = committed_pages(home, PEOPLE)
        assert committed >= batch * PAGES_PER_BATCH
    with installed(provider, home) as installation:
        finish(installation, PEOPLE, cursors[PEOPLE])


def test_people_who_change_while_nobody_reads_are_taken_as_they_are_then(
    provider: ProviderProcess, home: Path
) -> None:
    """The unread pages show the world of the second process, and no deletion is guessed."""
    with installed(provider, home) as installation:
        installation.sync(PEOPLE, sync_id="before")
    provider.edit(PEOPLE, change={399: {"profile": {"displayName": "Before"}}})
    kill_at_work(home, 2, PEOPLE)
    provider.edit(PEOPLE, change={400: {"profile": {"displayName": "Meanwhile"}}}, remove=[398])
    with installed(provider, home) as installation:
        outcome = installation.sync(PEOPLE, pages_per_batch=PAGES_PER_BATCH)[PEOPLE]
        names = {user["external_id"]: user["name"] for user in installation.users(PEOPLE)}
        assert names["u-000399"] == "Before"
        assert names["u-000400"] == "Meanwhile"
        assert outcome.counts.deletes == 0
        assert "u-000398" in names
        assert installation.sync(PEOPLE, sync_id="after")[PEOPLE].counts.deletes == 1
        assert installation.users(PEOPLE) == provider.truth(PEOPLE)
