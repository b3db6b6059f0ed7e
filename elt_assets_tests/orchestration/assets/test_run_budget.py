"""A run whose time is over begins nothing new and hands the rest on."""

from __future__ import annotations

import dagster as dg
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.assets.run_budget import (
    HANDED_ON_TAG,
    RUN_BUDGET_TAG,
    RunTime,
    budget_of,
)
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.sync.outcome import Stage
from elt_assets_tests.testbed.fleet import Fleet

TODAY = {SYNC_ID_TAG: "today"}
NO_TIME = {**TODAY, RUN_BUDGET_TAG: "0.001"}


@pytest.mark.parametrize(
    ("setting", "tag", "budget"),
    [
        (None, None, None),
        (600.0, None, 600.0),
        (600.0, "90", 90.0),
        (None, "1.5", 1.5),
        (600.0, "none", None),
    ],
)
def test_a_runs_tag_overrides_the_setting(
    setting: float | None, tag: str | None, budget: float | None
) -> None:
    run = dg.DagsterRun("sync", tags={} if tag is None else {RUN_BUDGET_TAG: tag})
    assert budget_of(run, load_settings(run_budget=setting)) == budget


@pytest.mark.parametrize("tag", ["soon", "0", "-5", "nan", "inf"])
def test_an_invalid_budget_tag_is_refused(tag: str) -> None:
    run = dg.DagsterRun("sync", tags={RUN_BUDGET_TAG: tag})
    with pytest.raises(InvalidInput, match="give a number of seconds, or 'none'"):
        budget_of(run, load_settings())


def test_the_time_of_a_run_counts_from_its_beginning() -> None:
    now = 1000.0
    time = RunTime(1000.0, 60.0, clock=lambda: now)
    assert time.remains()
    now = 1060.0
    assert time.is_over
    assert RunTime(0.0, None).remains()


def log_of(result: dg.ExecuteInProcessResult, fleet: Fleet) -> str:
    return "\n".join(entry.user_message for entry in fleet.instance.all_logs(result.run_id))


def tags_of(result: dg.ExecuteInProcessResult, fleet: Fleet) -> dict[str, str]:
    run = fleet.instance.get_run_by_id(result.run_id)
    assert run is not None
    return dict(run.tags)


def test_integrations_left_over_are_neither_failed_nor_done(fleet: Fleet) -> None:
    """One is begun in any case, so that a run that comes too late still gets somewhere."""
    keys = fleet.connect(3)
    result = fleet.run(keys, tags=NO_TIME)
    assert result.success
    (begun,) = fleet.platform.syncs()
    assert fleet.status(Stage.LATEST) == {begun.partition: "MATERIALIZED"}
    assert tags_of(result, fleet)[HANDED_ON_TAG] == "true"
    assert "2 not started within the time budget and handed on" in log_of(result, fleet)


def test_the_next_run_syncs_only_what_the_budget_left_over(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    fleet.run(keys)
    fleet.run(keys, tags=NO_TIME)
    assert fleet.status(Stage.LATEST) == dict.fromkeys(keys, "MATERIALIZED")
    result = fleet.run(keys, tags=TODAY)
    assert HANDED_ON_TAG not in tags_of(result, fleet)
    assert sum(row.sync_id == "today" for row in fleet.platform.syncs()) == 3


def test_a_failure_after_the_time_budget_is_left_to_the_next_run(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    fleet.directory.failures["dir-00"].extend([503])
    fleet.directory.failures["dir-01"].extend([503])
    result = fleet.run(keys, tags=NO_TIME)
    assert not result.success
    assert tags_of(result, fleet)[HANDED_ON_TAG] == "true"
    (begun,) = fleet.platform.syncs()
    assert (begun.status, begun.attempts) == ("failed", 1)


def test_an_invalid_budget_fails_the_run_before_anything_starts(fleet: Fleet) -> None:
    keys = fleet.connect(1)
    result = fleet.run(keys, tags={RUN_BUDGET_TAG: "soon"})
    assert not result.success
    assert fleet.platform.syncs() == []
