"""Run child processes together, stop them together, and leave none behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from elt_assets.cli.console.stop_signals import Stop
from elt_assets.errors import EltAssetsError

_POLL = 0.2
_PATIENCE = 30.0
_PR_SET_PDEATHSIG = 1
_STANDARD_ERROR = 2  # what servers say is a log, not a result


class ChildEnded(EltAssetsError):
    """A process that should have kept running has ended."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process to run: the name people know it by, and its command."""

    name: str
    command: Sequence[str]


class Supervisor:
    """Starts children in process groups of their own and stops every process of those groups.

    A group of its own keeps Ctrl-C at the terminal from reaching a child behind the
    supervisor's back, and finds what a child started and did not clean up.
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
        """The children that run."""
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
        """End every child and whatever it started: ask all at once, kill what does not listen.

        Everybody is asked at once because Dagster's code server, asked by its parent, waits
        for its runs to finish, for hours; a run that is asked itself commits its batch and
        ends. What has not ended when the patience is over, or somebody insists, is killed.
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
        """Whether every child has; asking also lets the system forget those that have."""
        return None not in [process.poll() for _, process in self._processes]

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition is true or the patience is over."""
        deadline = time.monotonic() + self._patience
        while not (condition() or self._stop.insisted.is_set() or time.monotonic() > deadline):
            time.sleep(_POLL / 4)


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
    """What a child does before it runs its command: ask to be ended if the supervisor is killed."""
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        # A shell starts background jobs deaf to Ctrl-C, and Dagster gives SIGTERM the same
        # ear; others start them deaf to SIGTERM. They could then not be asked to end.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask
