"""The benchmark of a fleet, at a size that says nothing about speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("dlt", reason="dlt is not installed")


@pytest.mark.campaign(50)  # five processes, and one for each step of Dagster's default way
def test_every_contender_syncs_everybody_and_the_results_say_so(tmp_path: Path) -> None:
    sizes = (
        "--integrations 2 --users 25 --page-size 10 --dagster-integrations 1"
        " --dlt-integrations 1 --loop-integrations 2 --repeat 1"
    )
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "fleet", *sizes.split(), "--output", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "fleet.json").read_text("utf-8"))
    assert set(document["ratios"]) == {"dagster_default", "dlt_per_tenant", "plain_loop"}
    assert set(document["contenders"]) == {"elt_assets", "engine_alone", *document["ratios"]}
    for figure in document["contenders"].values():
        assert figure["first"]["minimum"] > 0
        assert figure["unchanged"]["minimum"] > 0
    assert "Dagster's share of our time" in (tmp_path / "fleet.md").read_text("utf-8")
