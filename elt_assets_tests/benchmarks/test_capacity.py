"""The simulation agrees with what can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.capacity.costs import Costs, Fleet, measured
from benchmarks.capacity.report import table
from benchmarks.capacity.simulation import enough, night

ONLY_COMPUTING = Costs(changed=0.2, unchanged=0.1, commit=0, event=0)


def test_one_worker_takes_as_long_as_its_work() -> None:
    assert night(Fleet(100, 1.0, 0), ONLY_COMPUTING, 1, 4).seconds == pytest.approx(20)
    assert night(Fleet(100, 0.0, 0), ONLY_COMPUTING, 1, 4).seconds == pytest.approx(10)


def test_workers_share_the_work_until_something_that_all_share_is_busy() -> None:
    fleet = Fleet(1_000, 1.0, 0)
    assert night(fleet, ONLY_COMPUTING, 10, 1).seconds == pytest.approx(20)
    queueing = Costs(changed=0.2, unchanged=0.1, commit=0.05, event=0)
    found = night(fleet, queueing, 10, 1)
    assert found.seconds == pytest.approx(100, rel=0.02)
    assert found.bottleneck == "commits"
    assert enough(fleet, queueing, 90, 1) is None


def test_slots_hide_what_a_provider_takes() -> None:
    fleet = Fleet(1_000, 1.0, 1.8)
    alone = night(fleet, ONLY_COMPUTING, 1, 1)
    assert alone.bottleneck == "providers"
    assert alone.seconds == pytest.approx(2_000, rel=0.05)
    assert night(fleet, ONLY_COMPUTING, 1, 16).seconds == pytest.approx(200, rel=0.05)


def test_the_server_of_a_large_catalog_is_the_first_to_give_out() -> None:
    growing = Costs(changed=0.2, unchanged=0.1, commit=0, event=0, reading_each=0.001)
    found = night(Fleet(1_000, 1.0, 0), growing, 64, 1)
    assert found.bottleneck == "catalog's server"
    assert found.seconds == pytest.approx(1_000 * 1.0 / 4, rel=0.05)


def test_the_fewest_workers_are_found() -> None:
    workers, found = enough(Fleet(1_000, 1.0, 0), ONLY_COMPUTING, 51, 2) or (0, None)
    assert workers == 4
    assert found is not None
    assert found.seconds <= 51


def test_costs_come_from_what_was_measured(tmp_path: Path) -> None:
    syncs = [
        {
            "integrations": size,
            "changed": {"processor": 0.2, "seconds": 0.25 + size / 10_000},
            "unchanged": {"processor": 0.04},
        }
        for size in (0, 1_000)
    ]
    commits = [{"commits_a_second": 20.0}, {"commits_a_second": 40.0}]
    (tmp_path / "lake.json").write_text(json.dumps({"syncs": syncs, "commits": commits}))
    costs = measured(tmp_path, 100)
    assert (costs.changed, costs.unchanged, costs.commit) == (0.2, 0.04, 0.025)
    assert costs.catalog(changed=False) == 0
    assert costs.server(True, 1_000) == pytest.approx(0.15)
    assert costs.server(True, 100_000) == pytest.approx(10.05)
    assert "| 1,000 | 1 |" in table([1_000], costs, hours=1, changed=0.5, waiting=0.1, slots=8)
