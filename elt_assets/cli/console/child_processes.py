"""Run child processes together, and stop them together with all that they started."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elt_assets.cli.console.output import note
from elt_assets.cli.console.stop_signals import Stop, stopping
from elt_assets.config.settings import Settings
from elt_assets.errors import EltAssetsError

_POLL = 0.2
_PATIENCE = 30.0
_PR_SET_PDEATHSIG = 1
_STANDARD_ERROR = 2  # the output of servers is a log, not a result


class ChildEnded(EltAssetsError):
    """A process that should have kept running has ended."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process to run: its name in messages, and its command."""

    name: str
    command: Sequence[str]


class Supervisor:
    """Starts each child in a process group of its own and stops every process of these groups.

    Ctrl-C at the terminal then reaches the supervisor alone, and a process that a child started
    and did not stop is found.
    """

    def __init__(
        self, environment: Mapping[str, str], stop: Stop, patience: float = _PATIENCE
    ) -> None:
        self._environment = dict(environment)
        self._stop = stop
        self._patience = patience
        self._processes: list[tuple[Child, subprocess.Popen[bytes]]] = []

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the running children."""
        return tuple(process.pid for _, process in self._processes)

    def start(self, child: Child) -> None:
        """Start one more child."""
        process = subprocess.Popen(
            child.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=_STANDARD_ERROR,
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()) if sys.platform == "linux" else None,
        )
        self._processes.append((child, process))

    def watch(self) -> None:
        """Return when asked to stop. Raises `ChildEnded` if a child ends before that."""
        while not self._stop.requested.wait(_POLL):
            for child, process in self._processes:
                status = process.poll()
                if status is not None:
                    raise ChildEnded(f"{child.name} ended with status {status}; see its last lines")

    def stop(self) -> None:
        """End every child and its processes: SIGTERM to all at once, SIGKILL to those that remain.

        All get the signal at once: Dagster's code server alone would wait for its runs to finish,
        for hours; a run that gets it commits its batch and ends. SIGKILL follows when the patience
        is over or the person insists.
        """
        groups = [process.pid for _, process in self._processes]
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            for group in groups:
                _send(group, signal_number)
            self._wait(lambda: self._ended() and not any(map(_alive, groups)))
        for _, process in self._processes:
            process.wait()
        self._processes.clear()

    def _ended(self) -> bool:
        """Whether every child has ended; polling also reaps the children that have."""
        return None not in [process.poll() for _, process in self._processes]

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition is true, the patience is over or the person insists."""
        deadline = time.monotonic() + self._patience
        while not (condition() or self._stop.insisted.is_set() or time.monotonic() > deadline):
            time.sleep(_POLL / 4)


@contextmanager
def supervised(settings: Settings, dagster_home: Path) -> Iterator[Supervisor]:
    """A supervisor whose children use this installation; at the end of the block they stop."""
    environment = {
        **os.environ,
        "ELT_ASSETS_HOME": str(settings.home),
        "DAGSTER_HOME": str(dagster_home),
    }
    with stopping() as stop:
        supervisor = Supervisor(environment, stop)
        try:
            yield supervisor
        finally:
            note("stopping; runs commit their current batches")
            supervisor.stop()


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _send(group: int, signal_number: int) -> None:
    try:
        os.killpg(group, signal_number)
    except ProcessLookupError:
        return


def die_with_parent(parent: int) -> Callable[[], None]:
    """Return what a child does first: it requests SIGTERM in case the supervisor is killed."""
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        # A shell starts background jobs with SIGINT ignored, and Dagster treats SIGTERM the same
        # way; other parents ignore SIGTERM. A child that inherits this could not be stopped.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask
