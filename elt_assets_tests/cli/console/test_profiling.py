"""A profile holds the work of every thread and can be loaded."""

from __future__ import annotations

import pstats
import threading
from pathlib import Path

import pytest

from elt_assets.cli.console.profiling import profiled
from elt_assets.errors import InvalidInput


def work_in_a_thread() -> int:
    return sum(range(10))


def test_work_done_in_other_threads_is_in_the_profile(tmp_path: Path) -> None:
    with profiled(tmp_path / "sync.prof"):
        threads = [threading.Thread(target=work_in_a_thread) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stats = pstats.Stats(str(tmp_path / "sync.prof")).stats  # type: ignore[attr-defined]
    calls = {function: numbers[1] for (_, _, function), numbers in stats.items()}
    assert calls["work_in_a_thread"] == 3


def test_a_profile_is_written_even_if_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), profiled(tmp_path / "sync.prof"):
        raise ZeroDivisionError
    pstats.Stats(str(tmp_path / "sync.prof"))


def test_a_missing_folder_is_reported_before_the_work_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"), profiled(tmp_path / "no" / "x.prof"):
        raise AssertionError("the work began")
