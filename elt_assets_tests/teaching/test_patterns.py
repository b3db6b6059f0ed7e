"""Steps that fail after they wrote: four ways to write them, and what becomes of the data.

The platform is built on the last two. Each test is meant to be read on its own.
"""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import duckdb
import pytest

from elt_assets.errors import WriteInterrupted
from elt_assets.sync.fault_injection import Faults
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets_tests.sync.worlds import Company, World, people
from elt_assets_tests.teaching.landing import (
    ONCE_PER_EXECUTION,
    ONCE_PER_INSERT,
    PAGE,
    TABLE,
    UNIQUE_USERS,
    LaterFailure,
    count,
    generate,
    insert,
    land_with_checkpoints,
    retried,
)

WORKFLOW = "workflow-1"
MONDAY, TUESDAY = "2026-01-05 05:20:00", "2026-01-06 05:20:00"


def test_generating_and_inserting_in_one_step_fails_when_the_step_is_retried() -> None:
    """Example 2. The retry knows nothing of the first try: it inserts what is there already."""
    connection = duckdb.connect()
    connection.execute(TABLE.format(unique=ONCE_PER_EXECUTION))

    def step() -> None:
        insert(connection, generate(page=0), WORKFLOW, MONDAY)
        raise LaterFailure

    with pytest.raises(duckdb.ConstraintException, match="Duplicate key"):
        retried()(step)
    assert count(connection, "SELECT count(*) FROM users") == PAGE, "the first try had worked"


def test_a_step_that_only_generates_can_be_retried_as_often_as_one_likes() -> None:
    """Example 4. What is retried writes nothing; what writes is not retried."""
    connection = duckdb.connect()
    connection.execute(TABLE.format(unique=ONCE_PER_EXECUTION))
    tries = []

    def step() -> list[tuple[object, ...]]:
        users = generate(page=0)
        tries.append(users)
        if len(tries) < 3:
            raise LaterFailure
        return users

    insert(connection, retried()(step), WORKFLOW, MONDAY)
    assert len(tries) == 3
    assert tries[0] == tries[2], "a page is the same however often it is generated"
    assert count(connection, "SELECT count(*) FROM users") == PAGE


def test_a_workflow_that_runs_again_inserts_again_under_a_later_moment() -> None:
    """Example 4, the whole workflow repeated: no conflict, but every user is there twice."""
    connection = duckdb.connect()
    connection.execute(TABLE.format(unique=ONCE_PER_EXECUTION))
    for analyzed_at in (MONDAY, TUESDAY):
        insert(connection, generate(page=0), WORKFLOW, analyzed_at)
    assert count(connection, "SELECT count(*) FROM users") == 2 * PAGE
    assert count(connection, UNIQUE_USERS, WORKFLOW) == PAGE


def test_a_failure_after_a_committed_insert_leaves_duplicates_that_a_window_resolves() -> None:
    """Example 6. The insert may be repeated; counting takes the newest row of each user."""
    connection = duckdb.connect()
    connection.execute(TABLE.format(unique=ONCE_PER_INSERT))
    tries = []

    def step() -> None:
        tries.append(1)
        insert(connection, generate(page=0), WORKFLOW, MONDAY)
        if len(tries) < 3:
            raise LaterFailure

    retried()(step)
    insert(connection, generate(page=1), WORKFLOW, MONDAY)
    assert count(connection, "SELECT count(*) FROM users") == 4 * PAGE
    assert count(connection, UNIQUE_USERS, WORKFLOW) == 2 * PAGE


def test_what_a_crash_left_is_continued_and_not_repeated(tmp_path: Path) -> None:
    """Example 3, with a real segmentation fault. The checkpoint is committed with its page."""
    file = tmp_path / "users.duckdb"
    crashing = multiprocessing.get_context("forkserver").Process(
        target=land_with_checkpoints, args=(file, 4), kwargs={"crash_after": 1}
    )
    crashing.start()
    crashing.join()
    assert crashing.exitcode == -signal.SIGSEGV
    land_with_checkpoints(file, 4)
    with duckdb.connect(str(file)) as connection:
        assert count(connection, "SELECT count(*) FROM users") == 4 * PAGE
        assert count(connection, "SELECT count(DISTINCT external_id) FROM users") == 4 * PAGE


def test_the_platform_repeats_nothing_when_a_write_fails_after_its_commit(tmp_path: Path) -> None:
    """The same failure after every batch: batch and cursor are one commit, so it goes on."""

    class FailAfterEachCommit(Faults):
        fired = 0

        def after_commit(self, batch: int) -> None:
            self.fired += 1
            raise WriteInterrupted("simulated failure after a committed write")

    company = Company(tmp_path / "home")
    world = company.connect(world=World(people(5 * PAGE), page_size=PAGE))
    faults = FailAfterEachCommit()
    plain = company.platform
    company.platform = SyncService(
        plain.settings, plain.database, plain.warehouses, company._open_source, faults
    )
    outcome = company.sync(pages_per_batch=2)
    assert outcome.status is Status.APPLIED
    assert faults.fired == 3
    assert world.served == [0, 1, 2, 3, 4], "no page is fetched twice"
    assert (outcome.counts.staged, outcome.counts.duplicates) == (5 * PAGE, 0)
    company.platform.close()
