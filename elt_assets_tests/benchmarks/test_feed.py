"""The benchmark of the change feed, at a size that says nothing about speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets_tests.benchmarks.test_large import benchmark


@pytest.mark.campaign  # six processes
def test_syncs_are_compared_and_an_application_reads_everything(tmp_path: Path) -> None:
    sizes = "--users 300 --page-size 50 --repeat 1"
    document = benchmark("feed", tmp_path, *sizes.split())
    assert set(document["ratios"]) == {"first", "unchanged"}
    for reading in ("joined", "read", "copied"):
        assert document["application"][reading]["per_second"] > 0
        assert document["application"][reading]["server_cpu"]["minimum"] >= 0
    assert "into SQLite by the example" in (tmp_path / "feed.md").read_text("utf-8")
