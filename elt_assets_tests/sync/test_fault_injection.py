"""Failures on purpose: they fire with their odds, are survived, and a crash is a real one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elt_assets.errors import ProviderUnavailable, WriteInterrupted
from elt_assets.sync.fault_injection import NO_FAULTS, FaultDice
from elt_assets.sync.outcome import Status
from elt_assets_tests.sync.worlds import Company, World, expected, people


def test_a_failure_after_a_committed_write_is_survived_without_fetching_again(
    tmp_path: Path,
) -> None:
    company = Company(tmp_path / "home")
    world = company.connect(world=World(people(100)))
    dice = FaultDice(page_failure=0, failure_after_commit=0.4, crash=0, seed=4)
    outcome = company.sync(pages_per_batch=1, faults=dice)
    assert dice.fired["after_commit"] >= 3
    assert world.served == list(range(10)), "what was committed is not fetched again"
    assert outcome.status is Status.APPLIED
    assert outcome.counts.duplicates == 0
    assert company.users() == expected(world.records)
    company.platform.close()


def test_the_odds_are_the_original_ones() -> None:
    dice = FaultDice(crash=0, seed=1)
    for _ in range(10_000):
        for moment, error in (
            (dice.before_page, ProviderUnavailable),
            (lambda: dice.after_commit(9), WriteInterrupted),
        ):
            try:
                moment()
            except error:
                continue
    assert dice.fired["page"] == pytest.approx(200, rel=0.25)
    assert dice.fired["after_commit"] == pytest.approx(4_000, rel=0.05)


def test_a_crash_is_a_segmentation_fault_and_comes_after_batch_five() -> None:
    program = (
        "from elt_assets.sync.fault_injection import FaultDice\n"
        "dice = FaultDice(failure_after_commit=0, crash=1)\n"
        "for batch in range(10):\n"
        "    print(batch, flush=True)\n"
        "    dice.after_commit(batch)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGSEGV
    assert done.stdout.split() == ["0", "1", "2", "3", "4", "5"]
    assert "simulated fault: crash" in done.stderr


def test_without_faults_nothing_happens() -> None:
    NO_FAULTS.before_page()
    NO_FAULTS.after_commit(9)
