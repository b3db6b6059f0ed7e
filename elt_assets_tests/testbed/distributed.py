"""An installation of several machines, simulated on this one.

Its processes have homes of their own and share only what such machines share. The module also reads
the ledger and the tables.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from elt_assets.cli.commands.demo.comparison import compare
from elt_assets.cli.console.child_processes import die_with_parent
from elt_assets.config.settings import load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.demo.registration import provider_data
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.testbed.lakes import Lake
from elt_assets_tests.testbed.servers import Broker

REPOSITORY = Path(__file__).parents[2]
TOKEN = "token-of-the-directory"


def shared_environment(lake: Lake, broker: Broker) -> dict[str, str]:
    """The environment that every process of the installation shares; each has its own home."""
    postgresql = lake.server
    schema = f"test_{uuid.uuid4().hex[:12]}"
    instance = f"{schema}_dagster"
    postgresql.execute(f"CREATE SCHEMA {instance}")
    return {
        **postgresql.settings(schema),
        **lake.settings(),
        **broker.settings,
        "ELT_ASSETS_DAGSTER_URL": (
            f"postgresql://owner@127.0.0.1:{postgresql.port}/hr"
            f"?sslmode=disable&options=-csearch_path%3D{instance}"
        ),
        "ELT_ASSETS_DAGSTER_PASSWORD": "env:ELT_ASSETS_TEST_PASSWORD",
        "DIRECTORY_TOKEN": TOKEN,
    }


@dataclass
class Installation:
    """An installation whose processes a test starts, kills and asks."""

    folder: Path
    environment: dict[str, str]
    provider: ProviderProcess
    platform: SyncService
    """The stores as another machine sees them; to open them for every look takes longer."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def home(self, name: str) -> Path:
        """The home of one process, which no other one uses."""
        home = self.folder / name
        home.mkdir(mode=0o700, exist_ok=True)
        return home

    def variables(self, name: str) -> dict[str, str]:
        """The environment of the process of that name."""
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ELT_ASSETS_", "DAGSTER_HOME"))
        }
        return {**inherited, **self.environment, "ELT_ASSETS_HOME": str(self.home(name))}

    def start(self, name: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a process that ends with the test, whichever way; `<name>.log` is what it says."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=REPOSITORY,
                env={**self.variables(name), **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid()),
            )
        self.processes[name] = process
        return process

    def worker(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker as its users do, and return once it takes runs."""
        process = self.start(name, "elt_assets", "worker", "--name", name, *options)
        self.until(lambda: " ready." in self.log(name), process)
        return process

    def daemon(self) -> subprocess.Popen[bytes]:
        """Start the daemon alone; nobody looks at the web UI, and checks are made every second."""
        from elt_assets.orchestration.instance.opening import dagster_home

        home = dagster_home(load_settings(home=self.home("server")))
        config = home / "dagster.yaml"
        text = config.read_text("utf-8")
        for usual, quick in (
            ("poll_interval_seconds: 20", "poll_interval_seconds: 1"),
            ("user_code_failure_retry_delay: 60", "user_code_failure_retry_delay: 1"),
        ):
            assert usual in text
            text = text.replace(usual, quick)
        config.write_text(text, "utf-8")
        command = ("dagster._daemon", "run", "-m", "elt_assets.definitions")
        return self.start("server", *command, DAGSTER_HOME=str(home))

    def log(self, name: str) -> str:
        """What a process has said so far."""
        return (self.folder / f"{name}.log").read_text("utf-8", errors="replace")

    def until(self, condition: Callable[[], object], *needed: subprocess.Popen[bytes]) -> None:
        """Wait for a condition; fails if a process that is needed for it ends before."""
        while not condition():
            for name, process in self.processes.items():
                if process in needed or not needed:
                    assert process.poll() is None, f"{name} ended:\n{self.log(name)[-4000:]}"
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """End a process and everything it started, as a power cut would."""
        process = self.processes.pop(name)
        group = [process.pid, *_descendants(process.pid)]
        for pid in group:
            os.kill(pid, signal.SIGSTOP)
        for pid in {*group, *_descendants(process.pid)}:
            os.kill(pid, signal.SIGKILL)
        process.wait()

    def kill_run(self, name: str) -> None:
        """End the process of the run that a worker carries out, and not the worker."""
        [supervised] = _descendants(self.processes[name].pid)[:1]
        [run] = _descendants(supervised)[:1]
        os.kill(run, signal.SIGKILL)

    def stop(self, name: str) -> int:
        """Ask a process to end, and wait until it has."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait()

    def syncs(self) -> list[dict[str, Any]]:
        """`elt-assets syncs --json`, as an operator at another machine would ask."""
        done = subprocess.run(
            [sys.executable, "-m", "elt_assets", "syncs", "--limit", "1000", "--json"],
            env=self.variables("operator"),
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def run_tags(self) -> list[Mapping[str, str]]:
        """The tags of every run of the instance."""
        from elt_assets.orchestration.instance.opening import open_instance

        with open_instance(load_settings(home=self.home("operator"))) as instance:
            return [run.tags for run in instance.get_runs()]

    def settled(self) -> bool:
        """Whether every integration has been applied."""
        rows = self.platform.syncs(limit=1000)
        applied = {row.partition for row in rows if row.status is Status.APPLIED}
        return applied >= {str(ref) for ref in self.provider.worlds()}

    def begun(self) -> bool:
        """Whether a run is in the middle: something is landed, and not everything is settled."""
        rows = self.platform.syncs(limit=1000)
        return any(row.batches or row.status is Status.EXTRACTING for row in rows)

    def wrong(self) -> list[str]:
        """Where the books or the tables differ from what the provider holds, in words."""
        found = []
        for ref in self.provider.worlds():
            difference = compare(self.platform.records(USERS, ref), self.provider.truth(ref))
            if not difference.equal:
                found.append(f"{ref}: {difference}")
            changed = Counter(row["external_id"] for row in self.platform.changes(USERS, ref))
            if changed and max(changed.values()) > 1:
                found.append(f"{ref}: somebody was changed twice by a first sync")
        applied = Counter(
            (row["partition"], row["sync_id"]) for row in self.syncs() if row["status"] == "applied"
        )
        found += [f"{key} applied {times} times" for key, times in applied.items() if times != 1]
        syncs = Counter(partition for partition, _ in applied)
        found += [f"{key} synced {times} times" for key, times in syncs.items() if times != 1]
        return found


def _descendants(pid: int) -> list[int]:
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").glob("*")
        for child in (thread / "children").read_text().split()
    ]
    return [*children, *(below for child in children for below in _descendants(child))]


@contextmanager
def installation(
    lake: Lake,
    broker: Broker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    integrations: int,
    users: int,
    pace: float | None = None,
    latency: float = 0.0,
    **settings: str,
) -> Iterator[Installation]:
    """An installation with registered integrations; `pace` is requests a second of each, `latency`
    the milliseconds that their provider takes for each."""
    environment = {**shared_environment(lake, broker), **settings}
    for name, value in environment.items():
        # For what the test itself asks of the stores.
        monkeypatch.setenv(name, value)
    with ExitStack() as closing:
        layout = DemoLayout(integrations=integrations, users=users, latency=latency)
        provider = closing.enter_context(ProviderProcess(layout, token=TOKEN))
        home = folder / "operator"
        home.mkdir(mode=0o700)
        platform = closing.enter_context(SyncService.open(load_settings(home=home)))
        for ref in provider.worlds():
            data = provider_data(provider.url, ref, {"env": "DIRECTORY_TOKEN"})
            if pace is not None:
                data["rate_limit"] = {"requests_per_second": pace, "concurrency": 1}
            platform.registry.add(ref, "rest", data)
        found = Installation(folder, environment, provider, platform)
        try:
            yield found
        finally:
            for name in [*found.processes]:
                found.kill(name)
