"""Runs the command in a folder of its own: in this process, or in one of its own as users do."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from elt_assets.cli.main import Invocation, run
from elt_assets.config.settings import load_settings
from elt_assets.demo.process import ProviderProcess
from elt_assets.demo.registration import provider_data
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its standard output as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """Its one line of error. Fails if there is more or less than that."""
        assert self.status == 1, self
        assert self.out == "", self.out
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("Error: "), self.err
        return lines[0].removeprefix("Error: ")


@dataclass(frozen=True)
class Command:
    """`elt-assets` in an installation of its own, run in this process.

    For tests of what a command prints and decides. A process of its own is a `Process`: that
    is for signals, defects, terminals, and for what else only the end of a process shows.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / ".elt_assets"

    def variables(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of the command: nothing of the developer's own installation."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ELT_ASSETS_", "DAGSTER_"))
        }
        # A checkout need not be installed.
        found = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        return {**inherited, "PYTHONPATH": found, **self.environment, **(more or {})}

    def __call__(
        self, *arguments: str, stdin: str = "", more: Mapping[str, str] | None = None
    ) -> Ended:
        written = _Text("<stdout>"), _Text("<stderr>")
        with (
            chdir(self.folder),
            _environment(self.variables(more)),
            _package_log_as_before(),
            _standard_input(_Text("<stdin>", stdin)),
            redirect_stdout(written[0]),
            redirect_stderr(written[1]),
        ):
            status = run(arguments, Invocation())
        out, err = (stream.buffer.getvalue().decode() for stream in written)
        return Ended(status, out, err)


@dataclass(frozen=True)
class Process(Command):
    """`elt-assets` as its users run it: in a process of its own."""

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start the command and leave it running; its output can be read as text."""
        return subprocess.Popen(
            self.arguments(*arguments),
            cwd=self.folder,
            env=self.variables(),
            encoding="utf-8",
            # A suite that runs in the background ignores Ctrl-C, and its children would too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def arguments(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "elt_assets", *arguments]

    def __call__(
        self, *arguments: str, stdin: str = "", more: Mapping[str, str] | None = None
    ) -> Ended:
        done = subprocess.run(
            self.arguments(*arguments),
            cwd=self.folder,
            env=self.variables(more),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)


class _Bytes(io.BytesIO):
    """What is read from or written to a standard stream."""

    def __init__(self, name: str, content: str) -> None:
        super().__init__(content.encode())
        self.name = name


class _Text(io.TextIOWrapper):
    """A standard stream that is no terminal, as `main` sets it up."""

    buffer: _Bytes

    def __init__(self, name: str, content: str = "") -> None:
        super().__init__(
            _Bytes(name, content), encoding="utf-8", errors="backslashreplace", write_through=True
        )


@contextmanager
def _standard_input(stream: _Text) -> Iterator[None]:
    before, sys.stdin = sys.stdin, stream
    try:
        yield
    finally:
        sys.stdin = before


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    _become(variables)
    try:
        yield
    finally:
        _become(before)


def _become(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


@contextmanager
def _package_log_as_before() -> Iterator[None]:
    """Every command sets up the package's log; the next test finds it as it was."""
    package = logging.getLogger("elt_assets")
    handlers, level = package.handlers[:], package.level
    try:
        yield
    finally:
        package.handlers[:] = handlers
        package.setLevel(level)


@pytest.fixture
def elt_assets(tmp_path: Path) -> Command:
    """The command, in an empty folder and in this process."""
    return Command(tmp_path)


@pytest.fixture
def elt_assets_process(tmp_path: Path) -> Process:
    """The command, in the same folder and in processes of its own."""
    return Process(tmp_path)


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once the condition is true; a test that waits in vain is stopped from outside."""
    while not condition():
        threading.Event().wait(0.02)


def connect(
    command: Command,
    provider: ProviderProcess,
    ref: IntegrationRef,
    *,
    token: Mapping[str, str] | None = None,
) -> None:
    """Register `ref` of a running provider, without a command: each takes seconds to start."""
    token_file = command.folder / "token"
    token_file.write_text(provider.token)
    data = provider_data(provider.url, ref, token or {"file": str(token_file)})
    with SyncService.open(load_settings(home=command.home)) as platform:
        platform.registry.add(ref, "rest", data)


def sync_without_a_command(command: Command, ref: IntegrationRef, sync_id: str) -> Status:
    """Bring a connected integration up to date, for tests of what comes afterwards."""
    with SyncService.open(load_settings(home=command.home)) as platform:
        (outcome,) = platform.sync(USERS, [ref], sync_id=sync_id)
    return outcome.status


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def processes_of(home: Path) -> set[int]:
    """Every process that was started for this installation, by its environment."""
    marker = f"ELT_ASSETS_HOME={home}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:  # it ended meanwhile, or is not ours
            continue
    return found
