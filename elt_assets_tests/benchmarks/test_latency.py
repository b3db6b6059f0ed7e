"""The benchmark of latency: the bound that its figures are compared with, and a small run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.latency.measure import Plan

ROOT = Path(__file__).parents[2]


def test_a_fleet_waits_for_the_requests_of_as_many_rounds_as_its_fetchers_need() -> None:
    plan = Plan(1_000, 1_000, 100, (300,), 0, 0, fetches=256)
    assert plan.waiting(300) == 4 * 10 * 0.3
    assert set(plan.contenders()) == {"elt_assets"}


@pytest.mark.campaign  # three processes
def test_every_contender_syncs_everybody_and_the_results_say_so(tmp_path: Path) -> None:
    sizes = (
        f"--integrations 2 --users 25 --page-size 10 --latency 0 --latency 20 --before {ROOT}"
        " --dlt-integrations 0 --loop-integrations 1"
    )
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "latency", *sizes.split(), "--output", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "latency.json").read_text("utf-8"))
    assert set(document["latencies"]) == {"0", "20"}
    for found in document["latencies"].values():
        assert set(found) == {"elt_assets", "before", "plain_loop"}
        assert found["elt_assets"]["requests"] == {"first": 3, "unchanged": 3}
    assert set(document["bounds"]) == {"20"}
    assert "At 20 ms the fleet takes" in (tmp_path / "latency.md").read_text("utf-8")
