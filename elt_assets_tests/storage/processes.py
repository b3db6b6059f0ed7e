"""Other processes and small disks for tests of stores that are not alone.

A test defines what a process runs; the module starts it and receives its messages. A disk is small
enough to fill.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest


class OtherProcess:
    """A Python process that prints lines and goes on when it is told to."""

    def __init__(self, code: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def hears(self) -> str:
        """The next line it prints; an empty text when it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let its `input()` return."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Wait for it to end by itself; its exit status."""
        return self._process.wait()

    def close(self) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def another_process(code: str, *arguments: object) -> Iterator[OtherProcess]:
    """Run `code` in a process of its own, killed at the end if it still runs."""
    process = OtherProcess(code, *arguments)
    try:
        yield process
    finally:
        process.close()


def wait_until_it_waits(thread: threading.Thread) -> None:
    """Return once `thread`, or one it started, found something taken and sleeps before a retry."""
    while not any(map(_sleeps_between_tries, sys._current_frames().values())):
        assert thread.is_alive(), "it did not wait"
        time.sleep(0.005)


def _sleeps_between_tries(frame: FrameType | None) -> bool:
    while frame is not None:
        in_tenacity = Path(frame.f_code.co_filename).parent.name == "tenacity"
        if in_tenacity and frame.f_code.co_name == "sleep":
            return True
        frame = frame.f_back
    return False


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """Mount a disk of `size` on `folder`, or skip the test saying why that cannot be done."""
    folder.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounting.returncode != 0:
        pytest.skip(f"needs the right to mount a small disk: {mounting.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all space that is left on the disk of `folder`; deleting the file frees it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for block in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(block))
            except OSError:
                continue
    return filler
