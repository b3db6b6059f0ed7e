"""The benchmark on PostgreSQL, at a size that says nothing about speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets_tests.benchmarks.test_large import benchmark
from elt_assets_tests.testbed.servers import Server


@pytest.mark.campaign  # a server of its own
def test_both_ways_bring_every_change_over(tmp_path: Path, postgresql: Server) -> None:
    document = benchmark("postgres", tmp_path, "--users", "500", "--repeat", "2")
    for found in document["contenders"].values():
        assert len(found["runs"]) == 2
        assert found["minimum"] > 0
    assert document["ratio"] > 0
    assert "500 changed users" in (tmp_path / "postgres.md").read_text("utf-8")
