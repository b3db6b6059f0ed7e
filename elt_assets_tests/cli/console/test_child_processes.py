"""Children end together, and nothing they started outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elt_assets.cli.console.child_processes import Child, ChildEnded, Supervisor
from elt_assets.cli.console.stop_signals import Stop
from elt_assets_tests.cli.conftest import wait_for

SLEEPS = "import time; time.sleep(600)"
STUBBORN = (
    "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
)
LEAVES_A_GRANDCHILD = (
    "import pathlib, subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "path = pathlib.Path(sys.argv[1]); "
    "path.with_suffix('.part').write_text(str(child.pid)); "
    "path.with_suffix('.part').rename(path); time.sleep(600)"
)

WAITS_FOR_ITS_OWN = (
    "import pathlib, signal, subprocess, sys; signal.signal(signal.SIGTERM, lambda *_: None); "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "pathlib.Path(sys.argv[1]).touch(); child.wait()"
)


def python(code: str, *arguments: str) -> Child:
    return Child("the child", (sys.executable, "-c", code, *arguments))


def running(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_child_that_ends_by_itself_is_named() -> None:
    supervisor = Supervisor(os.environ, Stop())
    supervisor.start(python(SLEEPS))
    supervisor.start(Child("the daemon", (sys.executable, "-c", "raise SystemExit(7)")))
    with pytest.raises(ChildEnded, match="the daemon ended with status 7"):
        supervisor.watch()
    supervisor.stop()


def test_the_processes_of_a_child_are_stopped_with_it(tmp_path: Path) -> None:
    supervisor = Supervisor(os.environ, Stop())
    supervisor.start(python(LEAVES_A_GRANDCHILD, str(tmp_path / "pid")))
    wait_for((tmp_path / "pid").exists)
    grandchild = int((tmp_path / "pid").read_text())
    assert running(grandchild)
    supervisor.stop()
    wait_for(lambda: not running(grandchild))


def test_a_process_that_a_child_waits_for_gets_the_signal_too(tmp_path: Path) -> None:
    """Dagster's code server ends when its runs have; nobody may wait hours for that."""
    supervisor = Supervisor(os.environ, Stop(), patience=3600)
    supervisor.start(python(WAITS_FOR_ITS_OWN, str(tmp_path / "ready")))
    wait_for((tmp_path / "ready").exists)
    supervisor.stop()
    assert supervisor.pids == ()


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(os.environ, Stop(), patience=0.2)
    supervisor.start(python(STUBBORN, str(tmp_path / "ready")))
    wait_for((tmp_path / "ready").exists)
    supervisor.stop()
    assert supervisor.pids == ()


def test_a_second_signal_kills_a_child_that_ignores_the_first(tmp_path: Path) -> None:
    stop = Stop()
    supervisor = Supervisor(os.environ, stop, patience=3600)
    supervisor.start(python(STUBBORN, str(tmp_path / "ready")))
    wait_for((tmp_path / "ready").exists)
    stop(signal.SIGTERM)
    stop(signal.SIGTERM)
    supervisor.stop()
    assert supervisor.pids == ()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_a_killed_supervisor_takes_its_children_with_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; from elt_assets.cli.console.child_processes import *; "
        "supervisor = Supervisor(os.environ, Stop()); "
        f"supervisor.start(Child('x', (sys.executable, '-c', {SLEEPS!r}))); "
        "print(supervisor.pids[0], flush=True); supervisor.watch()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert running(child)
        parent.kill()
    wait_for(lambda: not running(child))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_child_can_be_stopped_if_its_parent_ignores_signals(
    tmp_path: Path, number: signal.Signals
) -> None:
    heard = tmp_path / "heard"
    tells = (
        "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).write_text("
        f"str(signal.getsignal({int(number)}) is signal.SIG_IGN))"
    )
    supervisor = Supervisor(os.environ, Stop())
    before = signal.signal(number, signal.SIG_IGN)
    try:
        supervisor.start(python(tells, str(heard)))
    finally:
        signal.signal(number, before)
    with pytest.raises(ChildEnded, match="status 0"):
        supervisor.watch()
    supervisor.stop()
    assert heard.read_text() == "False"
