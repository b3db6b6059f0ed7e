"""Processes of `elt-assets dev` die by SIGKILL in the middle of a sync, and nothing is lost."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from elt_assets.cli.main import Invocation, run
from elt_assets.config.settings import Settings, load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.streams import USERS
from elt_assets_tests.browser.night import PAGE, register, web_ui
from elt_assets_tests.cli.conftest import processes_of, wait_for
from elt_assets_tests.testbed.faulty_provider.fault import ALWAYS, Order, Plan
from elt_assets_tests.testbed.faulty_provider.faulty_process import FaultyProvider

REF = IntegrationRef("acme", "okta")
PAGES = 100
IN_FLIGHT = 3
"""Pages that a killed process may have fetched and not committed."""
STARTED_PROCESS = re.compile(r"Started process for run \(pid: (\d+)\)")


def newest(platform: SyncService) -> SyncRow:
    return platform.syncs(REF)[0]


def worker_of_the_newest_run(settings: Settings) -> int:
    """The process in which Dagster's launcher carries the newest run out."""
    with open_instance(settings) as instance:
        (newest_run,) = instance.get_runs(limit=1)
        messages = [entry.message for entry in instance.all_logs(newest_run.run_id)]
    (pid,) = [found[1] for text in messages if (found := STARTED_PROCESS.search(text))]
    return int(pid)


# Dagster's client calls the library beneath it in a way that this one is giving up.
@pytest.mark.campaign(110)  # two servers one after the other, and three runs
@pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")
def test_a_killed_run_and_a_killed_server_are_continued_from_the_last_batch(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One run at a time: a run that is dead and still counts would hold up all others.
    for name, value in (("MAX_RUNS", "1"), ("PAGES_PER_BATCH", "1")):
        monkeypatch.setenv(f"ELT_ASSETS_{name}", value)
    settings = load_settings()
    layout = DemoLayout(integrations=0, others={str(REF): PAGES * PAGE}, page_size=PAGE)
    with FaultyProvider(layout) as provider, SyncService.open(settings) as platform:
        register(provider, settings)
        provider.edit(REF, add=5)
        provider.order_chaos(REF, Plan([Order("slow_page", times=ALWAYS)]))

        provider.forget_requests()

        def served() -> int:
            return len(provider.requests(REF))

        with web_ui(tmp_path, own_home) as url:
            assert run(["start", "sync_all", "sync_id=tonight", "--url", url], Invocation()) == 0
            wait_for(lambda: served() > 10)
            os.kill(worker_of_the_newest_run(settings), signal.SIGKILL)
            wait_for(lambda: newest(platform).attempts == 2 and served() > 30)
            for pid in processes_of(own_home) - {os.getpid(), provider.pid}:
                os.kill(pid, signal.SIGKILL)
        with web_ui(tmp_path, own_home):
            wait_for(lambda: newest(platform).status is Status.APPLIED)
        ended = newest(platform)
        assert (ended.sync_id, ended.attempts, ended.counts.latest) == ("tonight", 3, 1005)
        assert ended.resumed_batches > 20
        assert served() <= PAGES + 1 + 2 * IN_FLIGHT, "a committed page was fetched again"
        assert len(platform.records(USERS, REF)) == PAGES * PAGE + 5
