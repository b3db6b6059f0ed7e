"""The benchmark of extraction, at a size that says nothing about speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("dlt", reason="dlt is not installed")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a tiny run of the command writes."""
    folder = tmp_path_factory.mktemp("results")
    sizes = "--users 25 --slow-users 5 --page-size 10 --latency 1 --repeat 1 --only offset"
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "extract", *sizes.split(), "--output", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(folder / "extract.json"), str(folder / "extract.md")]
    return folder


@pytest.mark.campaign  # six processes, each of which imports dlt or the engine
def test_every_contender_stages_everybody_and_the_results_say_so(results: Path) -> None:
    document = json.loads((results / "extract.json").read_text("utf-8"))
    assert [(case["latency_ms"], case["users"]) for case in document["cases"]] == [(0, 25), (1, 5)]
    for case in document["cases"]:
        assert set(case["contenders"]) == {"elt_assets", "dlt_rest_client", "dlt_rest_api"}
        assert set(case["ratios"]) == set(case["cpu_ratios"])
        for figure in case["contenders"].values():
            assert len(figure["seconds"]["staged"]["runs"]) == 1
            assert figure["peak_mib"] > 0
    assert document["machine"]["versions"]["dlt"] != "not installed"
    text = (results / "extract.md").read_text("utf-8")
    assert text.count("| offset | 0 ms | 25 |") == 2
