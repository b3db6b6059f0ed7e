"""`elt-assets sync` as its users see it: exit statuses, one line for each mistake, stopping."""

from __future__ import annotations

import os
import pstats
import pty
import signal
import subprocess
from collections.abc import Iterator

import pytest

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.cli.conftest import Command, Process, connect, wait_for

ONE, TWO = IntegrationRef("demo-001", "people-001"), IntegrationRef("demo-002", "people-001")
FIRST, SECOND = ONE.partition_key, TWO.partition_key


@pytest.fixture
def provider() -> Iterator[ProviderProcess]:
    with ProviderProcess(DemoLayout(integrations=2, users=30)) as running:
        yield running


def test_mistakes_are_found_before_anything_runs(
    elt_assets: Command, provider: ProviderProcess
) -> None:
    connect(elt_assets, provider, ONE)
    connect(elt_assets, provider, TWO)
    elt_assets("integrations", "disable", SECOND)
    for arguments, said in (
        ((FIRST, "nope:nope"), "nope:nope is not registered"),
        ((FIRST, SECOND), f"{SECOND} is disabled"),
        ((FIRST, "people"), "'people' is not an integration: write ORG:ID"),
        ((FIRST, "--sync-id", "a/b"), "sync id 'a/b' is not a valid name"),
        ((FIRST, "--incremental"), f"{FIRST} cannot be synced incrementally"),
        ((FIRST, "--profile", "no/where"), "does not exist"),
    ):
        assert said in elt_assets("sync", *arguments).complaint
    assert elt_assets("syncs", "--json").document == []
    assert provider.requests() == []

    everything = elt_assets("sync", "--all", "--json")
    assert everything.status == 0, everything
    assert [entry["partition"] for entry in everything.document["sync"]] == [FIRST]


def test_repeating_a_sync_id_reports_the_same_and_adds_nothing(
    elt_assets: Command, provider: ProviderProcess
) -> None:
    connect(elt_assets, provider, ONE)
    first = elt_assets("sync", FIRST, "--sync-id", "monday", "--json")
    assert first.status == 0, first
    (entry,) = first.document["sync"]
    assert (entry["sync_id"], entry["status"], entry["inserts"]) == ("monday", "applied", 30)
    changes = elt_assets("changes", FIRST, "--json").out
    provider.forget_requests()

    again = elt_assets("sync", FIRST, FIRST, "--sync-id", "monday", "--json", "--full")
    assert again.status == 0, again
    assert again.document == first.document
    assert elt_assets("changes", FIRST, "--json").out == changes
    assert provider.requests() == []


def test_a_run_with_nothing_to_sync_succeeds(elt_assets: Command) -> None:
    with ProviderProcess(DemoLayout(integrations=1, users=1)) as provider:
        connect(elt_assets, provider, ONE)
    elt_assets("integrations", "disable", FIRST)
    ended = elt_assets("sync", "--all", "--json")
    assert ended.status == 0
    assert ended.document == {"sync": []}
    assert "no enabled integration" in ended.err


def test_a_quarantine_ends_with_3_and_keeps_everybody(
    elt_assets: Command, provider: ProviderProcess
) -> None:
    connect(elt_assets, provider, ONE)
    assert elt_assets("sync", FIRST).status == 0
    provider.edit(ONE, replace=[])
    emptied = elt_assets("sync", FIRST, "--json")
    assert emptied.status == 3, emptied
    (entry,) = emptied.document["sync"]
    assert (entry["status"], entry["deletes"], entry["withheld_deletes"]) == ("quarantined", 0, 30)
    assert f"{FIRST} quarantined: " in emptied.err
    assert len(elt_assets("users", FIRST, "--json").document) == 30


def test_one_failure_ends_with_1_and_does_not_affect_the_others(
    elt_assets: Command, elt_assets_process: Process, provider: ProviderProcess
) -> None:
    connect(elt_assets, provider, ONE)
    (elt_assets.folder / "wrong").write_text("a-wrong-token-nobody-knows")
    connect(elt_assets, provider, TWO, token={"file": str(elt_assets.folder / "wrong")})
    ended = elt_assets_process("sync", "--all", "--sync-id", "tuesday")
    assert ended.status == 1
    (failed,) = [line for line in ended.err.splitlines() if line.startswith(f"{SECOND} failed: ")]
    assert "401" in failed
    assert "a-wrong-token-nobody-knows" not in ended.out + ended.err
    assert ended.err.splitlines()[-1].startswith("1 of 2 failed; ")
    assert f"sync {SECOND} --sync-id tuesday" in ended.err
    counts = elt_assets("counts", "--json").document
    assert [counted["latest"] for counted in counts] == [30, 0]


def test_records_that_cannot_be_used_are_counted_and_listed(
    elt_assets: Command, provider: ProviderProcess
) -> None:
    connect(elt_assets, provider, ONE)
    provider.edit(ONE, add=[{"profile": {"displayName": "Nobody"}, "status": "ACTIVE"}])
    ended = elt_assets("sync", FIRST)
    # Without a readable key a record may be anybody's: a first listing that is incomplete.
    assert ended.status == 3, ended
    assert "the listing is not complete: 1 rejected records" in ended.err
    assert "rejected" in ended.out.splitlines()[0]
    (letter,) = elt_assets("rejected", FIRST, "--json").document
    assert set(letter) == {"sync_id", "batch", "seq", "key", "reason", "raw"}
    assert letter["key"] is None
    assert letter["reason"] in elt_assets("rejected", FIRST).out
    assert elt_assets("sync", FIRST).status == 0
    assert elt_assets("sync", FIRST, "--strict").status == 3


def test_a_profile_shows_the_work_of_the_engine(
    elt_assets: Command, provider: ProviderProcess
) -> None:
    connect(elt_assets, provider, ONE)
    ended = elt_assets("sync", FIRST, "--profile", "sync.prof")
    assert ended.status == 0, ended
    assert "profile written to sync.prof" in ended.err
    stats = pstats.Stats(str(elt_assets.folder / "sync.prof")).stats  # type: ignore[attr-defined]
    files = {file for file, _, _ in stats}
    assert any(file.endswith("elt_assets/sync/engine.py") for file in files)


@pytest.mark.parametrize(
    "signal_number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.campaign)]
)
def test_a_stopped_sync_keeps_what_it_has_and_is_continued(
    elt_assets: Command, elt_assets_process: Process, signal_number: signal.Signals
) -> None:
    layout = DemoLayout(integrations=1, users=120, page_size=1)
    with ProviderProcess(layout) as provider:
        connect(elt_assets, provider, ONE)
        running = elt_assets_process.start("sync", FIRST, "--sync-id", "wednesday")
        wait_for(lambda: len(provider.requests()) > 30 or running.poll() is not None)
        running.send_signal(signal_number)
        out, err = running.communicate()
        assert running.returncode == 128 + signal_number, err
        assert "Traceback" not in err
        assert out == ""
        assert "continue with --sync-id wednesday" in err
        (row,) = elt_assets("syncs", FIRST, "--json").document
        assert row["status"] == "failed"
        assert row["retryable"]
        assert row["attempts"] == 1, "what was stopped is not tried again"
        assert "stopped on request" in row["error"]
        assert not unfinished_runs(elt_assets)

        fetched = {request["cursor"] for request in provider.requests()}
        provider.forget_requests()
        continued = elt_assets("sync", FIRST, "--sync-id", "wednesday", "--json")
        assert continued.status == 0, continued
        (entry,) = continued.document["sync"]
        assert entry["resumed_batches"] > 0
        assert (entry["status"], entry["latest"]) == ("applied", 120)
        again = [r for r in provider.requests() if r["cursor"] in fetched]
        assert len(again) <= 1, "more was fetched again than the page that was on its way"


def unfinished_runs(elt_assets: Command) -> list[str]:
    """Runs that the instance takes for running, although no process runs them."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(elt_assets.home / "dagster")) as instance:
        return [run.run_id for run in instance.get_runs() if not run.is_finished]


def test_a_terminal_gets_a_live_display_and_colours(
    elt_assets_process: Process, provider: ProviderProcess
) -> None:
    connect(elt_assets_process, provider, ONE)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        elt_assets_process.arguments("sync", FIRST),
        cwd=elt_assets_process.folder,
        env=elt_assets_process.variables(
            {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        ),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        os.close(ours)
    assert running.returncode == 0, seen
    assert b"1 of 1 syncs done (1 applied), 30 records" in seen
    assert b"\x1b[32mapplied" in seen
    assert f"{FIRST} applied: ".encode() not in seen, "plain lines are for those without a terminal"
    assert b"\x1b[?25h" in seen, "the cursor is shown again"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody has the other end open any more
        return b""
