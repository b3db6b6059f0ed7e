"""The benchmark of one large tenant, at a size that says nothing about speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("dlt", reason="dlt is not installed")


@pytest.mark.campaign  # eight processes
def test_every_contender_brings_everybody_over_three_times(tmp_path: Path) -> None:
    sizes = "--users 300 --dlt-users 120 --page-size 50 --repeat 1"
    document = benchmark("large", tmp_path, *sizes.split())
    assert set(document["contenders"]) == {"elt_assets", "straight_line", "dlt"}
    for figure in document["contenders"].values():
        for phase in ("first", "unchanged", "changed"):
            assert figure[phase]["per_second"] > 0
    assert document["changed_after_fetching"]["bare"]["minimum"] > 0
    assert len(document["dlt_settings"]["tried"]) == 4
    assert "bare join" in (tmp_path / "large.md").read_text("utf-8")


@pytest.mark.campaign  # two processes
def test_the_peak_of_every_size_is_told(tmp_path: Path) -> None:
    sizes = "--users 100 --users 300 --page-size 50"
    document = benchmark("memory", tmp_path, *sizes.split())
    assert set(document["peak_mib"]) == {"100", "300"}
    assert document["ratios"]["100"] == 1
    assert "300" in (tmp_path / "memory.md").read_text("utf-8")


def benchmark(name: str, output: Path, *options: str) -> dict[str, Any]:
    """Run a benchmark and read what it wrote."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, *options, "--output", output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads((output / f"{name}.json").read_text("utf-8"))
    return document
