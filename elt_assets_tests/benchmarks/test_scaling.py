"""The benchmark of a growing fleet, at a size that says nothing about speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.results import summary
from benchmarks.scaling.measure import TARGETS
from benchmarks.scaling.report import table
from benchmarks.scaling.ticks import ticks


def test_everything_is_measured_and_answers_what_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = ticks(integrations=20, days=2, repeat=1)
    assert found["answers"] == {"new_partitions": 50, "daily_runs": 1, "recovery_runs": 1}
    seconds = {name: summary(runs) for name, runs in found["seconds"].items()}
    syncs = {"first_seconds": 0.08, "unchanged_seconds": 0.04}
    size = {"seconds": seconds, "answers": found["answers"], "peak_mib": 1, "sync": syncs}
    facts = {
        "system": "",
        "processor": "",
        "cores": 1,
        "memory_gib": 1,
        "python": "",
        "versions": {},
        "load_before": [0],
        "measured_at": "",
    }
    told = table(
        {
            "sizes": {"20": size},
            "targets": TARGETS,
            "days": 2,
            "repeat": 1,
            "users": 20,
            "machine": facts,
        }
    )
    assert "tick of the daily schedule" in told
    assert "20 integrations" in told
    assert "0.0800 s (1.00 ×)" in told
